"""Lazy tables of named parts: a new part is one file and one line in its folder's table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from ftcli.errors import UsageError, did_you_mean


class Table(Mapping[str, str]):
    """Names of a kind of part and where each lives (``"module:attribute"``); nothing is imported before `get_part`."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self, name: str) -> str:
        """`name` if the table has it, else a UsageError naming the nearest one."""
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} '{name}'", hint=did_you_mean(name, self._entries))
        return name

    def part(self, name: str) -> Any:
        """The named part itself, imported now."""
        module, _, attribute = self._entries[self.check(name)].partition(":")
        return getattr(import_module(module), attribute)
