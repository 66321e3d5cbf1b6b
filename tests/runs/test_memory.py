"""Less memory for the same results, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.test_finetune import records
from tests.tiny import run_cli, tiny_model

RECOMPUTE = ("--set", "train.activation_checkpointing=true")


def command(model: Path, data: Path, out: str, *more: str) -> tuple[str, ...]:
    return (
        "finetune", "--model", str(model), "--data", str(data), "--out", out, "--max-steps", "9", "--lr", "2e-3",
        "--batch-size", "8", "--set", "log.every=2", "--set", "checkpoint.every=3", "-q", *more,
    )  # fmt: skip


def test_activations_computed_again_change_nothing(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    for out, more in (("kept", ()), ("again", RECOMPUTE)):
        done = run_cli(*command(tiny_bert_dir, reviews_dir, out, *more), cwd=tmp_path)
        assert done.code == 0, done.stderr
    kept, again = tmp_path / "kept", tmp_path / "again"
    for one, two in zip(records(kept), records(again), strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    for name, tensor in load_file(kept / "model" / "model.safetensors").items():
        torch.testing.assert_close(
            load_file(again / "model" / "model.safetensors")[name], tensor, rtol=0, atol=1e-5, msg=name
        )
    assert (kept / "model" / "config.json").read_bytes() == (again / "model" / "config.json").read_bytes()


def test_a_run_that_recomputes_resumes_exactly(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "part", *RECOMPUTE)
    recipe = tmp_path / "part" / "recipe.yaml"
    assert run_cli(*asked, cwd=tmp_path).code == 0
    done = run_cli("verify-resume", str(recipe), "--steps", "3", cwd=tmp_path)
    assert done.code == 0, done.stderr


def test_a_model_that_cannot_recompute(tmp_path: Path, reviews_dir: Path) -> None:
    model = tiny_model("albert", tmp_path / "tiny-albert")
    done = run_cli(*command(model, reviews_dir, "run", *RECOMPUTE), cwd=tmp_path)
    assert done.code == 2
    assert "tiny-albert" in done.stderr
    assert "hint: --set train.activation_checkpointing=false" in done.stderr
    assert not (tmp_path / "run").exists()
