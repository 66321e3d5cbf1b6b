"""Less memory for the same results, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.runs.test_finetune import records
from tests.tiny import Done, run_cli, tiny_model

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


def auto(tmp_path: Path, model: Path, data: Path, out: str, *more: str, free: int | None = None) -> Done:
    """A run with `--batch-size auto` where `free` bytes are left for a pass."""
    asked = [a for a in command(model, data, out, "--batch-size", "auto", *more) if a != "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        if free is not None:
            patch.setattr("ftcli.runs.batch_size.room", lambda model, device: free)
        return run_cli(*asked, cwd=tmp_path)


def settled(run: Path) -> tuple[int, int]:
    train = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["train"]
    return train["batch_size"], train["gradient_accumulation"]


def test_auto_is_made_numbers_that_repeat_elsewhere(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Little memory gives small portions of the same steps; the recipe then says so, wherever it runs again."""
    narrow = auto(tmp_path, tiny_bert_dir, reviews_dir, "narrow", free=700_000)
    assert narrow.code == 0, narrow.stderr
    size, times = settled(tmp_path / "narrow")
    assert size in {1, 2, 4, 8}
    assert size * times == 16
    assert f"16 rows per step in {times} forward passes of {size}" in narrow.stderr
    assert "(measured)" in narrow.stderr
    again = run_cli("finetune", "narrow/recipe.yaml", "--out", "again", "-q", cwd=tmp_path)
    assert again.code == 0, again.stderr
    by_hand = ("--batch-size", str(size), "--set", f"train.gradient_accumulation={times}")
    assert run_cli(*command(tiny_bert_dir, reviews_dir, "hand", *by_hand), cwd=tmp_path).code == 0
    assert records(tmp_path / "again") == records(tmp_path / "narrow") == records(tmp_path / "hand")


def test_auto_measures_once(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    first = auto(tmp_path, tiny_bert_dir, reviews_dir, "first")
    assert settled(tmp_path / "first") == (16, 1)
    second = auto(tmp_path, tiny_bert_dir, reviews_dir, "second")
    longer = auto(tmp_path, tiny_bert_dir, reviews_dir, "longer", "--max-length", "12")
    short = auto(tmp_path, tiny_bert_dir, reviews_dir, "short", free=1)
    assert ["(measured)" in done.stderr for done in (first, second, longer, short)] == [True, False, True, True]
    assert "(as found before)" in second.stderr
    assert records(tmp_path / "first") == records(tmp_path / "second")
    assert settled(tmp_path / "short") == (1, 16), "what was found before no longer fits"
    for file in (tmp_path / "cache" / "ftcli" / "batch_size").iterdir():
        file.write_text("{", encoding="utf-8")
    assert "(measured)" in auto(tmp_path, tiny_bert_dir, reviews_dir, "mended").stderr


def test_auto_keeps_the_rows_per_step_and_resumes(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    more = ("--set", "train.gradient_accumulation=3")
    done = auto(tmp_path, tiny_bert_dir, reviews_dir, "run", *more, free=3_000_000)
    size, times = settled(tmp_path / "run")
    assert size * times == 48
    assert 1 < size < 48
    longer = ("--max-steps", "12", "--epochs", "12", "--resume")
    done = auto(tmp_path, tiny_bert_dir, reviews_dir, "run", *more, *longer)
    assert done.code == 0, done.stderr
    assert "resumed from" in done.stderr
    assert settled(tmp_path / "run") == (size, times), "a resumed run goes on in the portions it began with"


def test_auto_in_a_dry_run_and_in_words(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = auto(tmp_path, tiny_bert_dir, reviews_dir, "run", "--dry-run", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["batch_size"] == 16
    assert not (tmp_path / "cache").exists()
    assert "INTEGER|auto" in run_cli("finetune", "--help").stdout
    refused = run_cli(*command(tiny_bert_dir, reviews_dir, "run", "--batch-size", "many"), cwd=tmp_path)
    assert refused.code == 2
    assert "expected a whole number or 'auto'" in refused.stderr
