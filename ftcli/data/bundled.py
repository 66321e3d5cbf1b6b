"""Data sets that come with ftcli: a folder each under ``ftcli/data/builtin``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ftcli.errors import UsageError, did_you_mean

PREFIX = "builtin:"


def bundled_folder(name: str) -> Path:
    """The folder of ``builtin:NAME``."""
    root = Path(str(resources.files("ftcli.data"))) / "builtin"
    known = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    if name not in known:
        raise UsageError(f"unknown data set '{PREFIX}{name}'", hint=did_you_mean(name, known))
    return root / name
