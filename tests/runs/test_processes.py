"""Several processes under one parent: what is said and by whom, exit codes, signals, starting anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftcli.cli.processes import worker_line
from ftcli.endings import Ending, verdict
from ftcli.errors import FtcliError
from tests.tiny import run_cli, run_cli_process

WORKER = str(Path(__file__).with_name("small_worker.py"))


@contextmanager
def stdin(text: str) -> Iterator[None]:
    """What the workers inherit as theirs."""
    before, (read, write) = os.dup(0), os.pipe()
    os.write(write, text.encode())
    os.close(write)
    os.dup2(read, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(read)


class Run:
    """Two workers that do `what`."""

    def __init__(self, what: str, *, restarts: int = 0, count: int = 2) -> None:
        from ftcli.runs.processes import run

        self.notes: list[str] = []
        began = time.monotonic()
        self.failed: list[Ending] = run(
            sys.executable, lambda: [WORKER, what, "a $HOME ${local_rank}"], count, restarts=restarts,
            note=self.notes.append,
        )  # fmt: skip
        self.seconds = time.monotonic() - began

    @property
    def error(self) -> FtcliError:
        found = verdict(self.failed, 2, "begin again")
        assert found is not None
        return found


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_all_is_well(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 alone speaks and reads; what is on the command line arrives as it is."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("ftcli.runs.processes.usable_cores", lambda: 6)
    with stdin("a record\n"):
        assert Run("read").failed == []
    out, err = capfd.readouterr()
    assert out == "rank 0 says read on 3\nread 'a record\\n' start 0 ['a $HOME ${local_rank}']\n"
    assert err == "rank 0 notes\n"


def test_what_all_refuse_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Though rank 1 came to it first; and nothing is started anew for it."""
    run = Run("refuse", restarts=3)
    assert (run.error.exit_code, run.error.message, run.error.hint) == (2, "no such thing", "another thing")
    assert run.notes == []
    assert "no such thing" not in capfd.readouterr().err, "it is for the parent to say"


def test_what_one_refuses_names_it() -> None:
    run = Run("data-of-one")
    assert run.error.exit_code == 3
    assert run.error.message.startswith("row 7 is bad (said by process 1 of 2 on ")
    assert run.seconds < 20


def test_a_bug_of_one(tmp_path: Path) -> None:
    run = Run("bug-of-one")
    assert run.error.exit_code == 1
    assert "a bug in ftcli: ValueError" in run.error.message
    assert "the traceback is in ftcli-error-rank1.log" in run.error.message
    kept = (tmp_path / "ftcli-error-rank1.log").read_text()
    assert "Traceback" in kept
    assert "hf_abcdefgh" not in kept + run.error.message


