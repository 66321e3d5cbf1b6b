"""Encoded rows as a few long arrays: no Python object per row, in a file where they are many.

An example is a dict of 1-d integer arrays and of numbers. Each field is kept as one run of values over all rows, of
the smallest type that holds them; what comes out is what went in, types included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ftcli.contract import Example
from ftcli.data.examples import Examples
from ftcli.data.spool import Numbers, Spool, smallest

_PIECE = 1 << 22
_SIZED_BY = "input_ids"
_SCALARS: Mapping[str, type] = {"bool": bool, "int": int}


@dataclass(frozen=True)
class Field:
    """A field of all rows. Rows `r` are `data[ends[r - 1] : ends[r]]`; numbers, one per row, are all in `ends`."""

    kind: str
    """Type of the values as given: a dtype's name for arrays, ``int`` or ``bool`` for numbers."""
    ends: Any
    stored: np.dtype[Any]
    data: Spool | None
    """None for numbers, and for arrays that are all zero."""


class Tokens(Examples):
    """Examples by row."""

    def __init__(self, fields: Mapping[str, Field], count: int) -> None:
        self.fields, self._count = fields, count

    def __len__(self) -> int:
        return self._count

    def example(self, row: int) -> Example:
        """The example of a row."""
        return {name: _value(field, row) for name, field in self.fields.items()}

    def lengths(self) -> np.ndarray:
        """Size of each row's first input: tokens of a text, patches of an image; 1 where rows are not sequences."""
        field = self.fields.get(_SIZED_BY)
        told = self.fields.get("tokens")
        if field is None and told is not None and told.kind == "int":
            return np.asarray(told.ends.astype(np.int64))
        if field is None or field.kind in _SCALARS:
            return np.ones(self._count, dtype=np.int64)
        return np.diff(field.ends.astype(np.int64), prepend=0)

    def total(self, name: str) -> int:
        """Sum of a number over all rows; 0 where there is none of this name."""
        field = self.fields.get(name)
        return int(field.ends.sum(dtype=np.int64)) if field is not None and field.kind in _SCALARS else 0


def _value(field: Field, row: int) -> Any:
    if field.kind in _SCALARS:
        return _SCALARS[field.kind](field.ends[row])
    start, end = int(field.ends[row - 1]) if row else 0, int(field.ends[row])
    if field.data is None:
        return np.zeros(end - start, dtype=field.kind)
    size = field.stored.itemsize
    return np.frombuffer(field.data.read(start * size, (end - start) * size), field.stored).astype(field.kind)


class _Growing:
    """A field while rows come in."""

    def __init__(self, example: Any) -> None:
        self.kind = _kind(example)
        self._ends = Numbers()
        self._data: Spool | None = None
        self._stored = np.dtype(np.uint8)
        self._total = 0

    def extend(self, values: Sequence[Any]) -> None:
        """Values of further rows."""
        if self.kind in _SCALARS:
            self._ends.extend(values)
            return
        self._ends.extend(self._total + np.cumsum([len(value) for value in values]))
        joined = np.concatenate(values)
        self._total += len(joined)
        if not len(joined):
            return
        low, high = int(joined.min()), int(joined.max())
        if self._data is None:
            if low == high == 0:
                return
            self._data = _zeros(self._total - len(joined))
        kind = smallest(min(low, 0), high, self._stored)
        if kind != self._stored:
            self._data = _widened(self._data, self._stored, kind)
            self._stored = kind
        self._data.write(joined.astype(kind).tobytes())

    def finish(self) -> Field:
        """The field."""
        if self._data is not None:
            self._data.finish()
        return Field(str(self.kind), self._ends.array(), self._stored, self._data)


def _zeros(count: int) -> Spool:
    spool = Spool()
    for start in range(0, count, _PIECE):
        spool.write(bytes(min(_PIECE, count - start)))
    return spool


def _widened(spool: Spool, old: np.dtype[Any], new: np.dtype[Any]) -> Spool:
    """The same values in a larger type. Rare: the first thousand rows usually show the type."""
    spool.finish()
    wider = Spool()
    for start in range(0, spool.size, _PIECE):
        piece = spool.read(start, min(_PIECE, spool.size - start))
        wider.write(np.frombuffer(piece, old).astype(new).tobytes())
    return wider


def _kind(value: Any) -> str | None:
    """How a value can be kept; None where it cannot."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else None
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu" and value.dtype.itemsize <= 8:
        return None if value.dtype == np.uint64 else value.dtype.str
    return None


class TokensBuilder:
    """Takes examples as they are made; `finish` gives them back as one sequence."""

    def __init__(self) -> None:
        self._fields: dict[str, _Growing] = {}
        self._count = 0
        self._plain: list[Example] | None = None

    def add(self, examples: Sequence[Example]) -> None:
        """Further examples."""
        if not examples:
            return
        if self._plain is None and not self._fit(examples):
            self._plain = list(self._kept())
        if self._plain is not None:
            self._plain.extend(examples)
            return
        for name, field in self._fields.items():
            field.extend([example[name] for example in examples])
        self._count += len(examples)

    def finish(self) -> Sequence[Example]:
        """All examples: compact, or as they came where one is of another shape."""
        return self._plain if self._plain is not None else self._kept()

    def _kept(self) -> Tokens:
        fields = {name: field.finish() for name, field in self._fields.items()}
        for name, field in fields.items():  # arrays of the same lengths share their ends
            for other in fields.values():
                if other.kind not in _SCALARS and np.array_equal(other.ends, field.ends):
                    fields[name] = replace(field, ends=other.ends)
                    break
        return Tokens(fields, self._count)

    def _fit(self, examples: Sequence[Example]) -> bool:
        """True where all have the same fields, of kinds that can be kept."""
        if not self._count:
            self._fields = {name: _Growing(value) for name, value in examples[0].items()}
        names = list(self._fields)
        kinds = [field.kind for field in self._fields.values()]
        if None in kinds:
            self._fields = {}
            return False
        return all(
            list(example) == names
            and all(_kind(value) == kind for value, kind in zip(example.values(), kinds, strict=True))
            for example in examples
        )


def as_bits(values: Sequence[float]) -> np.ndarray:
    """(n,) numbers with fractions as whole ones, which is what is kept of examples; see `from_bits`."""
    return np.array(values, dtype=np.float64).view(np.int64)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """(n,) the numbers that `as_bits` was given."""
    return bits.astype(np.int64).view(np.float64)
