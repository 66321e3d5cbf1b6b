"""Checkpoints on disk: one written anew leaves no moment without a whole one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from ftcli.engine import checkpoint
from ftcli.engine.checkpoint import Snapshot, discard_after, load_newest, verify, write_snapshot


def snapshot(step: int, value: int) -> Snapshot:
    tensors = {name: {"x": torch.full((3,), float(value))} for name in (checkpoint.MODEL, checkpoint.OPTIMIZER)}
    return Snapshot(step, {**tensors, checkpoint.RANDOM: {"y": torch.zeros(1)}}, {"value": value}, None)


def value(path: Path) -> int:
    return int(json.loads((path / checkpoint.STATE).read_text(encoding="utf-8"))["value"])


class Died(BaseException):
    """The process ended here."""


CALLS = ((os, "rename"), (os, "replace"), (os, "symlink"), (os, "link"), (shutil, "rmtree"), (os, "mkdir"))


def dies_at(number: int, patch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Nothing that changes a folder happens any more from the `number`-th such call on; tells whether that came."""
    calls = 0

    def wrapped(true: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= number:
                raise Died
            return true(*arguments, **named)

        return call

    for module, name in CALLS:
        patch.setattr(module, name, wrapped(getattr(module, name)))
    return lambda: calls >= number


@pytest.mark.parametrize("keep", [1, 2])
def test_a_step_written_anew_has_a_whole_checkpoint_at_every_moment(tmp_path: Path, keep: int) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        for step in (1, 2):
            write_snapshot(folder, snapshot(step, step), keep)
        with pytest.MonkeyPatch.context() as patch:
            died = dies_at(number, patch)
            with suppress(Died):
                write_snapshot(folder, snapshot(2, 20), keep)
            ended = not died()
        verify(folder / "last")
        assert value(folder / "last") in {2, 20}
        found, problems = load_newest(folder, lambda path: None)
        assert found is not None
        assert value(found) in {2, 20}
        assert not problems
        discard_after(folder, 2)
        verify(folder / "last")
        assert [p.name for p in folder.glob(".*")] == []
        assert [p.name for p in folder.glob("step-*2*")] == ["step-00000002"]
        write_snapshot(folder, snapshot(2, 30), keep)
        assert value(folder / "last") == 30
        if ended:
            break
    assert number > 10, "the last round went through to its end"
    assert ended


def test_a_write_that_failed_half_way_is_made_good_by_the_next(tmp_path: Path) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_snapshot(folder, snapshot(2, 2), 2)
        with pytest.MonkeyPatch.context() as patch:
            died = dies_at(number, patch)
            with suppress(Died):
                write_snapshot(folder, snapshot(2, 20), 2)
            ended = not died()
        write_snapshot(folder, snapshot(2, 30), 2)
        assert value(folder / "last") == 30
        assert sorted(p.name for p in folder.iterdir()) == ["last", "step-00000002"]
        if ended:
            break
    assert ended
