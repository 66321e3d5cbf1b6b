"""The run folder: where it goes, what is in it, and that an earlier run is never written over."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcli.engine import world
from ftcli.errors import FULL, UsageError
from ftcli.places import started_anew
from ftcli.text import json_line, visible, without_secrets

MARKS = (
    "recipe.yaml", "metrics.jsonl", "report.json", "compare.json", "checkpoints", "model", "stages", "curve.json",
    "cells",
)  # fmt: skip


LOCK = ".lock"
_LOGS = r"log(?:-rank\d+)?\.txt"
STAGES = "stages"
"""Folder, in that of a chain, of the runs that are its stages."""


class _Discreet(logging.Formatter):
    """A log line without access tokens, and without what could drive the terminal it is looked at on."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(without_secrets(super().format(record)), keep="\n\t")


class _Log(logging.FileHandler):
    """log.txt, whose own failures (a full disk) end nothing and are not said: the run says what it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the line is lost."""

    def close(self) -> None:
        """Close the file, whether or not the last lines find room."""
        with suppress(OSError):
            super().close()


def log_name(rank: int = 0) -> str:
    """File of a run folder with the log of a process."""
    return f"log-rank{rank}.txt" if rank else "log.txt"


class RunFolder:
    """Paths inside a run folder and atomic writes into it."""

    def __init__(self, path: Path, *, created: Sequence[Path] = ()) -> None:
        self.path = path
        self._created = created  # by this process, innermost first
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self._handler: logging.Handler | None = None

    @property
    def finished(self) -> bool:
        """True once the run wrote its report."""
        return (self.path / "report.json").is_file()

    def report(self) -> dict[str, Any]:
        """The report of a finished run."""
        return dict(json.loads((self.path / "report.json").read_text(encoding="utf-8")))

    def reopen(self) -> None:
        """The run goes on: from here until it ends again it is not finished."""
        if world.leads():
            (self.path / "report.json").unlink(missing_ok=True)

    def open_log(self, rank: int = 0) -> None:
        """Send the log of ftcli and of the libraries below to log.txt; each further process has one of its own."""
        self._handler = _Log(self.path / log_name(rank), encoding="utf-8")
        self._handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)
        logging.getLogger("ftcli").setLevel(logging.INFO)

    def close_log(self) -> None:
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
            self._handler = None

    @contextmanager
    def locked(self, note: Callable[[str], None]) -> Iterator[None]:
        """No other run may write here meanwhile: UsageError naming the process that does.

        The system drops the lock of a process that died; the name it left is reported to `note`.
        """
        with ExitStack() as held:
            world.led(lambda: held.enter_context(self._locked(note)))
            yield

    @contextmanager
    def _locked(self, note: Callable[[str], None]) -> Iterator[None]:
        path = self.path / LOCK
        handle, taken = _open_lock(path)
        try:
            holder = _holder(os.pread(handle, 4096, 0))
            if taken is False or (taken is None and holder is not None and _lives(*holder)):
                who = f"process {holder[1]} on {holder[0]}" if holder else "another process"
                raise UsageError(
                    f"'{self.path}' is in use by {who}",
                    hint="wait for it, stop it, or choose another --out",
                )
            if holder:
                note(f"process {holder[1]} on {holder[0]} left this run without finishing; going on with it")
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def event(self, step: int, name: str, **facts: Any) -> None:
        """Write down something out of the ordinary, in events.jsonl, unless the disk is full (which is said anyway)."""
        if not world.leads():
            return
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as handle:
                handle.write(json_line({"step": step, "event": name, **facts}) + "\n")
        except OSError as error:
            if error.errno not in FULL:
                raise

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all; of the processes of a run, the first does."""
        if world.leads():
            write_whole(self.path / name, text)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def discard_if_empty(self) -> None:
        """Remove a folder this process made and put nothing but a log into, and the folders made for it."""
        self.close_log()
        there = list(self.path.iterdir()) if self._created and self.path.is_dir() else None
        if there is not None and all(p.name == LOCK or re.fullmatch(_LOGS, p.name) for p in there):
            for path in there:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # another run may have moved in
                for folder in self._created:
                    folder.rmdir()


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, also where the power goes."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(path)


def open_folder(
    out: str | None, command: str, model: str, data: str, *, resumes: Callable[[Path], bool] | None = None
) -> RunFolder:
    """The folder a run writes into, made now so that an unwritable place is known before any work.

    Without `out`: runs/COMMAND-MODEL-DATA, numbered when taken; when resuming, the newest of them that `resumes` says
    was begun as this run, or the newest. Raises UsageError for a place that holds another run or cannot be written.
    """
    resume = resumes is not None
    if out is None:
        stem = f"{command}-{_slug(model)}-{_slug(data)}"
        path = _own_name(Path("runs"), stem, resumes)
    else:
        path = Path(out).expanduser()
        if path.is_file():
            raise UsageError(f"--out '{out}' is a file", hint="name a folder")
        taken = path.is_dir() and any((path / mark).exists() for mark in MARKS)
        if taken and not resume:
            raise UsageError(
                f"'{out}' already holds a run",
                hint=("" if command in ("evaluate", "compare") else "--resume continues it; or ")
                + "choose another --out (a run is never written over)",
            )
        for what, name in (("data", data), ("model", model)):
            if name and path.resolve() == Path(name).expanduser().resolve() and not resume:
                raise UsageError(
                    f"--out '{out}' would be written into the {what} '{name}'", hint="choose another --out"
                )
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _made(path, new=out is None and not resume):  # another process took the name in between
            path = _own_name(path.parent, stem, None)
        probe = path / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise cannot_write(path, error) from None
    return RunFolder(path, created=created)


def open_together(
    out: str | None, command: str, model: str, data: str, *, resumes: Callable[[Path], bool] | None = None
) -> RunFolder:
    """`open_folder` by the first process of a run; UsageError where another does not see the folder it made."""
    made: list[RunFolder] = []

    def opened() -> Path:
        made.append(open_folder(out, command, model, data, resumes=resumes))
        return made[0].path

    path = world.led(opened)
    folder = made[0] if made else RunFolder(path)
    if not world.several():
        return folder
    sign = path / f".seen-by-all-{world.from_lead(os.getpid())}"
    if world.leads():
        sign.touch()
    world.wait()
    blind = [host for host, sees in world.gathered((socket.gethostname(), sign.exists())) if not sees]
    world.wait()
    if world.leads():
        sign.unlink()
    if blind:
        raise UsageError(
            f"'{path}' is not seen by all processes of the run: not on {', '.join(sorted(set(blind)))}",
            hint="--out on storage that all hosts share",
        )
    return folder


def _open_lock(path: Path) -> tuple[int, bool | None]:
    """The open lock file, and whether it is ours now; None where there are no locks."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        taken = _try_lock(handle)
        with suppress(FileNotFoundError):
            if taken is False or os.path.samestat(os.fstat(handle), path.stat()):
                return handle, taken
        os.close(handle)  # its owner took it away in between


