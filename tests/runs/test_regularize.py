"""`regularize.*` through the command line: trained in another way, scored in the same.

How they go together, with methods, accumulation, precision and stops, is in test_regularizer_grid.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ftcli.engine.regularizers import REGULARIZERS
from tests.runs.test_images import write_images
from tests.runs.test_regularizer_grid import SETTINGS
from tests.tiny import run_cli, tiny_reviews, write_jsonl

LOSSES = {
    "label_smoothing": "0.2",
    "focal": "2",
    "class_weights": "balanced",
    "r_drop": "1",
}


def trained(folder: Path, model: Path, data: Path, out: str, *settings: str, steps: str = "12") -> list[dict[str, Any]]:
    asked = [part for setting in settings for part in ("--set", setting)]
    done = run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", out, "--max-steps", steps, "--lr", "2e-3",
        "--set", "log.every=1", *asked, cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in (folder / out / "metrics.jsonl").read_text().splitlines()]


def losses(records: list[dict[str, Any]], split: str = "train") -> list[float]:
    return [record["loss"] for record in records if record["split"] == split]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rows in five are positive."""
    folder = tmp_path_factory.mktemp("uneven")
    for split, count, seed in (("train", 160, 0), ("validation", 40, 1), ("test", 40, 2)):
        rows = [row for i, row in enumerate(tiny_reviews(count, seed)) if row["label"] == "positive" or i % 8 == 1]
        write_jsonl(rows, folder / f"{split}.jsonl")
    return folder


@pytest.mark.parametrize("name", LOSSES)
def test_each_changes_how_it_is_trained_but_not_how_it_is_scored(
    name: str, tmp_path: Path, tiny_bert_dir: Path, uneven: Path
) -> None:
    plain = trained(tmp_path, tiny_bert_dir, uneven, "plain", "optimizer.lr=1e-6", steps="1")
    changed = f"regularize.{name}={LOSSES[name]}"
    found = trained(tmp_path, tiny_bert_dir, uneven, "found", "optimizer.lr=1e-6", changed, steps="1")
    assert losses(plain) != losses(found)
    scored = [
        run_cli("evaluate", run, "--data", str(uneven), "--json", cwd=tmp_path).stdout for run in ("plain", "found")
    ]
    # After one small step both are about the same model: by the same loss they score about the same.
    one, other = (json.loads(text)["metrics"]["loss"] for text in scored)
    assert one == pytest.approx(other, abs=1e-3)


def test_all_together_learn_and_portions_make_no_difference(tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    every = [f"regularize.{name}={value}" for name, value in LOSSES.items()]
    whole = trained(tmp_path, tiny_bert_dir, uneven, "whole", *every, "regularize.dropout=0", "train.batch_size=8")
    parts = trained(
        tmp_path, tiny_bert_dir, uneven, "parts", *every, "regularize.dropout=0", "train.batch_size=4",
        "train.gradient_accumulation=2",
    )  # fmt: skip
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)
    assert losses(whole)[-1] < losses(whole)[0]


