"""What comes with ftcli, by ``builtin:NAME``: a folder each under ``builtin`` of the room it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ftcli.errors import UsageError, did_you_mean

PREFIX = "builtin:"


def find_bundled(room: str, what: str, name: str, others: Sequence[str] = ()) -> Path:
    """The folder of ``builtin:NAME`` in a room of the package; UsageError, with `others` that there are, for none."""
    root = Path(str(resources.files(f"ftcli.{room}"))) / "builtin"
    known = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    if name not in known:
        raise UsageError(f"unknown {what} '{PREFIX}{name}'", hint=did_you_mean(name, [*known, *others]))
    return root / name