def _try_lock(handle: int) -> bool | None:
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, as some of clusters are
        return None
    return True


def _holder(content: bytes) -> tuple[str, int] | None:
    """Host and process that the lock names."""
    try:
        found = json.loads(content)
        return str(found["host"]), int(found["pid"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _lives(host: str, pid: int) -> bool:
    """Whether a process of this host lives; of another host nothing is known, and its lock does not count."""
    if host != socket.gethostname() or pid in (os.getpid(), 0) or os.name == "nt":  # there os.kill would end it
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def cannot_write(path: Path, error: OSError, *, flag: str = "--out") -> UsageError:
    """The error for an output place that cannot be written."""
    free = "free some space, or " if error.errno in FULL else ""
    return UsageError(f"cannot write to '{path}': {error.strerror or error}", hint=f"{free}choose another {flag}")


def _made(path: Path, *, new: bool) -> bool:
    """Make the folder; False where it has to be a new one and is there already."""
    try:
        path.mkdir(exist_ok=not new)
    except FileExistsError:
        if not new:
            raise
        return False
    return True


def _own_name(parent: Path, stem: str, resumes: Callable[[Path], bool] | None) -> Path:
    """The run to resume, or a name above all that are taken."""
    numbers = {
        int(found[1] or 1): path
        for path in parent.glob(f"{stem}*")
        if (found := re.fullmatch(re.escape(stem) + r"(?:-([2-9]|[1-9]\d{1,8}))?", path.name)) is not None
    }
    newest_first = [numbers[number] for number in sorted(numbers, reverse=True)]
    if resumes is not None and newest_first:
        own = next((path for path in newest_first if resumes(path)), None)
        if own is not None or not started_anew():  # what died before it wrote anything goes on with no other run
            return own or newest_first[0]
    return parent / f"{stem}-{max(numbers) + 1}" if numbers else parent / stem


def _slug(name: str) -> str:
    """A model's or data set's name as part of a folder name."""
    last = (
        name.rstrip("/").split(":")[-1] if name.startswith(("preset:", "builtin:")) else name.rstrip("/").split("/")[-1]
    )
    if "/" in name and last in {"model", "data", "train"}:
        last = name.rstrip("/").split("/")[-2]
    stem = re.sub(r"\.(csv|tsv|jsonl?|parquet|arrow|txt)(\.gz|\.zst)?$", "", last)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "run"
