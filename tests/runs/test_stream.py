"""Pretraining from a stream, through the command line: as from memory, resumed exactly, in several processes, from the
Hub."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from ftcli.engine.ranks import Ranks
from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from ftcli.runs import pretrain
from ftcli.trackers.console import Console
from tests.hub import running
from tests.tiny import run_cli, run_cli_process, tiny_reviews, write_jsonl
from tests.together import ends, run_together, start_together

TEXTS = [f"{row['text']} {n}" for n, row in enumerate(tiny_reviews(350, seed=3))]
SETTINGS = ("--lr", "2e-3", "--batch-size", "16", "--precision", "fp32", "--set", "log.every=1", "--max-length", "32")
STREAM = ("--set", "corpus.stream=true", "--set", "corpus.buffer=100", "--set", "corpus.held_out=20")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """350 documents in files of three kinds and sizes: four chunks a pass."""
    folder = tmp_path_factory.mktemp("stream")
    write_jsonl([{"text": text} for text in TEXTS[:150]], folder / "a.jsonl")
    (folder / "b.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS[150:230]).encode()))
    pq.write_table(pa.table({"text": TEXTS[230:]}), folder / "c.parquet")
    return folder


def lines(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_s")} for line in found]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in lines(run) if line["split"] == "train"]


def same_weights(one: Path, other: Path) -> bool:
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    return set(weights[0]) == set(weights[1]) and all(weights[0][n].equal(weights[1][n]) for n in weights[0])


def test_a_stream_of_one_chunk_is_the_corpus(tiny_bert_dir: Path, tmp_path: Path) -> None:
    """Three passes over what is shorter than a chunk: the same bits as from memory."""
    write_jsonl([{"text": text} for text in TEXTS[:60]], tmp_path / "train.jsonl")
    write_jsonl([{"text": text} for text in TEXTS[60:90]], tmp_path / "validation.jsonl")
    for name, more in (("memory", ("--epochs", "3")), ("stream", ("--set", "corpus.stream=true"))):
        done = run_cli("pretrain", "--model", str(tiny_bert_dir), "--data", str(tmp_path), *SETTINGS, *more,
                       "--max-steps", "12", "--out", str(tmp_path / name))  # fmt: skip
        assert done.code == 0, done.stderr
    assert len(losses(tmp_path / "memory")) == 12
    assert lines(tmp_path / "stream") == lines(tmp_path / "memory")
    assert same_weights(tmp_path / "stream", tmp_path / "memory")


def test_stopped_in_a_later_chunk_it_goes_on_to_the_same_bits(
    tiny_bert_dir: Path, corpus: Path, tmp_path: Path
) -> None:
    def recipe(out: str) -> Any:
        named = {"model.name": str(tiny_bert_dir), "data.name": str(corpus), "out": str(tmp_path / out)}
        sets = ["corpus.stream=true", "corpus.buffer=100", "corpus.held_out=20", "train.max_steps=33",
                "train.max_length=32", "log.every=1", "checkpoint.every=5"]  # fmt: skip
        return resolve(None, named, sets)

    quiet = Console(quiet=True)
    pretrain.run(recipe("whole"), quiet)
    for first, stop_at in ((True, 10), (False, 27)):  # in the second chunk; in the first of the second pass
        with pytest.raises(Stopped):
            pretrain.run(recipe("parts"), quiet, resume=not first, stop_at=stop_at)
    pretrain.run(recipe("parts"), quiet, resume=True)
    assert len(losses(tmp_path / "whole")) == 33
    ends = [line["step"] for line in lines(tmp_path / "whole") if line["split"] == "validation"]
    assert ends[:5] == [7, 14, 19, 23, 30], "chunks of 102, 102, 73 and 53 documents, and again"
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("size", "strategy"), [(2, "ddp"), (2, "fsdp"), (4, "fsdp")])
def test_several_processes_are_one(size: int, strategy: str, tiny_bert_dir: Path, corpus: Path, tmp_path: Path) -> None:
    """Small steps, so that one process often has none of their rows, or more passes than the other; and the last chunks
    of a pass have documents of one file only, which is one process'."""
    given = ("--model", str(tiny_bert_dir), "--data", str(corpus), *SETTINGS, *STREAM, "--batch-size", "2",
             "--set", "train.gradient_accumulation=2", "--max-steps", "90", "--set", "eval.every=45",
             "--set", f"distributed.strategy={strategy}")  # fmt: skip
    one = run_cli("pretrain", *given, "--out", str(tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    run_together(size, "pretrain", *given, "--out", str(tmp_path / "two"), cwd=tmp_path)
    assert len(losses(tmp_path / "one")) == 90
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    reports = [json.loads((tmp_path / run / "report.json").read_text())["metrics"] for run in ("one", "two")]
    assert reports[1] == pytest.approx(reports[0], abs=1e-4)


def test_rows_go_to_the_process_that_holds_them() -> None:
    class Examples:
        def owners(self, rows: np.ndarray) -> np.ndarray:
            return rows // 10

    ranks = Ranks()
    ranks.rank, ranks.size, ranks.held = 2, 3, Examples()
    assert ranks.own(np.array([3, 27, 14, 21])).tolist() == [27, 21]
    assert ranks.weights(np.array([3, 27, 14, 21]), 1) == [1, 1]
    assert ranks.own(np.array([3, 14])).tolist() == [3]
    assert ranks.weights(np.array([3, 14]), 1) == [0]


def test_from_the_hub(tiny_bert_dir: Path, tmp_path: Path) -> None:
    """File by file from where they are: nothing of them is stored."""
    files = tmp_path / "hub" / "datasets" / "someone" / "large"
    files.mkdir(parents=True)
    for number in range(3):
        rows = {"text": TEXTS[number * 80 : (number + 1) * 80], "n": list(range(80))}
        pq.write_table(pa.table(rows), files / f"train-{number:05d}-of-00003.parquet")
    given = ("pretrain", "--model", str(tiny_bert_dir), "--data", "someone/large", *SETTINGS, *STREAM,
             "--max-steps", "20")  # fmt: skip
    with running(tmp_path / "hub") as hub:
        environment = hub.environment(tmp_path / "cache")
        done = run_cli_process(*given, "--out", "run", cwd=tmp_path, env=environment)
        assert done.code == 0, done.stderr
        assert "streamed from 3 files" in done.stderr
        assert len(losses(tmp_path / "run")) == 20
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.suffix in (".parquet", ".arrow")]
    assert not kept
    gone = run_cli_process(*given, "--out", "again", cwd=tmp_path, env=environment)
    assert (gone.code, "to be streamed from there" in gone.stderr) == (2, True), gone.stderr


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--set", "train.max_steps=null"), 2, "corpus.stream needs train.max_steps"),
        (("--set", "train.length_warmup=0.5"), 2, "train.length_warmup plans ahead"),
        (("--set", "corpus.held_out=400"), 3, "corpus.held_out takes the first 400 away"),
        (("--set", "corpus.near_dup=0.8"), 2, "corpus.near_dup looks at all documents"),
    ],
)
def test_mistakes(more: tuple[str, ...], code: int, said: str, tiny_bert_dir: Path, corpus: Path) -> None:
    done = run_cli("pretrain", "--model", str(tiny_bert_dir), "--data", str(corpus), *STREAM, "--max-steps", "3", *more,
                   "--dry-run")  # fmt: skip
    assert (done.code, said in done.stderr) == (code, True), done.stderr
    assert "hint: " in done.stderr


