"""Pretraining through the command line: a masked language model learns, is saved, goes on, and is fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from ftcli.runs import pretrain
from ftcli.trackers.console import Console
from tests.tiny import run_cli, tiny_reviews, write_jsonl

TEXTS = [f"{row['text']} ." for row in tiny_reviews(40, seed=5)]
SMALL = ("--set", "model.config.hidden_size=64", "--set", "model.config.num_attention_heads=2",
         "--set", "model.config.intermediate_size=128", "--set", "regularize.dropout=0")  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl([{"text": text} for text in TEXTS], folder / "train.jsonl")
    write_jsonl([{"text": row["text"]} for row in tiny_reviews(16, seed=9)], folder / "validation.jsonl")
    return folder


@pytest.fixture(scope="module")
def learnt(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt some dozens of texts nearly by heart."""
    run = tmp_path_factory.mktemp("mlm") / "run"
    done = run_cli(
        "pretrain", "--model", "preset:bert-tiny", "--data", str(corpus), "--out", str(run), "--epochs", "40",
        "--batch-size", "8", "--lr", "4e-3", "--max-length", "48", "--set", "eval.every=1000", *SMALL,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "-> " in done.stderr, "a person sees what the model makes of a text"
    return run


def metrics_of(run: Path, data: Path, split: str) -> dict[str, Any]:
    done = run_cli("evaluate", str(run), "--data", str(data), "--split", split, "--json", "-q")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["metrics"]
    return found


def test_the_objective_is_what_the_architecture_is_made_for(learnt: Path) -> None:
    report = json.loads((learnt / "report.json").read_text())
    assert (report["command"], report["task"]) == ("pretrain", "mlm")
    assert report["data"]["split"] == "validation"
    assert resolve(learnt / "recipe.yaml").objective == "mlm"
    config = json.loads((learnt / "model" / "config.json").read_text())
    assert config["hidden_dropout_prob"] == 0.1, "what pretraining did without, fine-tuning has"
    assert (learnt / "loss_curve.png").read_bytes().startswith(b"\x89PNG")


def test_it_learns_and_scores_the_same_again(learnt: Path, corpus: Path) -> None:
    report = json.loads((learnt / "report.json").read_text())["metrics"]
    held_out, seen = metrics_of(learnt, corpus, "validation"), metrics_of(learnt, corpus, "train")
    assert seen["loss"] < 0.9 * report["unigram_loss"]
    assert seen["accuracy"] > 0.15
    for name, value in held_out.items():
        assert value == pytest.approx(report[name], rel=1e-6), name


def test_masks_are_filled(learnt: Path) -> None:
    done = run_cli("predict", str(learnt), stdin="the film was very [MASK] and the [MASK] was good\nno mask\n")
    assert done.code == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert "[MASK]" not in first["prediction"]
    assert len(first["masks"]) == 2
    assert len(first["masks"][0]["candidates"]) == 5
    assert max(first["masks"][0]["candidates"].values()) == first["masks"][0]["score"]
    assert (second["prediction"], second["masks"]) == ("no mask", [])
    fill = pipeline("fill-mask", model=str(learnt / "model"), top_k=1)
    top = fill("the film was very [MASK] and we")[0]
    own = json.loads(run_cli("predict", str(learnt), stdin="the film was very [MASK] and we\n").stdout)
    assert own["masks"][0]["token"] == top["token_str"]
    assert own["masks"][0]["score"] == pytest.approx(top["score"], abs=1e-5)


def test_a_pretrained_run_is_fine_tuned_as_it_is(learnt: Path, reviews_dir: Path, tmp_path: Path) -> None:
    done = run_cli("finetune", "--model", str(learnt), "--data", str(reviews_dir), "--out", str(tmp_path / "run"),
                   "--max-steps", "4", "--max-length", "48", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    [said] = [line for line in done.stderr.splitlines() if "starts fresh" in line]
    assert "classifier.weight" in said
    assert "encoder" not in said
    assert "embeddings" not in said
    assert json.loads(done.stdout)["task"] == "text-classification"


def test_pretraining_goes_on_from_a_checkpoint(learnt: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    done = run_cli("pretrain", "--model", str(learnt), "--data", str(corpus), "--out", str(out), "--max-steps", "2",
                   "--max-length", "48")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "starts fresh" not in done.stderr
    before, after = (json.loads((run / "report.json").read_text())["metrics"]["loss"] for run in (learnt, out))
    assert after == pytest.approx(before, abs=0.3), "a model that begins where the other ended"
    AutoModelForMaskedLM.from_pretrained(out / "model")
    assert AutoTokenizer.from_pretrained(out / "model").mask_token == "[MASK]"


def test_stopped_and_resumed_is_not_to_be_told_from_never_stopped(corpus: Path, tmp_path: Path) -> None:
    def recipe(out: str) -> Any:
        return resolve(None, {"model.name": "preset:bert-tiny", "data.name": str(corpus), "out": str(tmp_path / out)},
                       ["train.tokens_per_batch=256", "train.max_steps=9", "train.epochs=3", "eval.every=4",
                        "log.every=1", "model.config.hidden_size=64"])  # fmt: skip

    quiet = Console(quiet=True)
    pretrain.run(recipe("whole"), quiet)
    with pytest.raises(Stopped):
        pretrain.run(recipe("parts"), quiet, stop_at=5)
    pretrain.run(recipe("parts"), quiet, resume=True)

    def lines(run: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if not k.endswith("_per_s")} for line in found]

    assert len(lines("whole")) >= 12
    assert lines("whole") == lines("parts")
    weights = [load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "parts")]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("objective", "preset", "term"),
    [("mlm+bow", "electra-tiny", "bow"), ("mlm+nsp", "bert-tiny", "nsp"), ("mlm+sop", "bert-tiny", "sop")],
)
def test_two_questions(objective: str, preset: str, term: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_cli("pretrain", "--model", f"preset:{preset}", "--objective", objective, "--data", str(corpus),
                   "--out", str(out), "--max-steps", "3", "--max-length", "48", *SMALL)  # fmt: skip
    assert done.code == 0, done.stderr
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert metrics["loss"] == pytest.approx(metrics["mlm_loss"] + metrics[f"{term}_loss"], rel=1e-6)
    assert 0 <= metrics[f"{term}_accuracy"] <= 1
    assert metrics["unigram_loss"] > 0
    found = json.loads(run_cli("predict", str(out), stdin="the [MASK] was good\n").stdout)
    assert len(found["masks"]) == 1


def test_several_sources_by_weight(tmp_path: Path) -> None:
    for name, count in (("a", 30), ("b", 90)):
        write_jsonl([{"text": f"{name} {text}"} for text in TEXTS[:count]], tmp_path / f"{name}.jsonl")
    done = run_cli("pretrain", "--model", "preset:bert-tiny", "--data", f"{tmp_path}/a.jsonl=0.5", "--data",
                   f"{tmp_path}/b.jsonl=0.5", "--out", str(tmp_path / "run"), "--max-steps", "2", *SMALL)  # fmt: skip
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["data"]["name"].count("=0.5") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--objective", "mlmm"], 2, "unknown objective 'mlmm'"),
        (["--model", "preset:gpt2-tiny", "--objective", "mlm"], 2, "mlm"),
        (["--objective", "mlm", "--set", "pretrain.mask_rate=1.5"], 2, "pretrain.mask_rate"),
        (["--data", "nowhere.txt"], 2, "nowhere.txt"),
        (["--model", "preset:distilbert-x"], 2, "unknown preset"),
    ],
)
def test_mistakes(arguments: list[str], code: int, said: str, corpus: Path, tmp_path: Path) -> None:
    given = {"--model": "preset:bert-tiny", "--data": str(corpus), "--out": str(tmp_path / "run")}
    given.update(zip(arguments[::2], arguments[1::2], strict=True))
    done = run_cli("pretrain", *(word for pair in given.items() for word in pair), cwd=tmp_path)
    assert done.code == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "preset"),
    [
        ("mlm", "bert-tiny"),
        ("mlm+bow", "bert-tiny"),
        ("mlm+sop", "bert-tiny"),
        ("rtd", "electra-tiny"),
        ("clm", "gpt2-tiny"),
        ("denoising", "t5-tiny"),
    ],
)
def test_half_precision(objective: str, preset: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_cli("pretrain", "--model", f"preset:{preset}", "--objective", objective, "--data", str(corpus),
                   "--out", str(out), "--max-steps", "2", "--max-length", "48", "--precision", "bf16", "--batch-size",
                   "7")  # fmt: skip
    assert done.code == 0, done.stderr
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert 0 < metrics["loss"] < 60
