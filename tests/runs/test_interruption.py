"""Signals at the moments that matter, sent by the process to itself there; and clocks that jump."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forked import start
from tests.runs.test_resume import assert_equal, command, wait_for, whole
from tests.tiny import run_cli

__all__ = ["whole"]


def sends(number: int, module: str, name: str, call: int = 1) -> Callable[[], None]:
    """Sends the process signal `number` where it calls `module`'s `name` for the `call`-th time."""

    def patch() -> None:
        from importlib import import_module

        path, _, owner = module.partition(":")
        place = import_module(path)
        for part in filter(None, owner.split(".")):
            place = getattr(place, part)
        true, calls = getattr(place, name), 0

        def signalled(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), number)
                if threading.current_thread() is not threading.main_thread():
                    time.sleep(0.05)  # the main thread is told while this goes on
            return true(*arguments, **named)

        setattr(place, name, signalled)

    return patch


PLACES = {
    "loading": ("ftcli.runs.parts", "load_data", 1),
    "tokenizing": ("ftcli.runs.encode", "encode_rows", 1),
    "first checkpoint": ("ftcli.engine.checkpoint", "save_file", 1),
    "first step": ("ftcli.engine.loop:Loop", "_forward_backward", 1),
    "a step": ("ftcli.engine.loop:Loop", "_forward_backward", 12),
    "evaluation": ("ftcli.runs.results", "run_model", 2),
    "the last validation": ("ftcli.runs.results", "run_model", 14),
    "writing a checkpoint": ("ftcli.engine.checkpoint", "save_file", 11),
    "renaming a checkpoint": ("ftcli.engine.checkpoint", "_point_last_at", 4),
    "the closing score": ("ftcli.runs.finetune", "score", 1),
    "writing the model": ("ftcli.runs.results", "model_card", 1),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_asked_to_stop(
    number: int, place: str, whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "run")
    child = start(*asked, cwd=tmp_path, before=sends(number, *PLACES[place]))
    code = child.wait(20)
    if place == "writing the model":
        assert code == 0, "what takes no time is finished"
    else:
        assert code == (130 if number == signal.SIGINT else 75), child.said()
        assert "hint: go on with the same command and --resume" in child.said()
        resumed = run_cli(*asked, "--resume", cwd=tmp_path)
        assert resumed.code == 0, resumed.stderr
    assert_equal(tmp_path / "run", whole[0])


KILLED_IN = {
    "the model's file": ("ftcli.engine.checkpoint", "save_file", 10),
    "the optimizer's file": ("ftcli.engine.checkpoint", "save_file", 11),
    "its checksums": ("ftcli.engine.checkpoint", "_hash", 20),
    "making it last": ("ftcli.engine.checkpoint", "sync", 30),
    "naming it": ("ftcli.engine.checkpoint", "_point_last_at", 4),
    "dropping an old one": ("ftcli.engine.checkpoint:shutil", "rmtree", 6),
    "keeping the best": ("ftcli.runs.best", "save_file", 2),
    "the closing score": ("ftcli.runs.finetune", "score", 1),
    "writing the model": ("ftcli.runs.results", "model_card", 1),
    "writing the reports": ("ftcli.runs.results", "write_whole", 2),
}


@pytest.mark.parametrize("place", KILLED_IN)
def test_killed_in(
    place: str, whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "run")
    child = start(*asked, cwd=tmp_path, before=sends(signal.SIGKILL, *KILLED_IN[place]))
    assert child.wait(20) == -signal.SIGKILL, child.said()
    last = tmp_path / "run" / "checkpoints" / "last"
    from ftcli.engine.checkpoint import verify

    verify(last)
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from" in resumed.stderr
    assert "damaged" not in resumed.stderr
    assert_equal(tmp_path / "run", whole[0])


def slow_load() -> None:
    """Reading the data takes as long as that of millions of rows."""
    from ftcli.runs import parts

    def slow(*arguments: Any, **named: Any) -> Any:
        (Path.cwd() / "loading").write_text("now")
        for _ in range(600):
            time.sleep(0.1)

    parts.load_data = slow


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_loading_for_long_is_left_at_once(
    number: int, code: int, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    child = start(*command(tiny_bert_dir, reviews_dir, "run"), cwd=tmp_path, before=slow_load)
    wait_for(tmp_path / "loading", child)
    child.kill(number)
    assert child.wait(2) == code, child.said()
    assert not (tmp_path / "run").exists(), "there was nothing to keep"


def test_gone_back_and_killed_at_once(
    whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    """A damaged checkpoint is passed over: `last` names a whole one at once, and not only when the next is written."""
    from ftcli.engine.checkpoint import verify

    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "report.json").unlink()
    last = tmp_path / "run" / "checkpoints" / "last"
    (last / "state.json").unlink()
    asked = command(tiny_bert_dir, reviews_dir, "run", "--resume")
    place = ("ftcli.engine.loop:Loop", "_forward_backward", 1)
    child = start(*asked, cwd=tmp_path, before=sends(signal.SIGKILL, *place))
    assert child.wait(20) == -signal.SIGKILL, child.said()
    verify(last)
    resumed = run_cli(*asked, cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert_equal(tmp_path / "run", whole[0])


def slow_steps() -> None:
    """The second step takes as long as the machine may."""
    from ftcli.engine.loop import Loop

    forward, steps = Loop._forward_backward, 0

    def slow(self: Any, *given: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            (Path.cwd() / "in-step").write_text("now")
            for _ in range(600):
                time.sleep(0.1)
        return forward(self, *given)

    Loop._forward_backward = slow  # type: ignore[method-assign]


def test_a_second_ctrl_c_leaves_at_once(
    whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "run")
    child = start(*asked, cwd=tmp_path, before=slow_steps)
    wait_for(tmp_path / "in-step", child)
    child.kill(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None, "the first waits for the step to end"
    child.kill(signal.SIGINT)
    assert child.wait(1) == 130
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert_equal(tmp_path / "run", whole[0])


def jumping_clock() -> None:
    """Each look at the wall clock finds it a day and a half further, forth and back."""
    true, looks = time.time, 0

    def jumped() -> float:
        nonlocal looks
        looks += 1
        return true() + (130_000 if looks % 2 else -130_000)

    time.time = jumped


def test_a_clock_that_jumps(whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Deadlines, checkpoints by time and rates go by a clock that does not."""
    asked = (*command(tiny_bert_dir, reviews_dir, "run"), "--budget", "1h")
    child = start(*asked, cwd=tmp_path, before=jumping_clock)
    assert child.wait() == 0, child.said()
    assert_equal(tmp_path / "run", whole[0])
