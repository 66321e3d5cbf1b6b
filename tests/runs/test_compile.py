"""`train.compile`: few shapes, the model saved as ever, and a clear word where no compiler works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ftcli.tasks.text_classification import TextClassification
from tests.runs.test_finetune import records
from tests.tiny import run_cli

ASKED = ("--max-steps", "4", "--batch-size", "8", "--set", "log.every=1", "--set", "train.compile=true", "-q")


def command(model: Path, data: Path, out: str, *more: str) -> tuple[str, ...]:
    return ("finetune", "--model", str(model), "--data", str(data), "--out", out, *ASKED, *more)


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The widths of all batches."""
    found: set[int] = set()
    collate = TextClassification.collate

    def watched(self: Any, examples: Any) -> Any:
        batch = collate(self, examples)
        found.add(batch["input_ids"].shape[1])
        return batch

    monkeypatch.setattr(TextClassification, "collate", watched)
    return found


def test_few_widths(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, widths: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling itself left out: what it is asked to, and the shapes it would meet."""
    asked: list[Any] = []
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: asked.append(self))
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run"), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert [type(model).__name__ for model in asked] == ["BertForSequenceClassification"]
    assert widths == {64}
    off = run_cli(*command(tiny_bert_dir, reviews_dir, "off", "--set", "train.compile=auto"), cwd=tmp_path)
    assert off.code == 0, off.stderr
    assert len(asked) == 1
    assert len(widths) > 2


def test_no_compiler(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The run says what is missing, and goes on without where told to."""

    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found (injected)")

    import torch

    whole = torch.nn.Module.compile
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: whole(self, backend=backend))
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run"), cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert "torch.compile does not work here" in done.stderr
    assert "No working C++ compiler" in done.stderr
    assert "hint: --set train.compile=false" in done.stderr
    torch._dynamo.reset()
    again = command(tiny_bert_dir, reviews_dir, "run", "--resume", "--set", "train.compile=false")
    done = run_cli(*again, cwd=tmp_path)
    assert done.code == 0, done.stderr


@pytest.mark.slow
def test_a_compiled_run_is_the_same_within_rounding(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    off = ("--set", "regularize.dropout=0", "--set", "model.config.num_hidden_layers=1")
    for out, more in (("compiled", ()), ("plain", ("--set", "train.compile=false"))):
        done = run_cli(*command(tiny_bert_dir, reviews_dir, out, *off, *more), cwd=tmp_path)
        assert done.code == 0, done.stderr
    compiled, plain = tmp_path / "compiled", tmp_path / "plain"
    for one, two in zip(records(compiled), records(plain), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-4)
    for part in (
        "model/model.safetensors",
        "checkpoints/last/model.safetensors",
        "checkpoints/last/optimizer.safetensors",
    ):
        assert load_file(compiled / part).keys() == load_file(plain / part).keys()