def test_killed(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run("killed")
    assert run.error.exit_code == 7
    assert "process 1 of 2 on " in run.error.message
    assert "was killed by SIGKILL" in run.error.message
    assert run.error.hint == "begin again"
    assert "Traceback" not in capfd.readouterr().err


def test_killed_and_started_anew(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run("killed-once", restarts=2)
    assert run.failed == []
    assert len(run.notes) == 1
    assert "process 1 of 2 was killed by SIGKILL" in run.notes[0]
    assert "start 1 of 2 anew" in run.notes[0]
    assert "start 1 ['a $HOME" in capfd.readouterr().out


def test_started_anew_in_vain() -> None:
    run = Run("lost", restarts=1, count=1)
    assert run.error.exit_code == 7
    assert (run.error.message, run.error.hint) == ("another process is gone", "--resume")
    assert len(run.notes) == 1


def test_the_reader_left() -> None:
    """As `| head` does: the others are stopped, and nothing is wrong."""
    run = Run("broken")
    assert verdict(run.failed, 2, "") is None
    assert run.seconds < 20


def test_signals_go_to_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SIGTERM to the parent stops every worker once, and nothing is started anew."""
    before = signal.getsignal(signal.SIGTERM)

    def ask() -> None:
        while not (tmp_path / "ready").exists() or (tmp_path / "ready").stat().st_size < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    run = Run("stopped", restarts=3)
    asking.join()
    assert (run.error.exit_code, run.error.message) == (75, "stopped at step 3")
    assert run.notes == []
    assert sorted(own.code for own in run.failed) == [75, 75]
    assert signal.getsignal(signal.SIGTERM) == before, "the parent's own handlers are back"


def test_through_the_command_line(tmp_path: Path) -> None:
    """The parent says what its workers would have, with their exit code."""
    done = run_cli_process("finetune", "--nproc-per-node", "2", "--set", "no.such=1", "--max-restarts=1", cwd=tmp_path)
    alone = run_cli("finetune", "--set", "no.such=1", cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (2, "", alone.stderr)


def test_the_line_of_a_worker() -> None:
    """Without the two flags, and with what is left of a budget."""
    line = ["finetune", "--nproc-per-node", "4", "my recipe.yaml", "--max-restarts=3", "--budget", "1h", "-q"]
    assert worker_line(line) == ["finetune", "my recipe.yaml", "--budget", "1h", "-q"]
    assert worker_line(line, 90.25) == ["finetune", "my recipe.yaml", "--budget=90.2s", "-q"]
    assert worker_line(line, -5.0) == ["finetune", "my recipe.yaml", "--budget=1.0s", "-q"]
    assert worker_line(["predict", "--", "--nproc-per-node"]) == ["predict", "--", "--nproc-per-node"]


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", "99999"])
def test_numbers_of_processes(number: str) -> None:
    done = run_cli("finetune", "--nproc-per-node", number)
    assert done.code == 2
    assert f"--nproc-per-node is '{number}'; expected a number from 1 on, or auto" in done.stderr


INSIDE = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_inside_of_another_launcher() -> None:
    for more in (("--nproc-per-node", "2"), ("--max-restarts", "1")):
        done = run_cli("finetune", *more, env=INSIDE)
        assert done.code == 2
        assert "this one is process 0 of 2, started by RANK and WORLD_SIZE in the environment" in done.stderr
    done = run_cli("compare", "a", "b", env=INSIDE)
    assert done.code == 2
    assert "ftcli compare runs in one process, and this is process 0 of 2" in done.stderr
    done = run_cli("finetune", env={"RANK": "1"})
    assert done.code == 2
    assert "RANK is set in the environment, WORLD_SIZE is not" in done.stderr


def as_rank(rank: int, local_rank: int, what: str) -> subprocess.CompletedProcess[str]:
    """The worker in miniature, as Kubernetes or srun would start it."""
    environ = {**os.environ, **INSIDE, "RANK": str(rank), "LOCAL_RANK": str(local_rank), "LOCAL_WORLD_SIZE": "2",
               "WORLD_SIZE": "4"}  # fmt: skip
    return subprocess.run([sys.executable, WORKER, what], capture_output=True, text=True, env=environ, check=False)


def test_who_speaks_under_any_launcher() -> None:
    """Rank 0; that others were lost is said on every host."""
    first, second_host, silent, refused = (
        as_rank(0, 0, "lost"), as_rank(2, 0, "lost"), as_rank(3, 1, "lost"), as_rank(1, 1, "refuse"),
    )  # fmt: skip
    told = "error: another process is gone\nhint: --resume\n"
    assert (first.returncode, first.stdout, first.stderr) == (7, "rank 0 says lost on 1\n", f"rank 0 notes\n{told}")
    assert (second_host.returncode, second_host.stdout, second_host.stderr) == (7, "", told)
    assert (silent.returncode, silent.stdout, silent.stderr) == (7, "", "")
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", "")


def test_the_commands_that_have_the_flags_are_those_that_run_together() -> None:
    from ftcli.cli.app import SEVERAL

    commands = [*SEVERAL, "compare", "curve", "verify-resume"]
    assert [name for name in commands if "--nproc-per-node" in run_cli(name, "--help").stdout] == list(SEVERAL)
    assert "--max-restarts" not in run_cli("predict", "--help").stdout, "a stream is not read twice"
