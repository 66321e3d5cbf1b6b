"""Fields of recipe sections."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def bounded(default: Any, **bounds: Any) -> Any:
    """A field with bounds: ``above`` (exclusive), ``at_least``, ``at_most`` (inclusive), ``below`` (exclusive)."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=bounds)
    return field(default=default, metadata=bounds)
