"""`ftcli verify-resume`: passes where resuming is exact, and can fail where it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tests.tiny import run_cli


def arguments(model: Path, data: Path) -> tuple[str, ...]:
    return ("verify-resume", "--model", str(model), "--data", str(data), "--steps", "5", "--batch-size", "8", "--json")


def test_passes(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(*arguments(tiny_bert_dir, reviews_dir), cwd=tmp_path)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is True
    kinds = {"batches", "random state", "losses and scores", "weights", "optimizer", "regularizers"}
    assert set(found["differences"]) == kinds
    assert not os.listdir(tmp_path)


def test_the_random_state_is_that_of_the_step(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that keeps another random state is found; dropout follows from seed, step and row all the same."""
    from ftcli.engine import checkpoint

    true_state = checkpoint.everybodys_random_state

    def wrong(device: object) -> object:
        tensors, numbers = true_state(device)  # type: ignore[arg-type]
        tensors["cpu"] = torch.Generator().manual_seed(1).get_state()
        return tensors, numbers

    monkeypatch.setattr(checkpoint, "everybodys_random_state", wrong)
    done = run_cli(*arguments(tiny_bert_dir, reviews_dir), cwd=tmp_path)
    assert done.code == 4, done.stderr
    assert "the resumed run is not the same: random state" in done.stderr
    found = json.loads(done.stdout)["differences"]
    assert found.pop("random state")
    assert not any(found.values())
