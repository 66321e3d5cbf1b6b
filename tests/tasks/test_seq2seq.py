"""Texts written from others: the library's own loss whatever the batch, generation by settings, what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from ftcli.data.load import load
from ftcli.engine.evaluate import run_model
from ftcli.recipe.load import build
from ftcli.recipe.schema import Recipe
from ftcli.runs.trained import inherited, open_trained
from ftcli.tasks.seq2seq import Seq2Seq
from tests.tasks.samples import LEARNS, replies
from tests.tiny import run_cli, tiny_model, write_jsonl

ROWS = [{"source": row["de"], "target": row["en"]} for row in replies(7, 1, asked="de", answer="en")]
ROWS[2]["source"] += " and we was very warm and the book was in it at a hotel"
ROWS[4]["target"] = "a"


def recipe(**keys: Any) -> Recipe:
    return build({path.replace("__", "."): (value, "") for path, value in keys.items()})


def opened(kind: str, folder: Path, settings: Recipe | None = None) -> tuple[Seq2Seq, Any]:
    tiny_model(kind, folder / kind)
    task = Seq2Seq(AutoTokenizer.from_pretrained(folder / kind), 64, settings)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder / kind, dtype=torch.float32).eval()
    task.prepare(model)
    return task, model


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_the_loss_is_the_librarys_and_the_same_in_any_batch(kind: str, tmp_path: Path) -> None:
    task, model = opened(kind, tmp_path)
    examples = task.encode(ROWS)
    with torch.no_grad():
        together = task.collate(examples)
        found = task.decode(task.forward(model, together), together)
        for row, example, said in zip(ROWS, examples, found, strict=True):
            given = task.tokenizer(row["source"], text_target=row["target"], return_tensors="pt")
            given.pop("token_type_ids", None)
            loss = float(model(**given).loss)
            nll, count, _ = said["told"]
            assert count == given["labels"].shape[1] == len(example["labels"])
            assert nll / count == pytest.approx(loss, rel=1e-4)
            alone = task.collate([example])
            [by_itself] = task.decode(task.forward(model, alone), alone)
            assert by_itself["told"][0] == pytest.approx(nll, rel=1e-4)
            assert by_itself["prediction"] == said["prediction"]
    assert task.counts(together) == {"loss": sum(len(e["labels"]) for e in examples)}


def test_targets_are_smoothed_while_training_and_cut_with_their_end(tmp_path: Path) -> None:
    task, model = opened("t5", tmp_path, recipe(seq2seq__label_smoothing=0.3, seq2seq__max_target_length=4))
    batch = task.collate(task.encode(ROWS))
    assert all(int(e["labels"][-1]) == task.end and len(e["labels"]) <= 4 for e in task.encode(ROWS))
    assert [e["target_cut"] for e in task.encode(ROWS)] == [row["target"] != "a" for row in ROWS]
    trained = float(task.losses(task.forward(model, batch), batch)["loss"].detach())
    with torch.no_grad():
        scored = task.forward(model, batch)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=batch["decoder_input_ids"],
    ).logits
    log_p = torch.log_softmax(logits.reshape(-1, logits.shape[-1])[batch["places"]], -1)
    own = -log_p.gather(1, batch["labels"][:, None]).sum()
    assert float(scored["loss"]) == pytest.approx(float(own), rel=1e-5)
    assert trained == pytest.approx(float(0.7 * own - 0.3 * log_p.mean(-1).sum()), rel=1e-5)
    assert scored["written"].shape[1] <= 1 + 4


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run whose sources have a prefix, and its data."""
    folder = tmp_path_factory.mktemp("seq2seq")
    data = folder / "data"
    data.mkdir()
    for split, seed in (("train", 0), ("validation", 0), ("test", 0)):
        write_jsonl(replies(24, seed, asked="article", answer="summary"), data / f"{split}.jsonl")
    model = tiny_model("t5", folder / "model")
    done = run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", str(folder / "run"), *LEARNS,
        "--epochs", "120", "--set", "eval.every=180", "--set", "seq2seq.prefix=we was ", "--set", "eval.metric=loss",
        "--set", "seq2seq.max_target_length=12", "--set", "seq2seq.metrics=both",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run", data


