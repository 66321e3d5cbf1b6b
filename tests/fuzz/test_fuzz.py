"""Broken input of every kind: a word for the user or a result, never a bug, a hang or a file elsewhere.

FUZZ_CASES (300) cases a target; a failing one is told by its seed and belongs into `corpus/TARGET/`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest

from ftcli.data.load import load
from ftcli.data.records import records
from ftcli.engine import checkpoint
from ftcli.errors import FtcliError
from ftcli.recipe.schema import DataRecipe
from ftcli.recipe.stages import resolve_run
from ftcli.tasks.text_classification import TextClassification
from ftcli.trackers.jsonl import Jsonl
from tests.fuzz.mutate import mutate
from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
PATIENCE = 10
CORPUS = Path(__file__).parent / "corpus"

RECIPE = b"""# a comment
task: text-classification
seed: 3
model: {name: "preset:bert-tiny", config: {hidden_size: 64}}
data:
  name: builtin:reviews
  columns: text=review,label=stars
train: &t {epochs: 2, batch_size: 8, clip: null}
optimizer: {lr: 3e-5}
schedule:
  warmup: 0.1
checkpoint: {every: 10m, keep: 2}
"""


CHAIN = b"""model: preset:bert-tiny
stages:
  - {name: words, command: pretrain, data: a.txt, objective: mlm}
  - {extends: base.yaml, data: {name: b.csv}, train: {epochs: 2}}
