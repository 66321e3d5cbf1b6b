"""Faults provoked for real in a process of their own: no memory, no number, no room, no right to write."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forked import start
from tests.tiny import run_cli, tiny_reviews, write_jsonl

SETTINGS = ("--epochs", "3", "--lr", "2e-3", "--batch-size", "8", "--set", "log.every=2")


def command(model: Path, data: Path, *more: str) -> tuple[str, ...]:
    return ("finetune", "--model", str(model), "--data", str(data), "--out", "run", *SETTINGS, *more)


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "model" / "model.safetensors")


def no_memory_for_more_than(rows: int, *, training: bool = True) -> None:
    """Forward passes over more rows run out of memory, as a device would."""
    from ftcli.tasks.text_classification import TextClassification

    forward = TextClassification.forward

    def limited(self: Any, model: Any, batch: Any) -> Any:
        if model.training == training and len(batch["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return forward(self, model, batch)

    TextClassification.forward = limited  # type: ignore[method-assign]


def test_out_of_memory_halves_the_micro_batch(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The same updates from smaller portions: equal weights (dropout off, since masks follow the portions)."""
    asked = command(tiny_bert_dir, reviews_dir, "--set", "regularize.dropout=0")
    for name in ("roomy", "narrow"):
        (tmp_path / name).mkdir()
    roomy = start(*asked, cwd=tmp_path / "roomy")
    narrow = start(*asked, cwd=tmp_path / "narrow", before=lambda: no_memory_for_more_than(3))
    assert roomy.wait() == 0, roomy.said()
    assert narrow.wait() == 0, narrow.said()
    assert "2 rows per forward pass" in narrow.said()
    found = events(tmp_path / "narrow" / "run")
    assert [(e["event"], e["micro_batch"]) for e in found] == [("out_of_memory", 2)]
    first, second = weights(tmp_path / "roomy" / "run"), weights(tmp_path / "narrow" / "run")
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=2e-4)