def answers(run: Path | str, lines: str, *more: str) -> list[str]:
    done = run_cli("predict", str(run), "-q", *more, stdin=lines)
    assert done.code == 0, done.stderr
    return [json.loads(line)["prediction"] for line in done.stdout.splitlines()]


LINES = "".join(f"{row['article']}\n" for row in replies(12, 0, asked="article", answer="summary"))


def test_what_was_learnt_is_written_and_reported(learnt: tuple[Path, Path]) -> None:
    """By heart; a state chosen by its loss has nothing written before the end; the model folder knows the prefix."""
    run, _ = learnt
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["metrics"]["bleu"] > 90
    assert report["metrics"]["rougeL"] > 0.9
    assert "tok:13a" in report["details"]["bleu"]
    assert [set(example) for example in report["details"]["examples"]] == [{"source", "target", "prediction"}] * 3
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("bleu" not in r for r in records if r["split"] == "validation")
    true = [row["summary"] for row in replies(12, 0, asked="article", answer="summary")]
    found = answers(run, LINES)
    assert sum(a == b for a, b in zip(found, true, strict=True)) >= 10
    assert answers(run / "model", LINES) == found
    # Every text is written as it is by itself.
    assert answers(run, LINES, "--batch-size", "1") == found


def test_generation_goes_by_its_settings(learnt: tuple[Path, Path]) -> None:
    run, _ = learnt
    short = answers(run, LINES, "--set", "generation.max_new_tokens=2")
    assert all(len(text.split()) <= 2 for text in short)
    drawn = ("--set", "generation.do_sample=true", "--set", "generation.temperature=5")
    assert answers(run, LINES, *drawn) == answers(run, LINES, *drawn) != answers(run, LINES)
    beams = ("--set", "generation.num_beams=3")
    assert answers(run, LINES, *beams, "--set", "generation.length_penalty=-20") != answers(
        run, LINES, *beams, "--set", "generation.length_penalty=20", "--set", "generation.no_repeat_ngram=1"
    )


def test_runs_are_compared_by_what_they_write(learnt: tuple[Path, Path], tmp_path: Path) -> None:
    """Resamples in one go are those scored one by one."""
    run, _ = learnt
    trained = open_trained(inherited(str(run), {}, None))
    rows = load(trained.recipe.data, trained.task.columns, seed=1, splits=("test",)).splits["test"]
    examples = trained.task.encode(list(rows))
    predictions, _ = run_model(trained.task, trained.model, examples, trained.precision, None)
    counts = np.random.default_rng(0).multinomial(len(rows), [1 / len(rows)] * len(rows), size=3)
    at_once = cast(Seq2Seq, trained.task).score_resamples(rows, predictions, counts)
    for number, times in enumerate(counts):
        drawn = np.repeat(np.arange(len(rows)), times).tolist()
        anew = trained.task.score(rows.select(drawn), [predictions[i] for i in drawn], bootstrap=0, seed=0)
        for name, value in anew.metrics.items():
            assert at_once[name][number] == pytest.approx(value, abs=1e-6), name


def test_adapted_it_still_writes(learnt: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = learnt
    done = run_cli(
        "finetune", "--model", str(run), "--data", str(data), "--out", str(tmp_path / "lora"), "--method", "lora",
        "--max-steps", "2", "--lr", "1e-9", "--set", "seq2seq.prefix=we was ",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert answers(tmp_path / "lora", LINES) == answers(run, LINES)


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("preset:bert-tiny", (), "task causal-lm"), ("preset:gpt2-tiny", (), "task causal-lm"),
        ("run", ("--method", "prompt"), "--method lora"),
    ],
)  # fmt: skip
def test_what_cannot_write_is_refused(
    model: str, more: tuple[str, ...], said: str, learnt: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = learnt
    name = str(run) if model == "run" else model
    done = run_cli(
        "finetune", "--task", "seq2seq", "--model", name, "--data", str(data), *more, "--out", str(tmp_path / "x")
    )
    assert done.code == 2, done.stderr
    assert said in done.stderr