"""


def a_recipe(file: Path) -> None:
    resolve_run(file, {}, ())


def a_data_set(file: Path) -> None:
    task = TextClassification(None, 16)
    recipe = DataRecipe(name=str(file), on_bad_row="skip" if file.stat().st_size % 2 else "fail")
    found = load(recipe, task.columns, seed=1, splits=("train", "validation", "test"))
    if "label" not in found.columns:
        return
    task.fit_labels(found.splits["train"], found.label_names)
    for rows in found.splits.values():
        for index in range(len(rows)):
            assert isinstance(rows[index]["text"], str)


def a_prediction_stream(file: Path) -> None:
    answers = [record.error for record in records(str(file), DataRecipe(), TextClassification.columns)]
    assert all(error is None or error for error in answers)


def a_checkpoint_manifest(file: Path) -> None:
    folder = file.parent / "checkpoints"
    step = folder / "step-00000001"
    step.mkdir(parents=True, exist_ok=True)
    (step / checkpoint.MANIFEST).write_bytes(file.read_bytes())
    (step / checkpoint.STATE).write_bytes(b"{}")
    found, problems = checkpoint.load_newest(folder, lambda path: None)
    assert found is not None or problems


def a_checkpoint_state(file: Path) -> None:
    """A state that passes its checksum and holds nonsense."""

    def restore(path: Path) -> None:
        state = json.loads(file.read_bytes())
        Probe().restore(state["loop"])

    folder = file.parent / "checkpoints"
    step = folder / "step-00000001"
    step.mkdir(parents=True, exist_ok=True)
    names = (checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.RANDOM, checkpoint.STATE)
    for name in names:
        (step / name).write_bytes(b"")
    empty = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    manifest = {"format": checkpoint.FORMAT, "files": dict.fromkeys(names, empty)}
    (step / checkpoint.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    checkpoint.load_newest(folder, restore)


class Probe:
    """What a loop restores."""

    def restore(self, state: dict[str, Any]) -> None:
        from ftcli.engine.loop import Loop
        from ftcli.recipe.schema import TrainRecipe

        self.recipe = TrainRecipe()
        Loop.restore(self, state)  # type: ignore[arg-type]


def a_metrics_file(file: Path) -> None:
    (file.parent / "metrics.jsonl").write_bytes(file.read_bytes())
    tracker = Jsonl(file.parent)
    tracker.truncate_after(3)
    tracker.close()


def _made(write: Callable[[list[dict[str, Any]], Path], Path], name: str, folder: Path) -> bytes:
    return write(tiny_reviews(8), folder / name).read_bytes()


def _arrow() -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(tiny_reviews(8))
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _seeds(folder: Path) -> dict[str, tuple[str, Callable[[Path], None], list[bytes]]]:
    csv, jsonl = _made(write_csv, "a.csv", folder), _made(write_jsonl, "a.jsonl", folder)
    rows = json.dumps(tiny_reviews(8)).encode()
    text = b"".join(row["text"].encode() + b"\n" for row in tiny_reviews(8))
    state = {"step": 5, "epoch": 0, "position": 5, "skip": [[0, 1]], "micro_batch": 8, "rows_seen": 1}
    manifest = {"format": 1, "files": {"state.json": {"bytes": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e"}}}
    metrics = b'{"step": 1, "split": "train", "loss": 0.5}\n{"step": 4, "split": "test", "final": true}\n'
    return {
        "recipe": ("r.yaml", a_recipe, [RECIPE, CHAIN, b"model: x\ndata: y\n"]),
        "csv": ("d.csv", a_data_set, [csv, b'text,label\n"a, b",x\n"c\nd",y\n']),
        "tsv": ("d.tsv", a_data_set, [csv.replace(b",", b"\t")]),
        "jsonl": ("d.jsonl", a_data_set, [jsonl, b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n' * 3]),
        "json": ("d.json", a_data_set, [rows, json.dumps({"data": tiny_reviews(4)}).encode()]),
        "parquet": ("d.parquet", a_data_set, [_made(write_parquet, "a.parquet", folder)]),
        "arrow": ("d.arrow", a_data_set, [_arrow()]),
        "gz": ("d.csv.gz", a_data_set, [gzip.compress(csv, mtime=0)]),
        "stream": ("p.jsonl", a_prediction_stream, [jsonl, b'{"text": "a"}\n{"review": "b"}\n']),
        "lines": ("p.txt", a_prediction_stream, [text]),
        "manifest": ("m.json", a_checkpoint_manifest, [json.dumps(manifest).encode()]),
        "state": ("s.json", a_checkpoint_state, [json.dumps({"loop": state}).encode()]),
        "metrics": ("x.jsonl", a_metrics_file, [metrics]),
    }


TARGETS = (
    "recipe", "csv", "tsv", "jsonl", "json", "parquet", "arrow", "gz", "stream", "lines", "manifest", "state",
    "metrics",
)  # fmt: skip


@contextmanager
def in_time() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def survives(check: Callable[[Path], None], file: Path) -> None:
    """A result, or an error that is the user's to mend; its text fits on a terminal."""
    with in_time():
        try:
            check(file)
        except FtcliError as error:
            assert error.exit_code in {2, 3}
            assert error.message.strip()


@pytest.mark.parametrize("target", TARGETS)
def test_mutated(target: str, tmp_path: Path) -> None:
    name, check, seeds = _seeds(tmp_path)[target]
    work = tmp_path / "work"
    work.mkdir()
    for case in range(CASES):
        content = mutate(seeds, random.Random(f"{SEED} {target} {case}"))
        file = work / name
        file.write_bytes(content)
        try:
            survives(check, file)
        except BaseException as error:
            kept = tmp_path / f"{target}-{SEED}-{case}"
            kept.write_bytes(content)
            raise AssertionError(f"case {case} of seed {SEED}: {error!r}; kept as {kept}") from error
    strays = {path.name for path in tmp_path.iterdir()} - {"work", "a.csv", "a.jsonl", "a.parquet"}
    assert not strays


def found_before() -> list[Path]:
    return sorted(file for file in CORPUS.glob("*/*") if file.is_file())


@pytest.mark.parametrize("file", found_before(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_found_before(file: Path, tmp_path: Path) -> None:
    name, check, _ = _seeds(tmp_path)[file.parent.name]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / name).write_bytes(file.read_bytes())
    survives(check, tmp_path / "work" / name)
