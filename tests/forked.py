"""`ftcli` in a forked process: one that can be killed, without the seconds its imports take."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ftcli.metrics import METRICS
from tests.tiny import run_cli


@dataclass
class Child:
    """A running command; its output goes to `log`."""

    pid: int
    log: Path
    _code: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Halt it between two of its instructions."""
        self.kill(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it go on."""
        self.kill(signal.SIGCONT)

    def poll(self) -> int | None:
        """The exit code (negative: killed by that signal), or None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, seconds: float = 120) -> int:
        """The exit code; a failure after `seconds`."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                stacks = self.stacks()
                self.kill()
                raise AssertionError(f"still running after {seconds} s:\n{self.said()}\n{stacks}")
            time.sleep(0.002)
        return code

    def stacks(self) -> str:
        """Where each of its threads is, while it runs."""
        self.kill(signal.SIGUSR2)
        time.sleep(1)
        return _stacks_of(self.log).read_text(encoding="utf-8")

    def said(self) -> str:
        """stdout and stderr so far (once it ended by itself)."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


def _stacks_of(log: Path) -> Path:
    return log.with_suffix(".stacks")


def start(*arguments: str, cwd: Path, before: Callable[[], None] | None = None, log: Path | None = None) -> Child:
    """Start `ftcli ARGUMENTS`; `before` runs in the child first, to break something there."""
    for name in (
        "ftcli.cli.app",
        "ftcli.runs.finetune",
        "ftcli.runs.verify_resume",
        "ftcli.metrics.report",
        "ftcli.reports.json_report",
    ):
        import_module(name)  # once, here, and not in every child
    METRICS.part("accuracy")()
    log = log or cwd / f"child-{time.monotonic_ns()}.log"
    pid = os.fork()
    if pid:
        return Child(pid, log)
    code = 1
    try:
        os.setpgid(0, 0)
        faulthandler.register(signal.SIGUSR2, file=_stacks_of(log).open("w", encoding="utf-8"))
        if before is not None:
            before()
        done = run_cli(*arguments, cwd=cwd)
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        code = done.code
    except KeyboardInterrupt:  # before there was an ftcli to hear it, or after
        code = 130
    except BaseException:
        log.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)
