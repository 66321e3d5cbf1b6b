"""`regularize.*` through the command line: another loss to train by, the same to be scored by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("name", LOSSES)
def test_a_stopped_run_goes_on_as_if_it_had_not(name: str, tmp_path: Path, tiny_bert_dir: Path, uneven: Path) -> None:
    done = run_cli(
        "verify-resume", "--model", str(tiny_bert_dir), "--data", str(uneven), "--batch-size", "8", "--steps", "4",
        "--set", f"regularize.{name}={LOSSES[name]}", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stdout + done.stderr


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
    done = run_cli(
        "pretrain", "--model", str(tiny_bert_dir), "--data", str(uneven), "--set", "regularize.r_drop=1", cwd=tmp_path
    )
    assert done.code == 2
    assert "regularize.r_drop is for classification" in done.stderr
