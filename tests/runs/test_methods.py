"""Every way to adapt a model: what it trains, what it leaves, that it repeats and goes on like any other run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftcli.models.methods import METHODS
from ftcli.models.methods.base import Method
from ftcli.recipe.method import MethodRecipe
from tests.tiny import KINDS, run_cli

SETTINGS = (
    "--epochs", "12", "--batch-size", "8", "--lr", "1e-2", "--set", "eval.metric=loss", "--set", "regularize.dropout=0",
)  # fmt: skip


def trained(folder: Path, model: Path, data: Path, *more: str) -> Any:
    done = run_cli("finetune", "--model", str(model), "--data", str(data), "--out", "run", *SETTINGS, *more, cwd=folder)
    assert done.code == 0, done.stderr
    return done


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def moved(base: Path, run: Path) -> set[str]:
    """Weights of the base that are other bits after training."""
    before, after = weights(base), weights(run / "model")
    own = {name.removeprefix("bert."): value for name, value in after.items()}
    assert set(before) <= set(own)
    return {name for name, value in before.items() if not value.equal(own[name])}


def kind_of(name: str) -> str:
    if name.startswith("pooler."):
        return "pooler"
    return "norm" if "LayerNorm" in name else name.rsplit(".", 1)[-1]


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        ("head", {"pooler"}),
        ("bitfit", {"pooler", "bias", "norm"}),
        ("ln", {"pooler", "norm"}),
        ("head-then-full", {"pooler", "norm", "bias", "weight"}),
    ],
)
def test_what_is_frozen_stays_byte_for_byte(
    method: str, kinds: set[str], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    done = trained(tmp_path, tiny_bert_dir, reviews_dir, "--method", method)
    found = moved(tiny_bert_dir, tmp_path / "run")
    assert {kind_of(name) for name in found} == kinds
    if method == "bitfit":
        assert not any(name.endswith("LayerNorm.weight") for name in found)
    assert f"method {method} trains " in done.stderr
    assert ("(100.00 %)" in done.stderr) == (method == "head-then-full")


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"full"}))
def test_it_learns_and_is_used_like_any_run(method: str, tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    """From a run that has learnt: with other names for the labels its head starts anew."""
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for split in ("train", "validation", "test"):
        rows = (reviews_dir / f"{split}.jsonl").read_text(encoding="utf-8")
        (renamed / f"{split}.jsonl").write_text(rows.replace('"positive"', '"up"').replace('"negative"', '"down"'))
    more = ("--lr", "5e-2", "--epochs", "20") if method in ("prefix", "prompt", "p-tuning") else ()
    more = ("--epochs", "20") if method == "lora" else more
    done = trained(tmp_path, trained_run, renamed, "--method", method, *more)
    assert "classifier.weight" in done.stderr.split("starts fresh: ")[1].split("\n")[0]
    scored = run_cli("evaluate", "run", "--data", str(renamed), "--fail-under", "accuracy=0.9", cwd=tmp_path)
    assert scored.code == 0, scored.stdout + scored.stderr
    said = run_cli("predict", "run", "-", "--quiet", cwd=tmp_path, stdin="good great lovely\n")
    assert '"prediction": "up"' in said.stdout


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"full"}))
def test_a_stopped_run_goes_on_as_if_it_had_not(
    method: str, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    done = run_cli(
        "verify-resume", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--method", method,
        "--batch-size", "8", "--steps", "6", "--set", "method.head_share=0.5", "--set", "train.epochs=1", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stdout + done.stderr


def test_the_head_comes_first(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    trained(
        tmp_path, tiny_bert_dir, reviews_dir, "--method", "head-then-full", "--set", "method.head_share=0.5",
        "--max-steps", "20", "--set", "checkpoint.every=10", "--set", "checkpoint.keep=9",
    )  # fmt: skip
    by_step = {int(folder.name.split("-")[-1]): folder for folder in (tmp_path / "run" / "checkpoints").glob("*-*")}
    base = weights(tiny_bert_dir)
    for step, same in ((10, True), (20, False)):
        state = load_file(next(by_step[step].glob("model*.safetensors")))
        name = "embeddings.word_embeddings.weight"
        assert state[f"bert.{name}"].equal(base[name]) == same


def test_methods_are_for_tasks_and_for_architectures_that_have_the_weights(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    refused = run_cli(
        "pretrain", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--set", "method=head", cwd=tmp_path
    )
    assert refused.code == 2
    assert "leave out --method" in refused.stderr


@pytest.mark.parametrize("method", sorted(METHODS))
def test_what_the_model_itself_fixes_stays_fixed(method: str) -> None:
    """As DistilBERT's sinusoidal positions are."""
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("bert", **KINDS["bert"], vocab_size=50))
    fixed = model.bert.embeddings.position_embeddings.weight.requires_grad_(False)
    adapted: Method = METHODS.part(method)(MethodRecipe(name=method))
    adapted.adapt(model, ())
    adapted.begin(model, 10)
    dense = model.bert.encoder.layer[0].output.dense
    dense = getattr(dense, "base_layer", dense)
    for step in (0, 9, 0, 9):
        adapted.before_step(step)
        assert not fixed.requires_grad
        assert model.classifier.weight.requires_grad
        whole = method == "full" or (method == "head-then-full" and step == 9)
        assert dense.weight.requires_grad == whole


@pytest.mark.parametrize("method", sorted(METHODS))
def test_half_precision(method: str, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Projections of some methods stay whole where others are halved; unpadded attention gets both."""
    settings = (
        "--method",
        method,
        "--precision",
        "bf16",
        "--set",
        "train.max_steps=3",
        "--set",
        "regularize.dropout=0.1",
    )
    given = ("--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--batch-size", "8", "--lr", "1e-3")
    losses = []
    for unpadded in ("true", "false"):
        place = tmp_path / unpadded
        more = ("--set", f"train.unpadded={unpadded}", "--out", str(place))
        done = run_cli("finetune", *given, *settings, *more, cwd=tmp_path)
        assert done.code == 0, done.stderr
        losses.append(json.loads((place / "report.json").read_text(encoding="utf-8"))["metrics"]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=0.1)
