"""Queries and what is to be ranked for them, in the forms that data sets have them: a row for each pair, or lists."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ftcli.contract import Column, Row
from ftcli.data.rows import ListColumn, Origins, TableRows, TextColumn, Values
from ftcli.data.text_files import json_kind
from ftcli.data.values import Unusable, read_number, text_fault

QUERY = Column(
    "query",
    "text",
    ("query", "question", "message", "utterance", "history", "behaviour", "behavior", "context", "prompt", "anchor",
     "user", "text"),
)  # fmt: skip
CANDIDATES = Column(
    "candidates",
    "json",
    ("candidates", "candidate", "documents", "document", "passages", "passage", "items", "item", "replies", "reply",
     "responses", "response", "docs", "doc"),
    unless="positives",
)  # fmt: skip
POSITIVES = Column("positives", "json", ("positives", "positive", "positive_passages", "pos"), required=False)
NEGATIVES = Column(
    "negatives",
    "json",
    ("negatives", "negative", "hard_negatives", "negative_passages", "neg"),
    required=False,
)
LABEL = Column(
    "label",
    "json",
    ("label", "labels", "relevance", "relevances", "rel", "score", "scores", "grade", "grades", "rating", "clicked",
     "target"),
    required=False,
    answer=True,
    unless="positives",
)  # fmt: skip
CANDIDATE = Column(
    "candidate",
    "text",
    ("candidate", "text", "document", "passage", "item", "reply", "response", "title", "answer", "sentence"),
)
"""Of a file of candidates."""

Gather = Callable[[Sequence[Row]], Row]
"""`Task.gather`."""


def group_of(row: Row) -> tuple[list[str], list[float] | None]:
    """The candidates of a row and how relevant each is (0: not at all); None where the row does not say.

    ``candidates`` is one text, with its relevance as ``label``, or a list, with as many relevances or the place (from
    0) of the one that is relevant; ``positives`` and ``negatives`` are texts or lists of them, of relevance 1 and 0.
    ValueError, in words that begin with the role, for anything else.
    """
    given, label = row.get("candidates"), row.get("label")
    texts = [] if given is None else _texts(given, "candidates")
    grades: list[float] = []
    if label is not None and given is not None:
        grades = _grades(label, texts, alone=isinstance(_from_cell(given), str))
    elif given is not None and row.get("positives") is None:
        return texts, None
    else:
        grades = [0.0] * len(texts)  # candidates beside positives are the others
    for role, grade in (("positives", 1.0), ("negatives", 0.0)):
        if row.get(role) is not None:
            more = _texts(row[role], role)
            texts, grades = [*texts, *more], [*grades, *[grade] * len(more)]
    return texts, grades


def group_fault(row: Row) -> str | None:
    """What is wrong with the candidates of a row; None for one that has none to look at."""
    if not any(role in row for role in ("candidates", "positives", "negatives")):
        return None
    try:
        texts, _ = group_of(row)
    except ValueError as error:
        return str(error)
    return None if texts else "no candidates"


def gather(rows: Sequence[Row]) -> Row:
    """The rows of one query as one, with a list of ``candidates``, each once, and one of relevances as ``label``."""
    found: dict[str, float] = {}
    for row in rows:
        texts, grades = group_of(row)
        for text, grade in zip(texts, grades if grades is not None else [0.0] * len(texts), strict=True):
            found[text] = max(grade, found.get(text, 0.0))
    return {"query": rows[0]["query"], "candidates": list(found), "label": list(found.values())}


def gathered(rows: TableRows, by: str, gather: Gather) -> TableRows:
    """The rows of a table with those of equal values in the role `by` made one by `gather`, where the first of them
    is."""
    groups: dict[bytes, list[int]] = {}
    for number, value in enumerate(rows.column(by)):
        groups.setdefault(
            hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=16).digest(), []
        ).append(number)
    kept: dict[str, Any] = {}
    for group in groups.values():
        row = gather(list(rows.select(group)))
        for role, value in row.items():
            if role not in kept:
                kept[role] = TextColumn() if isinstance(value, str) else ListColumn()
            kept[role].add(value)
    columns: dict[str, Values] = {role: column.finish() for role, column in kept.items()}
    return TableRows(columns, _FirstOf(rows, [group[0] for group in groups.values()]))


class _FirstOf(Origins):
    """Where rows came from that were made of several: the place of the first."""

    def __init__(self, rows: TableRows, firsts: Sequence[int]) -> None:
        super().__init__()
        self._of, self._firsts = rows, firsts

    def place(self, row: int) -> str:
        return self._of.place(self._firsts[row])

    def rows_of_files(self) -> np.ndarray:
        return np.array([len(self._firsts)])


def key_of(text: str) -> int:
    """A number by which equal candidates are known."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def _from_cell(value: Any) -> Any:
    """The list that a cell holds as JSON; other values as they are."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, list) else value
    return value


def _texts(value: Any, role: str) -> list[str]:
    value = _from_cell(value)
    if not isinstance(value, list | tuple):
        if isinstance(value, str) and (fault := text_fault(value, role)):
            raise ValueError(fault)
        if not isinstance(value, str):
            raise ValueError(f"{role} is {json_kind(value)}, not text or a list of texts")
        return [value]
    texts: list[Any] = [entry.get("text") if isinstance(entry, dict) else entry for entry in value]
    for place, text in enumerate(texts, 1):
        if fault := text_fault(text, f"entry {place}"):
            raise ValueError(f"{role} is unusable: {fault}")
    return texts


def _grades(label: Any, texts: Sequence[str], *, alone: bool) -> list[float]:
    label = _from_cell(label)
    if isinstance(label, list | tuple):
        if len(label) != len(texts):
            raise ValueError(f"label has {len(label)} entries for {len(texts)} candidates")
        return [_grade(entry) for entry in label]
    number = _grade(label)
    if alone:
        return [number]
    if not number.is_integer() or number >= len(texts):
        raise ValueError(f"label is {label}, which is the place of none of the {len(texts)} candidates (from 0)")
    return [float(place == number) for place in range(len(texts))]


def _grade(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        number = read_number(value)
    except Unusable as error:
        raise ValueError(f"label {error}") from None
    if number < 0 or not math.isfinite(number):
        raise ValueError(f"label is {value}, where a relevance from 0 is needed")
    return number