def test_rare_classes_are_found_for_the_weight_they_are_given(
    tmp_path: Path, tiny_bert_dir: Path, uneven: Path
) -> None:
    """A class of all the weight is all that is ever predicted."""
    for rare in ("negative", "positive"):
        common = {"negative": "positive", "positive": "negative"}[rare]
        trained(
            tmp_path, tiny_bert_dir, uneven, rare, f"regularize.class_weights={common}=0,{rare}=1", "eval.metric=loss",
            "eval.every=12",
        )  # fmt: skip
        report = json.loads((tmp_path / rare / "report.json").read_text())
        recall = {row["label"]: row["recall"] for row in report["classes"] if row["label"] in ("negative", "positive")}
        assert recall == {rare: 1.0, common: 0.0}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, uneven: Path) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    trained(folder, tiny_bert_dir, uneven, "run", steps="4")
    return folder / "run"


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS) - set(LOSSES) - {"cutmix"}))
def test_each_of_the_rest_is_asked_for_by_its_key(
    name: str, tmp_path: Path, tiny_bert_dir: Path, uneven: Path, plain: Path
) -> None:
    trained(tmp_path, tiny_bert_dir, uneven, "run", f"regularize.{name}={SETTINGS[name]}", steps="4")
    one, other = (load_file(run / "model" / "model.safetensors") for run in (plain, tmp_path / "run"))
    assert one.keys() == other.keys()
    assert any(not one[key].equal(other[key]) for key in one)
    scored = run_cli("evaluate", "run", "--data", str(uneven), "--json", cwd=tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert json.loads(scored.stdout)["metrics"] == report["metrics"], "scored as any run is"


def test_the_average_is_what_is_validated_kept_and_saved(tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    records = trained(
        tmp_path, tiny_bert_dir, uneven, "run", "regularize.ema=0.9", "eval.every=6", "eval.metric=loss", steps="6"
    )
    last = tmp_path / "run" / "checkpoints" / "last"
    saved, steps = load_file(tmp_path / "run" / "model" / "model.safetensors"), load_file(last / "model.safetensors")
    average = load_file(last / "regularizers.safetensors")
    for name, tensor in saved.items():
        assert tensor.equal(average[f"ema/{name}"])
    assert not saved["classifier.weight"].equal(steps["classifier.weight"])
    scored = run_cli("evaluate", "run", "--data", str(uneven), "--split", "validation", "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"]["loss"] == losses(records, "validation")[-1]


def test_images_are_mixed_and_cut(tmp_path: Path) -> None:
    for split, count in (("train", 16), ("validation", 4), ("test", 4)):
        write_images(tmp_path / "data" / split, count, 0)
    every = ["regularize.mixup=0.2", "regularize.cutmix=1", "regularize.label_smoothing=0.1", "regularize.ema=0.9"]
    small = ["model.config.num_hidden_layers=1", "model.config.hidden_size=32"]
    changed = trained(tmp_path, Path("preset:vit-digits"), tmp_path / "data", "run", *small, *every, steps="4")
    as_it_is = trained(tmp_path, Path("preset:vit-digits"), tmp_path / "data", "plain", *small, steps="4")
    assert losses(changed) != losses(as_it_is)


@pytest.mark.parametrize(
    "names",
    [
        ("mixup", "label_smoothing", "r_drop", "fgm", "mixout", "ema", "unfreeze"),
        ("focal", "class_weights", "neftune", "freelb", "l2_sp", "swa", "reinit_layers"),
    ],
)
def test_many_at_once_stop_and_go_on_in_another_process(
    names: tuple[str, ...], tmp_path: Path, tiny_bert_dir: Path, uneven: Path
) -> None:
    asked = [part for name in names for part in ("--set", f"regularize.{name}={SETTINGS[name]}")]
    done = run_cli(
        "verify-resume", "--model", str(tiny_bert_dir), "--data", str(uneven), "--batch-size", "8", "--steps", "4",
        *asked, cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stdout + done.stderr


def test_pretraining_takes_those_that_concern_weights(tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    asked = [part for name in ("l2_sp", "mixout", "ema") for part in ("--set", f"regularize.{name}={SETTINGS[name]}")]
    done = run_cli(
        "pretrain", "--model", str(tiny_bert_dir), "--data", str(uneven), "--out", "run", "--max-steps", "4", *asked,
        "--set", "eval.every=4", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    average = load_file(tmp_path / "run" / "checkpoints" / "last" / "regularizers.safetensors")
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert saved[name].equal(average[f"ema/{name}"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("fgm=1", "smart=1"), "regularize.fgm and regularize.smart do not go together"),
        (("ema=0.9", "swa=0.5"), "regularize.ema and regularize.swa do not go together"),
        (("cutmix=1",), "regularize.cutmix is for images"),
        (("freeze=3",), "the model has 2 layers"),
        (("freeze=1", "reinit_layers=2"), "regularize.reinit_layers starts layers anew"),
        (("freeze=words",), "freeze is 'words'; expected a whole number or 'embeddings' or null"),
        (("reinit_layers=3",), "the model has 2 layers"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    settings: tuple[str, ...], said: str, tmp_path: Path, tiny_bert_dir: Path, uneven: Path
) -> None:
    asked = [part for setting in settings for part in ("--set", f"regularize.{setting}")]
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", str(uneven), *asked, cwd=tmp_path)
    assert done.code == 2
    assert said in done.stderr
    assert "hint: " in done.stderr or "expected" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["l2_sp", "mixout", "freeze", "unfreeze", "reinit_layers"])
def test_from_scratch_there_is_nothing_to_go_by(name: str, tmp_path: Path, uneven: Path) -> None:
    done = run_cli(
        "finetune", "--model", "preset:bert-tiny", "--data", str(uneven), "--set",
        f"regularize.{name}={SETTINGS[name]}", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    assert f"regularize.{name} goes by pretrained weights, and preset:bert-tiny has none" in done.stderr


def test_what_changes_the_forward_pass_is_not_compiled(tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    for name in ("neftune", "mixout", "freelb"):
        done = run_cli(
            "finetune", "--model", str(tiny_bert_dir), "--data", str(uneven), "--set", "train.compile=true", "--set",
            f"regularize.{name}={SETTINGS[name]}", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 2
        assert f"regularize.{name} does not go with a compiled model" in done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("class_weights=even", "expected balanced, or name=weight"),
        ("class_weights=positve=2", "did you mean 'positive'?"),
        ("class_weights=positive=-1", "weights from 0"),
        ("class_weights=positive=0,negative=0", "leaves no training row any weight"),
        ("label_smoothing=1", "label_smoothing"),
    ],
)
def test_what_cannot_be_is_refused(setting: str, said: str, tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(uneven), "--set", f"regularize.{setting}", cwd=tmp_path
    )
    assert done.code == 2
    assert said in done.stderr


def test_objectives_have_losses_of_their_own(tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    for name, said in (("r_drop", "is for classification"), ("fgm", "is for tasks"), ("reinit_layers", "is for tasks")):
        done = run_cli(
            "pretrain", "--model", str(tiny_bert_dir), "--data", str(uneven), "--set", f"regularize.{name}=1",
            cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 2
        assert f"regularize.{name} {said}" in done.stderr
