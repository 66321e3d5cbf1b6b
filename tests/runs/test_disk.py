"""A disk that is really full, and folders that really cannot be written."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import Child, start
from tests.runs.test_faults import command, events
from tests.tiny import run_cli

SIZE = 4 * 2**20
LINES = 2**16
"""Room for some lines of metrics and for no checkpoint."""
LONG = ("--epochs", "60", "--set", "checkpoint.every=5", "--set", "eval.every=1000")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    try:
        done = subprocess.run(options, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def until(condition: object, child: Child) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert child.poll() is None, child.said()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fill(place: Path, leave: int = 0) -> Path:
    """Take every byte there is, but for `leave`."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as handle:
        for size in (65536, 1):
            try:
                while True:
                    handle.write(b"x" * size)
            except OSError:
                continue
        handle.truncate(filler.stat().st_size - leave)
    return filler


def newest(run: Path) -> str:
    return (run / "checkpoints" / "last").resolve().name


def pause(child: Child, run: Path) -> None:
    """Stop the child while it writes no checkpoint: what it would clear away of one under way would be room again."""
    until(lambda: newest(run) > "step-00000010", child)
    for _ in range(1000):
        child.stop()
        held = run / "checkpoints"
        if not list(held.glob(".*.partial")) and len(list(held.glob("step-*"))) <= 2:
            return
        child.go_on()
        time.sleep(0.003)
    raise AssertionError("it never stood between two checkpoints")


@pytest.mark.parametrize("leave", [0, LINES])
def test_full_for_a_while(leave: int, small_disk: Path, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """No room, and room again: a checkpoint that could not be written costs nothing but a word."""
    child = start(*command(tiny_bert_dir, reviews_dir, *LONG), cwd=small_disk, log=tmp_path / "said")
    run = small_disk / "run"
    pause(child, run)
    filler = fill(small_disk, leave=leave)
    before = newest(run)
    child.go_on()
    ended = time.monotonic() + 1.0
    until(lambda: time.monotonic() > ended or child.poll() is not None, child)
    assert newest(run) <= f"step-{int(before[5:]) + 5:08d}", "what was under way may have had its room"
    filler.unlink()
    assert child.wait() == 0, child.said()
    assert "a checkpoint could not be written (No space left on device" in child.said()
    assert {event["event"] for event in events(run)} == {"checkpoint_failed"}
    steps = [r["step"] for r in map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())]
    assert [step for step in range(2, 721, 2) if step not in steps] == [], "lines that had no room were written later"
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]["accuracy"] > 0.5


def test_full_to_the_end(small_disk: Path, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The run ends with a word and is gone on with once there is room."""
    from ftcli.engine.checkpoint import verify

    asked = command(tiny_bert_dir, reviews_dir, *LONG)
    child = start(*asked, cwd=small_disk, log=tmp_path / "said")
    run = small_disk / "run"
    pause(child, run)
    filler = fill(small_disk)
    child.go_on()
    assert child.wait() == 2, child.said()
    assert "No space left on device" in child.said()
    assert "hint: free some space" in child.said()
    assert "Traceback" not in child.said()
    verify(run / "checkpoints" / "last")
    filler.unlink()
    resumed = run_cli(*asked, "--resume", cwd=small_disk)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from step-" in resumed.stderr


def as_anybody() -> None:
    """Without root's right to write anywhere."""
    if os.geteuid():
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capset(header, nothing) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("place", ["run", "runs", "checkpoints"])
def test_a_read_only_folder(place: str, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir)
    work = tmp_path / "work"
    work.mkdir()
    if place == "runs":
        asked = tuple(argument for argument in asked if argument not in ("--out", "run"))
    if place == "checkpoints":
        (work / "run").mkdir()
    folder = work / {"run": "run", "runs": "runs", "checkpoints": "run/checkpoints"}[place]
    folder.mkdir()
    folder.chmod(0o500)
    more = ("--resume",) if place == "checkpoints" else ()
    child = start(*asked, *more, cwd=work, before=as_anybody, log=tmp_path / "said")
    assert child.wait() == 2, child.said()
    assert f"cannot write to '{'runs/' if place == 'runs' else 'run'}" in child.said()
    assert "Permission denied" in child.said()
    assert "hint:" in child.said()
    folder.chmod(0o700)


def test_a_dry_run_says_what_it_needs(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk it takes, and exit 2 where there is less."""
    import shutil

    asked = (*command(tiny_bert_dir, reviews_dir), "--dry-run")
    enough = run_cli(*asked, cwd=tmp_path)
    assert enough.code == 0, enough.stderr
    assert "estimated disk bytes: " in enough.stderr
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    short = run_cli(*asked, cwd=tmp_path)
    assert short.code == 2, short.stderr
    assert "2 checkpoints and the model take" in short.stderr
    assert not os.listdir(tmp_path)
