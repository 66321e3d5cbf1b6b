"""Muon through the command line: killed and resumed it ends as a run that never stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ftcli.engine import muon
from tests.forked import start
from tests.runs.test_resume import contents, records
from tests.tiny import run_cli


@pytest.mark.parametrize("fast", [True, False], ids=["bf16", "fp32"])
def test_killed_and_resumed(
    fast: bool, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "cpu_is_fast_at_bf16", lambda: fast)
    command = (
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--batch-size", "4", "--lr", "2e-3",
        "--set", "optimizer.name=muon", "--set", "schedule.name=wsd", "--set", "schedule.floor=0.1",
        "--set", "checkpoint.every=4", "--set", "log.every=3", "--epochs", "2",
    )  # fmt: skip
    whole = run_cli(*command, "--out", "whole", cwd=tmp_path)
    assert whole.code == 0, whole.stderr
    child = start(*command, "--out", "run", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "step-00000008").exists() and time.monotonic() < deadline:
        assert child.poll() is None, child.said()
        time.sleep(0.002)
    child.kill(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    resumed = run_cli(*command, "--out", "run", "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from step-000000" in resumed.stderr
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    kept = load_file(tmp_path / "run" / "checkpoints" / "last" / "optimizer.safetensors")
    assert sum(name.endswith("/momentum_buffer") for name in kept) == 13
    assert sum(name.endswith("/exp_avg") for name in kept) > 13
