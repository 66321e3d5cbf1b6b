"""Options of `ftcli pretrain`: warm-ups that resume exactly, words for the vocabulary; and the curve at its end."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ftcli.engine.loop import Loop
from ftcli.runs import pretrain
from tests.forked import start
from tests.runs.test_resume import contents, records
from tests.tiny import run_cli, tiny_reviews, write_jsonl

WARM = ("--set", "train.batch_warmup=0.4", "--set", "train.length_warmup=0.5")


def command(model: Path, data: Path, out: str, *more: str) -> tuple[str, ...]:
    return (
        "pretrain", "--model", str(model), "--data", str(data), "--out", out, "--epochs", "2", "--lr", "2e-3",
        "--batch-size", "8", "--max-length", "24", "--set", "checkpoint.every=4", "--set", "log.every=1", *more,
    )  # fmt: skip


@pytest.mark.parametrize("portion", [(), ("--set", "train.tokens_per_batch=160")], ids=["rows", "tokens"])
def test_warm_ups_resume_exactly(
    portion: tuple[str, ...], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    """Killed in the middle of both: batches and cuts go on as if it had not been."""
    assert pretrain.check  # imported here, so that the child need not
    asked = (*command(tiny_bert_dir, reviews_dir, "run", *WARM), *portion)
    whole = run_cli(*command(tiny_bert_dir, reviews_dir, "whole", *WARM), *portion, cwd=tmp_path)
    assert whole.code == 0, whole.stderr
    child = start(*asked, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "step-00000008").exists() and time.monotonic() < deadline:
        assert child.poll() is None, child.said()
        time.sleep(0.002)
    child.kill(signal.SIGKILL)
    child.wait()
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from step-000000" in resumed.stderr
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_steps_grow_and_texts_too(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, longest = [], []
    true = Loop._accumulate

    def watched(self: Loop, batches: list[dict], *rest: object) -> object:  # type: ignore[type-arg]
        rows.append(sum(len(batch["attention_mask"]) for batch in batches))
        longest.append(max(int(batch["attention_mask"].sum(1).max()) for batch in batches))
        return true(self, batches, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Loop, "_accumulate", watched)
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run", *WARM), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert f"training {len(rows)} steps of 8 rows, fewer in the first 40 %" in done.stderr
    end = next(i for i, n in enumerate(rows) if n == 8)
    assert rows[:2] == [1, 1]
    assert 0.25 * len(rows) < end < 0.45 * len(rows)
    assert sum(rows) == 2 * int(re.search(r"documents, (\d+) examples", done.stderr)[1])  # type: ignore[index]
    assert longest[:2] == [8, 8]
    assert max(longest) > 20
    assert all(
        size <= max(8, 3.5 + 21 * step / (0.5 * len(rows))) for step, size in enumerate(longest) if step < len(rows) / 2
    )


def test_a_longer_run_would_be_another(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    for more in ((), WARM):
        asked = command(tiny_bert_dir, reviews_dir, f"run-{len(more)}", *more, "--max-steps", "4")
        assert run_cli(*asked, cwd=tmp_path).code == 0
        longer = run_cli(*asked, "--max-steps", "6", "--resume", cwd=tmp_path)
        assert longer.code == (2 if more else 0), longer.stderr
        assert ("train.max_steps: 4 before, 6 now" in longer.stderr) == bool(more)


def test_cutting_texts_is_for_pretraining(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--out", "run", "--max-steps", "2",
        "--set", "train.length_warmup=0.5", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2, done.stderr
    assert "train.length_warmup" in done.stderr
    assert "hint:" in done.stderr


def test_words_are_added(tmp_path: Path, tiny_bert_dir: Path) -> None:
    texts = [{"text": row["text"] + " covidfilm"} for row in tiny_reviews(60, 0)]
    data = write_jsonl(texts, tmp_path / "texts.jsonl")
    words = tmp_path / "words.txt"
    words.write_text("covidfilm\nfilm\n", encoding="utf-8")
    asked = command(tiny_bert_dir, data, "run", "--set", f"model.add_tokens={words}", "--max-steps", "5")
    done = run_cli(*asked, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "1 words added to the vocabulary; 1 are single tokens already" in done.stderr
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model")
    before = len(AutoTokenizer.from_pretrained(tiny_bert_dir))
    assert tokenizer.tokenize("the covidfilm") == ["the", "covidfilm"]
    assert len(tokenizer) == len(model.get_input_embeddings().weight) == before + 1
    predicted = run_cli("predict", "run", stdin="the covidfilm was [MASK]\n", cwd=tmp_path)
    assert predicted.code == 0, predicted.stderr
    assert "covidfilm" in json.loads(predicted.stdout)["prediction"]
    fine = run_cli(
        "finetune", "--model", "run", "--data", "builtin:reviews", "--out", "fine", "--max-steps", "1", "--limit", "40",
        cwd=tmp_path,
    )  # fmt: skip
    assert fine.code == 0, fine.stderr


def test_the_curve_at_the_end(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run"), cwd=tmp_path)
    assert done.code == 0, done.stderr
    lines = done.stderr.splitlines()
    began = next(i for i, line in enumerate(lines) if "loss over steps" in line)
    curve = lines[began : began + 15]
    assert curve[0].split() == ["loss", "over", "steps", ".", "train", "o", "validation"]
    assert "\n".join(curve).isascii()
    assert sum(line.count("o") for line in curve[1:]) == 2
    assert (tmp_path / "run" / "loss_curve.png").read_bytes().startswith(b"\x89PNG")
    silent = run_cli(
        *command(tiny_bert_dir, reviews_dir, "other", "--set", "log.trackers=tensorboard", "--max-steps", "2"),
        cwd=tmp_path,
    )
    if silent.code == 0:  # tensorboard is not always there
        assert "loss over steps" not in silent.stderr
        assert not (tmp_path / "other" / "loss_curve.png").exists()