def test_out_of_memory_at_one_row_is_exit_6(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    child = start(*command(tiny_bert_dir, reviews_dir), cwd=tmp_path, before=lambda: no_memory_for_more_than(0))
    assert child.wait() == 6, child.said()
    assert "even with one row" in child.said()
    assert "hint:" in child.said()
    assert "Traceback" not in child.said()


def test_out_of_memory_while_scoring_changes_nothing(trained_run: Path, tmp_path: Path) -> None:
    asked = ("evaluate", str(trained_run), "--json", "-q")
    roomy = run_cli(*asked, cwd=tmp_path)
    narrow = start(*asked, cwd=tmp_path, before=lambda: no_memory_for_more_than(3, training=False))
    assert narrow.wait() == 0, narrow.said()
    first, second = (json.loads(text) for text in (roomy.stdout, narrow.said()))
    assert first["confusion_matrix"] == second["confusion_matrix"]
    assert first["metrics"]["loss"] == pytest.approx(second["metrics"]["loss"], abs=1e-6)
    none = start(*asked, cwd=tmp_path, before=lambda: no_memory_for_more_than(0, training=False))
    assert none.wait() == 6, none.said()
    assert "even with one row" in none.said()


def poisoned(word: str) -> None:
    """Every batch that holds the token of `word` has a loss that is no number, as a broken row would have."""
    from ftcli.tasks.text_classification import TextClassification

    losses = TextClassification.losses

    def broken(self: Any, outputs: Any, batch: Any) -> Any:
        found = losses(self, outputs, batch)
        token = self.tokenizer.convert_tokens_to_ids(word)
        if outputs.requires_grad and (batch["input_ids"] == token).any():
            found = {"loss": found["loss"] * float("nan")}
        return found

    TextClassification.losses = broken  # type: ignore[method-assign]


@pytest.fixture
def one_bad_row(tmp_path: Path) -> Path:
    """A data set in which one training row, line 31, holds a word of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = tiny_reviews(60)
    rows[30] = {"text": "the book was very [MASK] and cold", "label": "negative"}
    write_jsonl(rows, folder / "train.jsonl")
    for split, seed in (("validation", 1), ("test", 2)):
        write_jsonl(tiny_reviews(20, seed), folder / f"{split}.jsonl")
    return folder


def test_a_loss_that_is_no_number_is_passed_over(tmp_path: Path, tiny_bert_dir: Path, one_bad_row: Path) -> None:
    """Back to the last checkpoint, the rows named and passed over, once in each of the three epochs."""
    child = start(*command(tiny_bert_dir, one_bad_row), cwd=tmp_path, before=lambda: poisoned("[MASK]"))
    assert child.wait() == 0, child.said()
    found = events(tmp_path / "run")
    assert [e["event"] for e in found] == ["rollback"] * 3
    for event in found:
        assert any(place.endswith("train.jsonl, line 31") for place in event["rows"])
        assert event["to"] < event["step"]
    assert "rollback 1 of at most 3" in child.said()
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run").values())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [record["step"] for record in map(json.loads, lines) if record["split"] == "train"]
    assert steps == sorted(set(steps)), "no step is written down twice"


def test_too_many_rollbacks_are_exit_5(tmp_path: Path, tiny_bert_dir: Path, one_bad_row: Path) -> None:
    asked = command(tiny_bert_dir, one_bad_row, "--set", "train.max_rollbacks=1")
    child = start(*asked, cwd=tmp_path, before=lambda: poisoned("[MASK]"))
    assert child.wait() == 5, child.said()
    assert "after 1 rollbacks" in child.said()
    assert "hint:" in child.said()


def spiky(step: int) -> None:
    """The gradient of one step is a million times too large."""
    from ftcli.tasks.text_classification import TextClassification

    losses = TextClassification.losses
    calls = 0

    def spike(self: Any, outputs: Any, batch: Any) -> Any:
        nonlocal calls
        found = losses(self, outputs, batch)
        calls += outputs.requires_grad
        return {"loss": found["loss"] * 1e6} if outputs.requires_grad and calls == step else found

    TextClassification.losses = spike  # type: ignore[method-assign]


def test_a_gradient_spike_is_passed_over_where_asked(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "--set", "train.spike=100")
    child = start(*asked, cwd=tmp_path, before=lambda: spiky(25))
    assert child.wait() == 0, child.said()
    assert [(e["event"], e["step"]) for e in events(tmp_path / "run")] == [("rollback", 25)]


def no_checkpoint_after(step: int) -> None:
    """Writing later checkpoints fails as on a full disk, after half of their files are there."""
    from ftcli.engine import checkpoint

    save = checkpoint.save_file

    def full(tensors: Any, path: Path) -> None:
        if "optimizer" in path.name and int(path.parent.name.split("-")[1].split(".")[0]) > step:
            raise OSError(28, os.strerror(28), str(path))
        save(tensors, path)

    checkpoint.save_file = full


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The run says so and goes on trying; with room again it is gone on with from what there is."""
    asked = command(tiny_bert_dir, reviews_dir, "--set", "checkpoint.every=10")
    child = start(*asked, cwd=tmp_path, before=lambda: no_checkpoint_after(10))
    assert child.wait() == 2, child.said()
    assert child.said().count("a checkpoint could not be written (No space left on device") >= 2
    assert "cannot write to" in child.said()
    assert (tmp_path / "run" / "checkpoints" / "last").resolve().name == "step-00000010"
    assert {e["event"] for e in events(tmp_path / "run")} == {"checkpoint_failed"}
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from step-00000010" in resumed.stderr


def test_a_limit_on_file_sizes_is_told(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    child = start(*command(tiny_bert_dir, reviews_dir), cwd=tmp_path, before=limit)
    assert child.wait() == 2, child.said()
    assert "File too large" in child.said()


def test_too_little_room_is_known_before(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    done = run_cli(*command(tiny_bert_dir, reviews_dir), cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert "2 checkpoints and the model take" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_data_file_that_vanished(tmp_path: Path, tiny_bert_dir: Path, one_bad_row: Path) -> None:
    asked = command(tiny_bert_dir, one_bad_row)
    assert run_cli(*asked, "--max-steps", "2", cwd=tmp_path).code == 0
    (one_bad_row / "train.jsonl").unlink()
    gone = run_cli(*asked, "--max-steps", "4", "--resume", cwd=tmp_path)
    assert gone.code == 3, gone.stderr
    assert "train" in gone.stderr
    assert (tmp_path / "run" / "checkpoints" / "last" / "state.json").is_file()
