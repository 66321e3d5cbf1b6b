"""Batches made ahead are the batches made in time; and no step waits for the device."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ftcli.engine import ahead
from ftcli.engine.ahead import Ahead
from ftcli.engine.loop import Loop
from ftcli.engine.watch import Watch
from ftcli.recipe.schema import TrainRecipe
from ftcli.runs.journal import Journal
from ftcli.tasks.text_classification import TextClassification
from tests.engine.test_loop import make_examples, make_loop, make_task
from tests.forked import start
from tests.runs.test_faults import command, events, spiky
from tests.runs.test_finetune import records
from tests.tiny import run_cli

CPU = torch.device("cpu")


def on_the_cpu_too() -> None:
    ahead.ON = {"cpu", "cuda"}


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "ON", {"cpu"})


def test_only_what_is_needed_is_taken(forced: None) -> None:
    """Other rows or another size than those begun with: made again, in the thread that asks."""
    made: list[tuple[list[int], str]] = []

    def collate(rows: np.ndarray) -> dict[str, Any]:
        made.append((rows.tolist(), threading.current_thread().name))
        return {"rows": rows.tolist()}

    batches = Ahead(collate, CPU, pin=False)
    here = threading.current_thread().name
    rows, other = np.arange(5), np.arange(5, 9)
    assert batches.take(rows, 2) == [{"rows": [0, 1]}, {"rows": [2, 3]}, {"rows": [4]}]
    assert {name for _, name in made} == {here}
    made.clear()
    batches.start(rows, 5)
    assert batches.take(rows, 5) == [{"rows": [0, 1, 2, 3, 4]}]
    assert [name.startswith("batches") for _, name in made] == [True]
    batches.start(rows, 5)
    assert batches.take(rows, 3) == [{"rows": [0, 1, 2]}, {"rows": [3, 4]}]
    batches.start(rows, 5)
    assert batches.take(other, 4) == [{"rows": [5, 6, 7, 8]}]
    assert batches.take(rows, 5) == [{"rows": [0, 1, 2, 3, 4]}], "what was passed over is not kept"


def test_a_fault_in_the_thread_is_the_loop_s(forced: None) -> None:
    def collate(rows: np.ndarray) -> dict[str, Any]:
        raise ValueError(f"bad row {rows[0]}")

    batches = Ahead(collate, CPU, pin=False)
    batches.start(np.arange(3), 3)
    with pytest.raises(ValueError, match="bad row 0"):
        batches.take(np.arange(3), 3)


def test_the_run_is_the_same(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Dropout, hidden tokens, accumulation and a rollback: byte for byte what it is without."""
    more = (
        "--set", "regularize.token_dropout=0.2", "--set", "train.gradient_accumulation=2", "--batch-size", "4",
        "--set", "train.spike=100",
    )  # fmt: skip
    threads = tmp_path / "threads"
    for name in ("in time", "ahead"):
        folder = tmp_path / name
        folder.mkdir()

        def before(forced: bool = name == "ahead") -> None:
            spiky(51)
            if not forced:
                return
            on_the_cpu_too()
            collate = TextClassification.collate

            def watched(self: Any, examples: Any) -> Any:
                with threads.open("a", encoding="utf-8") as file:
                    file.write(threading.current_thread().name + "\n")
                return collate(self, examples)

            TextClassification.collate = watched  # type: ignore[method-assign]

        child = start(*command(tiny_bert_dir, reviews_dir, *more), cwd=folder, before=before)
        assert child.wait() == 0, child.said()
    plain, forced = tmp_path / "in time" / "run", tmp_path / "ahead" / "run"
    assert threads.read_text(encoding="utf-8").count("batches") > 20
    assert [event["event"] for event in events(forced)] == ["rollback"]
    assert records(plain) == records(forced)
    for name in ("events.jsonl", "model/model.safetensors", "checkpoints/last/random.safetensors"):
        assert (plain / name).read_bytes() == (forced / name).read_bytes(), name


def test_a_resumed_run_is_the_same(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, forced: None) -> None:
    """Stopped with batches made ahead, gone on with in a process that makes none: checkpoints know nothing of them."""
    recipe = tmp_path / "run" / "recipe.yaml"
    assert run_cli(*command(tiny_bert_dir, reviews_dir, "--max-steps", "1"), cwd=tmp_path).code == 0
    done = run_cli("verify-resume", str(recipe), "--steps", "4", cwd=tmp_path)
    assert done.code == 0, done.stderr


class Reads(TorchDispatchMode):  # type: ignore[misc]
    """Where the host reads a number out of a tensor: on a device it would wait there."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            frames = [f for f in traceback.extract_stack() if "/ftcli/" in f.filename or "/transformers/" in f.filename]
            self.places.add(f"{Path(frames[-1].filename).name}:{frames[-1].name}")
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(forced: None) -> None:
    """Between logged steps nothing of ours reads a tensor of the device: `count_tokens` is the host's own mask."""
    task = make_task()
    loop: Loop = make_loop(task, make_examples(task, [9] * 24, 0), TrainRecipe(epochs=2, batch_size=4))

    class Nowhere:
        def log(self, record: Any) -> None: ...
        def truncate_after(self, step: int) -> None: ...
        def close(self) -> None: ...

    watch, journal = Watch(CPU, 10.0, check_norm=True), Journal(Nowhere(), CPU, 1000)
    with Reads() as reads:
        for progress in loop:
            watch.take(progress, loop.norm)
            if progress.step % loop.total_steps and not progress.epoch_ended:
                assert journal.step(progress) is None
    ours = {place for place in reads.places if not place.startswith("masking_utils")}
    # What lies on the host may be looked at: the batch before it is sent, and gradients of a model on the CPU.
    assert ours <= {"device.py:count_tokens", "optim.py:clip_gradients"}
