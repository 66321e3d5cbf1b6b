"""What every kind of file is read as: raw records with the place each came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Raw(NamedTuple):
    """One record as it stands in a file: its fields, or what is wrong with it."""

    line: int
    values: Mapping[str, Any] | None
    error: str | None = None


@dataclass(frozen=True)
class Places:
    """Turns a record's number into words a person can look up."""

    name: str
    unit: str = "line"
    files: tuple[str, ...] = ()
    """One name per record, where each record is a file of its own."""

    def __call__(self, line: int) -> str:
        return self.files[line] if self.files else f"{self.name}, {self.unit} {line}"


@dataclass(frozen=True)
class Options:
    """How text files are to be read, from the recipe."""

    encoding: str = "utf-8"
    delimiter: str | None = None
    width: int = 0
    """Above 0: no header, and columns are named by position up to this one."""
    strict: bool = True
    """True: undecodable bytes end the reading; False: they make an unusable record."""


Read = Callable[[Sequence[str] | None], Iterator[Raw]]


@dataclass(frozen=True)
class Reader:
    """A file (or a Hub split, or a folder of class folders) that can be read any number of times."""

    places: Places
    fields: tuple[str, ...]
    read: Read
    """All records; given column names, records need hold no others."""
    typed: bool = True
    """False: every value is text, whatever it means (csv)."""
    open_fields: bool = False
    """True: a record may have fields that `fields` lacks (JSON lines)."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> names of its integer labels, where the source brings them."""
    languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column of a text in each of several languages -> these, in the order in which the source names them."""
    header_hint: str | None = None
    """What to try when the columns are not the expected ones."""
    notes: tuple[str, ...] = ()
    """Guesses made about the file, in words."""
    folder: Path | None = None
    """Where the file lies: paths that stand in it start from there."""

    @property
    def name(self) -> str:
        return self.places.name
