"""The same command with --resume: it finds its run, whatever became of it, and goes on or says there is nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.forked import start
from tests.tiny import run_cli

FIRST = "runs/finetune-tiny-bert-reviews"


def command(model: Path, data: Path, *more: str) -> tuple[str, ...]:
    return ("finetune", "--model", str(model), "--data", str(data), "--batch-size", "8", "--max-steps", "8",
            "--set", "checkpoint.every=2", *more)  # fmt: skip


def stop_at(step: int, number: int = signal.SIGTERM) -> None:
    """A signal as the cluster sends it, in the step after `step`."""
    from ftcli.engine.loop import Loop

    advance = Loop._advance

    def signalled(self: Any, *arguments: Any) -> Any:
        if self.step == step:
            os.kill(os.getpid(), number)
        return advance(self, *arguments)

    Loop._advance = signalled  # type: ignore[method-assign]


def test_the_run_is_found_by_its_command(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Of several runs of one model and data the one begun with these settings is gone on with."""
    asked = {seed: command(tiny_bert_dir, reviews_dir, "--seed", str(seed)) for seed in (1, 2, 3)}
    for seed in (1, 2):
        stopped = start(*asked[seed], cwd=tmp_path, before=lambda: stop_at(4))
        assert stopped.wait() == 75, stopped.said()
    assert run_cli(*asked[3], cwd=tmp_path).code == 0
    shutil.rmtree(tmp_path / f"{FIRST}-2")
    first = run_cli(*asked[1], "--resume", cwd=tmp_path)
    assert first.code == 0, first.stderr
    assert f"run folder {FIRST}\n" in first.stderr
    assert "resumed from step-00000005" in first.stderr
    third = run_cli(*asked[3], "--resume", "--json", cwd=tmp_path)
    assert third.code == 0, third.stderr
    assert f"{FIRST}-3 is finished already" in third.stderr
    assert (
        json.loads(third.stdout)["metrics"] == json.loads((tmp_path / f"{FIRST}-3/report.json").read_text())["metrics"]
    )
    lost = run_cli(*asked[2], "--resume", cwd=tmp_path)
    assert lost.code == 2, "the newest run is another one"
    assert "seed: 3 before, 2 now" in lost.stderr


def test_a_finished_run_that_was_asked_for_otherwise(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run", symlinks=True)
    other = run_cli("finetune", "--out", "run", "--resume", "--lr", "1e-3", cwd=tmp_path)
    assert other.code == 2, other.stderr
    assert "optimizer.lr: 0.002 before, 0.001 now" in other.stderr
    less = run_cli("finetune", "--out", "run", "--resume", "--epochs", "1", cwd=tmp_path)
    assert less.code == 2, less.stderr
    assert "train.epochs: 3.0 before, 1.0 now" in less.stderr
    assert (tmp_path / "run" / "report.json").is_file()


def test_killed_while_it_trains_for_longer(trained_run: Path, tmp_path: Path) -> None:
    """A finished run that goes on is not finished until it ends again."""
    shutil.copytree(trained_run, tmp_path / "run", symlinks=True)
    asked = ("finetune", "--out", "run", "--resume", "--epochs", "5")
    killed = start(*asked, cwd=tmp_path, before=lambda: stop_at(40, signal.SIGKILL))
    assert killed.wait() == -signal.SIGKILL, killed.said()
    again = run_cli(*asked, cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert "resumed from" in again.stderr
    assert "train 60/60 steps" in again.stderr
    assert run_cli(*asked, cwd=tmp_path).stderr.count("finished already") == 1


def test_nothing_saved_yet(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    started = run_cli(*command(tiny_bert_dir, reviews_dir, "--resume"), cwd=tmp_path)
    assert started.code == 0, started.stderr
    assert "starting at step 0" in started.stderr


def test_another_model_is_refused(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    from tests.tiny import tiny_model

    other = tiny_model("bert", tmp_path / "other", seed=1)
    asked = command(tiny_bert_dir, reviews_dir, "--out", "run")
    assert start(*asked, cwd=tmp_path, before=lambda: stop_at(3)).wait() == 75
    refused = run_cli(*asked, "--model", str(other), "--resume", cwd=tmp_path)
    assert refused.code == 2, refused.stderr
    assert "model: content" in refused.stderr


def test_a_recipe_with_a_token_is_resumed(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """What stands in its place in recipe.yaml is no difference, and can be read."""
    token = "hf_abcdefghijklmnop123456"
    asked = command(tiny_bert_dir, reviews_dir, "--out", "run", "--set", f"model.revision={token}")
    assert start(*asked, cwd=tmp_path, before=lambda: stop_at(3)).wait() == 75
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from" in resumed.stderr
    assert token not in resumed.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"fingerprints": []}', '{"fingerprints": {"data": 3}}', "[" * 10_000])
def test_facts_that_cannot_be_read(content: str, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "--out", "run")
    assert start(*asked, cwd=tmp_path, before=lambda: stop_at(3)).wait() == 75
    (tmp_path / "run" / "environment.json").write_text(content, encoding="utf-8")
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "environment.json cannot be read" in resumed.stderr


def test_another_version_is_told(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "--out", "run")
    assert start(*asked, cwd=tmp_path, before=lambda: stop_at(3)).wait() == 75
    file = tmp_path / "run" / "environment.json"
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts["versions"]["torch"] = "1.0"
    facts["hardware"]["threads"] = 96
    file.write_text(json.dumps(facts), encoding="utf-8")
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "last bits may differ" in resumed.stderr
    assert "torch 1.0 before" in resumed.stderr
    assert "threads 96 before" in resumed.stderr


def test_many_at_once_get_a_folder_each(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """As an array of jobs starts them: without --out none is refused and none shares a folder."""
    children = [start(*command(tiny_bert_dir, reviews_dir, "--seed", str(seed)), cwd=tmp_path) for seed in range(4)]
    assert [child.wait() for child in children] == [0] * 4, [child.said() for child in children]
    assert len(list((tmp_path / "runs").glob("*/report.json"))) == 4


def without_locks() -> None:
    """A file system that has none."""
    import errno
    import fcntl

    def none(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = none


def test_a_file_system_without_locks(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """The name that the first process left serves instead: alive it is in the way, dead it is not."""
    import socket

    asked = command(tiny_bert_dir, reviews_dir, "--out", "run", "--resume")
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    second = start(*asked, cwd=tmp_path, before=without_locks)
    assert second.wait() == 2, second.said()
    assert f"in use by process {os.getpid()} on {socket.gethostname()}" in second.said()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": second.pid}), encoding="utf-8")
    third = start(*asked, cwd=tmp_path, before=without_locks)
    assert third.wait() == 0, third.said()
    assert f"process {second.pid} on {socket.gethostname()} left this run without finishing" in third.said()


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"pid": "x"}', b'{"host": 1, "pid": 1e400}', b"[" * 4000])
def test_a_lock_that_names_nobody(content: bytes, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_bytes(content)
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "--out", "run", "--max-steps", "1"), cwd=tmp_path)
    assert done.code == 0, done.stderr
