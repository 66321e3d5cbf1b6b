"""The labels of a split: of one kind throughout, or the odd ones out reported."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftcli.data.rows import Coded
from ftcli.data.spool import smallest
from ftcli.data.text_files import json_kind
from ftcli.data.values import text_fault
from ftcli.errors import DataError

_INT = re.compile(r"[+-]?(0|[1-9]\d*)")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)\.0*")
_FRACTION = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_WORDS = {"int": "a whole number", "text": "text", "bool": "true/false", "fraction": "not a whole number"}
_OTHERS = {"int": "whole numbers", "text": "text", "bool": "true/false"}
_MISSING = -1
_ABSENT = ("label is missing", "label is empty")
_RARE = 0.1
"""Values of another kind are slips where they are at most this share of the rows; above, repeated ones are classes."""


@dataclass(frozen=True)
class LabelColumn:
    """Labels ready for use; bad rows hold None in `values` and their fault in `faults`."""

    values: Coded
    kind: str | None
    faults: dict[int, str]
    unlabelled: bool
    """No row has a label."""


class LabelBuilder:
    """Takes labels one by one (they repeat, so each distinct one is kept once) and settles their kind at the end."""

    def __init__(self, names: Sequence[str] | None) -> None:
        self._codes = array("i")
        self._values: list[tuple[Any, bool]] = []
        self._known: dict[tuple[type, Any, bool], int] = {}
        self._faults: dict[int, str] = {}
        self._names = names
        self._absent = 0

    def add(self, value: Any, *, typed: bool) -> None:
        """Another row's label; `typed` is False where a file has text only."""
        fault = _fault(value)
        if fault is not None:
            self._faults[len(self._codes)] = fault
            self._absent += fault in _ABSENT
            self._codes.append(_MISSING)
            return
        value = value.strip() if isinstance(value, str) and not typed else value
        key = (type(value), value, typed)
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = len(self._values)
            self._values.append((value, typed))
        self._codes.append(code)

    def finish(self, expected: str | None, column: str, place: str) -> LabelColumn:
        """The column; `expected` is the kind that the training split settled on, `place` the file for messages."""
        codes = np.frombuffer(self._codes, dtype=np.intc) if self._codes else np.zeros(0, np.intc)
        counts = np.bincount(codes[codes >= 0], minlength=len(self._values)).tolist()
        sorted_out = [_classify(value, typed) for value, typed in self._values]
        kind = expected or self._kind([k for k, _ in sorted_out], counts)
        if kind == "fraction":
            example = next(value for (value, _), (k, _) in zip(self._values, sorted_out, strict=True) if k == kind)
            raise DataError(
                f"{place}: column '{column}' holds numbers with fractions (such as {example}), no class labels",
                hint="--label-column NAME",
            )
        final, bad = self._settle(sorted_out, kind)
        for row in np.flatnonzero(np.isin(codes, list(bad))).tolist() if bad else ():
            self._faults[row] = bad[int(codes[row])]
        values = Coded([*final, None], np.where(codes < 0, len(final), codes).astype(smallest(0, len(final))))
        unlabelled = self._absent == len(codes) if kind is None else self._without_labels(counts)
        return LabelColumn(values, kind, self._faults, unlabelled)

    def _without_labels(self, counts: Sequence[int]) -> bool:
        labelled = sum(n for (value, _), n in zip(self._values, counts, strict=True) if value != -1)
        return labelled == 0 and sum(counts) + self._absent == len(self._codes)

    def _kind(self, kinds: Sequence[str], counts: Sequence[int]) -> str | None:
        rows: Counter[str] = Counter()
        for kind, number in zip(kinds, counts, strict=True):
            rows[kind] += number
        if not rows:
            return None
        main = "int" if rows["int"] * 2 >= rows.total() else rows.most_common(1)[0][0]
        if len(rows) == 1 or any(typed for _, typed in self._values):
            return main
        # A file of text only: "3" among words is a word, and a word among numbers a slip where it is rare.
        odd = [n for kind, n in zip(kinds, counts, strict=True) if kind != main]
        numeric = main in ("int", "fraction")
        slips = numeric and (sum(odd) <= _RARE * rows.total() or max(odd) == 1 or "text" not in rows)
        return main if slips else "text"

    def _settle(self, sorted_out: Sequence[tuple[str, Any]], kind: str | None) -> tuple[list[Any], dict[int, str]]:
        """Final value of each code, None where it is not of the kind; and what is wrong with those."""
        final: list[Any] = []
        bad: dict[int, str] = {}
        for code, ((value, typed), (its_kind, normal)) in enumerate(zip(self._values, sorted_out, strict=True)):
            if kind == "text" and not typed:
                its_kind, normal = "text", value
            fault = None
            if its_kind != kind:
                fault = f"label {value!r} is {_WORDS[its_kind]}, the others are {_OTHERS[str(kind)]}"
            elif kind == "int":
                fault = self._out_of_range(normal)
            if fault:
                bad[code] = fault
            final.append(None if fault else normal)
        return final, bad

    def _out_of_range(self, value: int) -> str | None:
        if abs(value) >= 2**63:
            return f"label {value} is too large a number"
        if self._names and value == -1:
            return "label is -1 (no label)"
        if self._names and not 0 <= value < len(self._names):
            return f"label {value} is not one of the {len(self._names)} classes (0 to {len(self._names) - 1})"
        return None


def _fault(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "label is missing"
    if isinstance(value, str):
        return text_fault(value, "label") if value.strip() else "label is empty"
    if isinstance(value, bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"label is {value}"
    return f"label is {json_kind(value)}, not a number or text"


def _classify(value: Any, typed: bool) -> tuple[str, Any]:
    """Kind of a label, and the label in that kind's form."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return "int", value
    if isinstance(value, float):
        return ("int", int(value)) if value.is_integer() else ("fraction", value)
    if not typed:
        if _INT.fullmatch(value):
            return _read_int(value)
        if _WHOLE.fullmatch(value):
            return _read_int(value.partition(".")[0])
        if _FRACTION.fullmatch(value):
            return "fraction", value
    return "text", value


def _read_int(text: str) -> tuple[str, Any]:
    # Longer numbers are names of something; Python refuses to read very long ones at all.
    return ("int", int(text)) if len(text) <= 20 else ("text", text)