def test_a_vocabulary_and_a_dry_run(corpus: Path) -> None:
    done = run_cli("pretrain", "--model", "preset:bert-tiny", "--data", str(corpus), *STREAM, "--max-steps", "500",
                   "--set", "model.tokenizer.vocab_size=200", "--dry-run", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["steps"], facts["rows"]) == (500, {"train": 102, "validation": 20})


def test_a_bad_row_in_a_later_chunk(tiny_bert_dir: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"text": text}) for text in TEXTS]
    rows[300] = "{"
    (tmp_path / "long.jsonl").write_text("\n".join(rows), encoding="utf-8")
    given = ("pretrain", "--model", str(tiny_bert_dir), "--data", str(tmp_path / "long.jsonl"), *SETTINGS, *STREAM,
             "--max-steps", "24")  # fmt: skip
    failed = run_cli(*given, "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert (failed.code, "long.jsonl, line 301: not valid JSON" in failed.stderr) == (3, True), failed.stderr
    done = run_cli(*given, "--out", str(tmp_path / "other"), "--on-bad-row", "skip", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "1 more bad document skipped: long.jsonl, line 301" in done.stderr


def test_a_bad_row_that_one_process_reads_ends_all(tiny_bert_dir: Path, tmp_path: Path) -> None:
    """The others, who never see its file, do not wait for ever."""
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        rows = [json.dumps({"text": f"{text} {name}"}) for text in TEXTS]
        if name == "b":
            rows[200] = "{"
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    children = start_together(2, "pretrain", "--model", str(tiny_bert_dir), "--data", str(tmp_path / "texts"),
                              *SETTINGS, *STREAM, "--max-steps", "60", "--out", "run", cwd=tmp_path)  # fmt: skip
    assert ends(children) == [3, 3], children[0].said()
    assert "b.jsonl, line 201: not valid JSON" in children[0].said()
