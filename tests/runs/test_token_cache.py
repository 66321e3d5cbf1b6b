"""Tokenizing is done once for each content: seen through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import Done, run_cli, tiny_reviews, write_jsonl

ROWS = 60


@pytest.fixture(autouse=True)
def _keep_small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftcli.runs.encode.WORTH_KEEPING", 0)


def _train(model: Path, data: Path, out: Path, cache: Path | str, *more: str) -> Done:
    return run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", str(out), "--max-steps", "6",
        "--batch-size", "8", "--max-length", "16", "--set", f"data.token_cache={cache}", *more,
    )  # fmt: skip


def _data(path: Path) -> Path:
    return write_jsonl(tiny_reviews(ROWS), path)


def test_touched_or_copied_data_is_a_hit_and_edited_a_miss(tmp_path: Path, tiny_bert_dir: Path) -> None:
    cache, data = tmp_path / "cache", _data(tmp_path / "a.jsonl")
    first = _train(tiny_bert_dir, data, tmp_path / "1", cache)
    assert first.code == 0, first.stderr
    assert "from the cache" not in first.stderr
    os.utime(data, (1, 1))
    copied = Path(shutil.copy(data, tmp_path / "b.jsonl"))
    for number, same in enumerate((data, copied)):
        again = _train(tiny_bert_dir, same, tmp_path / f"again-{number}", cache)
        assert "tokenize train: from the cache" in again.stderr
        assert "tokenize validation: from the cache" in again.stderr
        assert [line for line in again.stderr.splitlines() if "were cut" in line] == [
            line for line in first.stderr.splitlines() if "were cut" in line
        ]
    assert "were cut" in first.stderr
    data.write_text(data.read_text().replace("film", "movie", 1))
    edited = _train(tiny_bert_dir, data, tmp_path / "edited", cache)
    assert edited.code == 0
    assert "tokenize train: from the cache" not in edited.stderr


def test_a_hit_changes_nothing_of_the_run(tmp_path: Path, tiny_bert_dir: Path) -> None:
    cache, data = tmp_path / "cache", _data(tmp_path / "a.jsonl")
    runs = [
        (tmp_path / name, _train(tiny_bert_dir, data, tmp_path / name, place))
        for name, place in (("off", "none"), ("miss", cache), ("hit", cache))
    ]
    assert [("tokenize train: from the cache" in done.stderr) for _, done in runs] == [False, False, True]
    kept = [sorted(path.name for path in (run / "model").iterdir()) for run, _ in runs]
    assert kept[0] == kept[1] == kept[2]
    for name in kept[0]:
        contents = [(run / "model" / name).read_bytes() for run, _ in runs]
        assert contents[0] == contents[1] == contents[2], name
    metrics = [json.loads((run / "report.json").read_text())["metrics"] for run, _ in runs]
    assert metrics[0] == metrics[1] == metrics[2]
    losses = [
        [(record.get("step"), record.get("split"), record.get("loss"))
         for record in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]
        for run, _ in runs
    ]  # fmt: skip
    assert losses[0] == losses[1] == losses[2]


def test_length_labels_and_tokenizer_are_part_of_the_content(tmp_path: Path, tiny_bert_dir: Path) -> None:
    cache, data = tmp_path / "cache", _data(tmp_path / "a.jsonl")
    assert _train(tiny_bert_dir, data, tmp_path / "1", cache).code == 0
    shorter = _train(tiny_bert_dir, data, tmp_path / "2", cache, "--max-length", "12")
    assert "tokenize train: from the cache" not in shorter.stderr
    other = Path(shutil.copytree(tiny_bert_dir, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["film"], vocabulary["plot"] = vocabulary["plot"], vocabulary["film"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "tokenize train: from the cache" not in _train(other, data, tmp_path / "3", cache).stderr
    evaluated = run_cli(
        "evaluate", str(tmp_path / "1"), "--data", str(data), "--set", f"data.token_cache={cache}", "--split", "train"
    )
    assert evaluated.code == 0, evaluated.stderr
    again = run_cli(
        "evaluate", str(tmp_path / "1"), "--data", str(data), "--set", f"data.token_cache={cache}", "--split", "train"
    )
    assert "tokenize train: from the cache" in again.stderr
    assert json.loads(run_cli("evaluate", str(tmp_path / "1"), "--data", str(data), "--split", "train", "--json",
                              "--set", "data.token_cache=none").stdout)["metrics"]  # fmt: skip


def test_a_damaged_entry_is_made_anew_and_a_bad_place_is_no_error(tmp_path: Path, tiny_bert_dir: Path) -> None:
    cache, data = tmp_path / "cache", _data(tmp_path / "a.jsonl")
    assert _train(tiny_bert_dir, data, tmp_path / "1", cache).code == 0
    entries = list(cache.glob("*.tokens"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-40])
    again = _train(tiny_bert_dir, data, tmp_path / "2", cache)
    assert again.code == 0
    assert "tokenize train: from the cache" not in again.stderr
    assert "tokenize train: from the cache" in _train(tiny_bert_dir, data, tmp_path / "3", cache).stderr
    (tmp_path / "file").write_text("in the way")
    assert _train(tiny_bert_dir, data, tmp_path / "4", tmp_path / "file" / "x").code == 0


def test_small_splits_are_not_kept(tmp_path: Path, tiny_bert_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cache = tmp_path / "cache"
    assert _train(tiny_bert_dir, _data(tmp_path / "a.jsonl"), tmp_path / "1", cache).code == 0
    assert not cache.exists()


MEMORY = """
import sys
import numpy as np
from ftcli.data import spool
spool.IN_MEMORY = 1 << 20
from ftcli.data.load import load
from ftcli.data.examples import lengths
from ftcli.engine.evaluate import encode_rows
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.text_classification import TextClassification

class Task(TextClassification):
    def __init__(self):
        pass
    def encode(self, rows):
        return [{"input_ids": np.arange(400, dtype=np.int32), "label": len(row["label"])} for row in rows]

def peak():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

before = peak()
rows = load(DataRecipe(name=sys.argv[1]), Task.columns, seed=1, splits=("train",)).splits["train"]
examples = encode_rows(Task().encode, rows)
print(len(examples), int(sum(lengths(examples))), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    data, text = tmp_path / "large.jsonl", "a warm film with a dull plot " * 100
    with data.open("w") as handle:
        for i in range(20_000):
            handle.write(json.dumps({"text": f"{i} {text}", "label": ("good", "bad")[i % 2]}) + "\n")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, tokens, grown = map(int, done.stdout.split())
    assert data.stat().st_size > 55 << 20
    assert (rows, tokens) == (20_000, 20_000 * 400)
    assert grown < 40 << 10, f"{grown} KiB for {data.stat().st_size >> 10} KiB of data"
