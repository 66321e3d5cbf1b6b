"""What `auto` trains in: bf16 where the CPU is fast at it and the model large enough, scored in fp32 all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ftcli.engine import precision
from ftcli.engine.precision import cpu_is_fast_at_bf16, for_training, pick_precision
from tests.tiny import run_cli

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "fast", "width", "trains_in"),
    [
        ("auto", True, 1600, "bf16"),
        ("auto", True, 1500, "fp32"),  # 2.25 million parameters: too small to gain
        ("auto", False, 1600, "fp32"),
        ("fp32", True, 1600, "fp32"),
        ("bf16", False, 1500, "bf16"),
    ],
)
def test_what_is_trained_in(
    asked: str, fast: bool, width: int, trains_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_is_fast_at_bf16", lambda: fast)
    with torch.device("meta"):
        model = nn.Sequential(nn.Embedding(100_000, width), nn.Linear(width, width))
    picked = pick_precision(asked, CPU)
    assert picked.name == ("fp32" if asked == "auto" else asked)
    assert for_training(asked, picked, model).name == trains_in


def test_the_cpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, fast in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert cpu_is_fast_at_bf16() is fast
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch
    assert cpu_is_fast_at_bf16() is False


def test_trained_in_bf16_scored_in_fp32(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_is_fast_at_bf16", lambda: True)
    monkeypatch.setattr(precision, "LARGE_ENOUGH", 0)
    run = tmp_path / "run"
    given = ["--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--epochs", "1", "--lr", "2e-3"]
    done = run_cli("finetune", *given, "--out", str(run), "--json")
    assert done.code == 0, done.stderr
    assert "trains in bf16" in done.stderr
    assert json.loads((run / "environment.json").read_text())["precision"] == "bf16"
    scored = run_cli("evaluate", str(run), "--data", str(reviews_dir), "--json")
    assert json.loads(scored.stdout)["metrics"] == json.loads(done.stdout)["metrics"]
    other = run_cli("finetune", *given, "--out", str(tmp_path / "other"), "--precision", "fp32", "--json")
    assert "trains in" not in other.stderr
    losses = [json.loads(done.stdout)["metrics"]["loss"], json.loads(other.stdout)["metrics"]["loss"]]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
