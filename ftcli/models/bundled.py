"""Models that come with ftcli: a folder each under ``ftcli/models/builtin``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ftcli.errors import UsageError, did_you_mean

PREFIX = "builtin:"


def bundled_model(name: str) -> Path:
    """The folder of ``builtin:NAME``; UsageError for one there is not."""
    root = Path(str(resources.files("ftcli.models"))) / "builtin"
    known = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    if name not in known:
        raise UsageError(f"unknown model '{PREFIX}{name}'", hint=did_you_mean(name, known))
    return root / name
