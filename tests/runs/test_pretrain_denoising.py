"""`ftcli pretrain --objective denoising|rtd`: from documents to a model that others load, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, ElectraForPreTraining

from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from ftcli.runs import pretrain
from ftcli.runs.verify_resume import compare
from ftcli.trackers.console import Console
from tests.tiny import run_cli, tiny_model, tiny_reviews, write_jsonl

KINDS = {"t5": "denoising", "bart": "denoising", "electra": "rtd"}
BLANK = {"t5": "<extra_id_0>", "bart": "<mask>", "electra": "film"}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"text": row["text"]} for row in tiny_reviews(80)]
    return write_jsonl(rows, tmp_path_factory.mktemp("documents") / "documents.jsonl")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(kind, tmp_path_factory.mktemp("model") / f"tiny-{kind}")


@pytest.fixture(scope="module")
def run(kind: str, model: Path, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; the objective is what the architecture is made for."""
    folder = tmp_path_factory.mktemp("run") / kind
    done = run_cli(
        "pretrain", "--model", str(model), "--data", str(documents), "--out", str(folder), "--epochs", "5",
        "--batch-size", "8", "--lr", "3e-3", "--max-length", "32", "--set", "log.every=1",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder


def records(run: Path, split: str) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [found for line in lines if (found := json.loads(line))["split"] == split]


def test_the_loss_falls_and_the_report_tells(run: Path, kind: str) -> None:
    validation = [record["loss"] for record in records(run, "validation")]
    assert validation[-1] < 0.95 * validation[0]
    train = [record["loss"] for record in records(run, "train")]
    assert sum(train[-5:]) < 0.85 * sum(train[:5])
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (report["command"], report["task"]) == ("pretrain", KINDS[kind])
    assert report["metrics"]["loss"] == pytest.approx(min(validation), abs=1e-5)
    tokens = report["metrics"].get("mlm_loss", report["metrics"]["loss"])
    assert report["metrics"]["perplexity"] == pytest.approx(2.718281828**tokens, rel=1e-3)
    assert {"unigram_loss", "bits_per_byte", "accuracy"} <= report["metrics"].keys()


def test_what_is_saved_is_loaded_whole_by_the_library(run: Path, kind: str) -> None:
    auto: Any = ElectraForPreTraining if kind == "electra" else AutoModelForSeq2SeqLM
    _, loading = auto.from_pretrained(run / "model", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    names = load_file(run / "model" / "model.safetensors")
    assert not any("generator" in name for name in names)
    kept = load_file(run / "checkpoints" / "last" / "model.safetensors")
    assert any("generator" in name for name in kept) == (kind == "electra"), "training goes on with both"


def test_predict_answers_in_order(run: Path, kind: str) -> None:
    texts = [f"the {BLANK[kind]} was good and warm", "a very dull plot", f"it was {BLANK[kind]}"]
    done = run_cli("predict", str(run), stdin="\n".join(texts) + "\n")
    assert done.code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == texts
    if kind == "electra":
        assert [token["token"] for token in answers[1]["tokens"]] == texts[1].split()
    else:
        assert all(isinstance(answer["prediction"], str) for answer in answers)
        assert not any(BLANK[kind] in answer["prediction"] for answer in answers)
    if kind == "t5":
        assert answers[1]["prediction"] == texts[1], "no blank, nothing to fill"


def test_a_held_out_file_is_scored_by_the_same_measure(run: Path, kind: str, documents: Path) -> None:
    done = run_cli("evaluate", str(run), "--data", str(documents), "--split", "train", "--json")
    if kind == "electra":
        assert done.code == 2
        assert "generator" in done.stderr
        return
    assert done.code == 0, done.stderr
    first = json.loads(done.stdout)["metrics"]
    again = json.loads(run_cli("evaluate", str(run), "--data", str(documents), "--split", "train", "--json").stdout)
    assert first == again["metrics"], "the same spans are hidden each time"


def test_a_stopped_run_goes_on_as_if_it_had_not(model: Path, documents: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    given = {
        "model.name": str(model), "data.name": str(documents), "train.max_steps": 12, "train.max_length": 32,
        "train.batch_size": 8, "train.epochs": 9.0, "eval.every": 4, "checkpoint.every": 3, "log.every": 1,
    }  # fmt: skip
    quiet = Console(quiet=True)
    pretrain.run(resolve(None, {**given, "out": str(whole)}, ()), quiet)
    with pytest.raises(Stopped):
        pretrain.run(resolve(None, {**given, "out": str(parts)}, ()), quiet, stop_at=7)
    pretrain.run(resolve(None, {**given, "out": str(parts)}, ()), quiet, resume=True)
    assert not any(compare(whole, parts).values())


def test_all_of_it_runs_with_activations_computed_again_and_steps_by_tokens(
    model: Path, documents: Path, tmp_path: Path
) -> None:
    for name, value in (("train.activation_checkpointing", "true"), ("train.tokens_per_batch", "300")):
        out = tmp_path / name
        done = run_cli(
            "pretrain", "--model", str(model), "--data", str(documents), "--out", str(out), "--max-steps", "2",
            "--set", f"{name}={value}",
        )  # fmt: skip
        assert done.code == 0, done.stderr
        assert (out / "report.json").is_file()


def test_it_goes_on_to_be_fine_tuned(run: Path, reviews_dir: Path, tmp_path: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(run), "--data", str(reviews_dir), "--max-steps", "2", "--out", str(tmp_path / "a")
    )
    assert done.code == 0, done.stderr
    assert "starts fresh: classif" in done.stderr
