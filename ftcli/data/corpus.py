"""From a recipe to a corpus: documents of one or several sources, without repetitions, some held out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ftcli.contract import Column, Data, Problem
from ftcli.data.checks import raise_problems
from ftcli.data.columns import find, read_options, told
from ftcli.data.corpus_sources import open_corpus
from ftcli.data.documents import Documents
from ftcli.data.duplicates import datasketch, first_of_each, text_hashes, unlike_earlier
from ftcli.data.lines import check_encoding
from ftcli.data.read import read_split, sample
from ftcli.data.reader import Reader
from ftcli.data.rows import TableRows
from ftcli.data.sources import Source, no_split
from ftcli.data.split import hold_out, limit, match
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import CorpusRecipe, DataRecipe

MOST_HELD_OUT = 2000
"""Documents held out for validation at most: enough to tell losses apart, few enough to score often."""


def load_corpus(recipe: DataRecipe, corpus: CorpusRecipe, columns: Sequence[Column], *, seed: int) -> Data:
    """The splits train and validation of a corpus, texts alone; the test split is not even opened.

    `recipe.name` is any name of data, or several as ``a=0.7,b=0.3``: weights by which training mixes them. Raises
    UsageError for names and weights that mean nothing, DataError for what cannot be read and where nothing is left.
    """
    check_encoding(recipe.encoding)
    parts = mixed(recipe.name or "")
    text = next(column for column in columns if column.kind == "text")
    work = CorpusReading(
        recipe, corpus, text, [open_corpus(replace(recipe, name=name), corpus.documents) for name in parts]
    )
    if corpus.near_dup is not None:
        datasketch()  # before hours of reading
    train = work.read("train")
    validation = work.read("validation")
    work.settle_problems()
    assert train is not None  # a source without it was refused
    train, validation = _without_repetitions(work, train, validation)
    train, held = _held_out(work, train, validation, seed)
    chosen: dict[str, _Rows] = {}
    for role, split in {"train": train, "validation": held}.items():
        indices = limit(len(split.rows), recipe.limit, seed, role)
        chosen[role] = split if indices is None else split.select(np.asarray(indices))
        if indices is not None:
            work.notes.append(f"{role}: {len(indices):,} of {len(split.rows):,} documents, chosen at random")
    _check_sources(work, chosen["train"])
    several = len(parts) > 1
    total = sum(parts.values())
    return Data(
        name=str(recipe.name),
        splits={role: split.rows for role, split in chosen.items()},
        columns={text.role: work.column},
        label_names=None,
        fingerprints={role: split.rows.fingerprint() for role, split in chosen.items()},
        all_train=train.rows,
        notes=tuple(dict.fromkeys(work.notes)),
        skipped=tuple(work.problems),
        sources=tuple(parts) if several else (),
        weights=tuple(weight / total for weight in parts.values()) if several else (),
        groups={role: split.groups for role, split in chosen.items()} if several else {},
    )


def mixed(name: str) -> dict[str, float]:
    """Name -> weight of each source in ``a=0.7,b=0.3``; a name without a weight, or of something that exists, has 1."""
    pieces = [part.strip() for part in name.split(",")]
    split = [part.rpartition("=") for part in pieces]
    weighted = [bool(head) and _number(tail) is not None for head, _, tail in split]
    if os.path.lexists(os.path.expanduser(name)) or not any(weighted):
        return {name: 1.0}
    found: dict[str, float] = {}
    for part, (head, _, tail), has_weight in zip(pieces, split, weighted, strict=True):
        weight = _number(tail)
        if not has_weight or weight is None:
            raise UsageError(f"data.name: '{part}' has no weight, and others have", hint=f"--data {part or 'NAME'}=0.5")
        if not 0 < weight < math.inf:
            raise UsageError(
                f"data.name: the weight of '{head}' is {tail}, not a positive number",
                hint=f"--data {head}=0.5; weights are shares of the training tokens, in any unit",
            )
        if head in found:
            raise UsageError(f"data.name: '{head}' is there twice", hint="give it once, with the sum of the weights")
        found[head] = weight
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Rows:
    """Documents, and the number of the source each is from."""

    rows: TableRows
    groups: np.ndarray

    def select(self, indices: np.ndarray) -> _Rows:
        return _Rows(self.rows.select(indices), self.groups[indices])


@dataclass
class CorpusReading:
    """What is known so far while the splits are read one after the other."""

    recipe: DataRecipe
    corpus: CorpusRecipe
    text: Column
    sources: Sequence[Source]
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    column: str = "text"
    """The column that holds the texts, of the first file."""

    def __post_init__(self) -> None:
        # A role for the label lets a recipe made for labelled data be used as it is.
        columns = (self.text, Column("label", "label", (), answer=True))
        self.options = read_options(self.recipe, columns)
        self.told = told(self.recipe, columns).get(self.text.role)
        self._fields: dict[tuple[str, ...], str] = {}
        for source in self.sources:
            self.notes.extend(source.notes)

    def read(self, role: str) -> _Rows | None:
        """The documents of a split of every source that has it; None where none has."""
        documents = Documents()
        readers, groups = self.open(role, documents)
        if not readers:
            return None
        result = read_split(role, readers, (replace(self.text, required=True),), {self.text.role: "text"}, {})
        self.problems.extend(result.problems)
        if documents.blank:
            self.notes.append(f"{role}: {documents.blank:,} empty texts left out")
        kind = np.min_scalar_type(len(self.sources))
        return _Rows(result.rows, np.repeat(np.asarray(groups, kind), result.rows.rows_of_files()))

    def open(self, role: str, documents: Documents) -> tuple[list[Reader], list[int]]:
        """Readers of the texts of a split of every source that has it, and the number of each one's source."""
        readers: list[Reader] = []
        groups: list[int] = []
        for group, source in enumerate(self.sources):
            split = self._split(source, role)
            if split is None:
                continue
            opened = source.splits[split](self.options)
            readers.extend(documents.of(reader, self._field(reader)) for reader in opened)
            groups.extend([group] * len(opened))
        return readers, groups

    def settle_problems(self) -> None:
        """Raise what is wrong with the documents, or go on without them."""
        if self.problems and self.recipe.on_bad_row == "fail":
            raise_problems(self.problems)
        if self.problems:
            self.notes.append(f"{len(self.problems):,} bad documents skipped")

    def _split(self, source: Source, role: str) -> str | None:
        if source.single:
            return next(iter(source.splits)) if role == "train" else None
        asked = self.recipe.train_split if role == "train" else self.recipe.validation_split or role
        split = match(asked, source.splits)
        # A split given by name must be there, but not in each of several sources.
        if split is None and (role == "train" or (self.recipe.validation_split and len(self.sources) == 1)):
            raise no_split(source, asked)
        return split

    def _field(self, reader: Reader) -> str:
        """The column of a file that holds the text; looked for once among files that have the same columns."""
        if reader.fields not in self._fields:
            # Plain text has a column of its own making.
            given = None if reader.fields == ("text",) else self.told
            recipe = replace(self.recipe, columns=None, label_column=None, text_column=given)
            fields, notes = find(recipe, (self.text,), reader, sample([reader]))
            self._fields[reader.fields] = fields[self.text.role]
            self.column = next(iter(self._fields.values()))
            self.notes.extend(notes)
        self.notes.extend(reader.notes)
        return self._fields[reader.fields]


def _without_repetitions(work: CorpusReading, train: _Rows, validation: _Rows | None) -> tuple[_Rows, _Rows | None]:
    """Each document once; one that validation has is not trained on."""
    # Validation comes first: what both have stays there.
    splits = {"train": train} if validation is None else {"validation": validation, "train": train}
    if work.corpus.dedup:
        hashes = [text_hashes(row["text"] for row in split.rows) for split in splits.values()]
        splits = _kept(work, splits, first_of_each(np.concatenate(hashes)), "occurred before")
    share = work.corpus.near_dup
    if share is not None:
        texts = (row["text"] for split in splits.values() for row in split.rows)
        unlike = unlike_earlier(texts, share)
        splits = _kept(work, splits, unlike, f"are nearly as others before them (corpus.near_dup {share:g})")
    return splits["train"], splits.get("validation")


def _kept(work: CorpusReading, splits: Mapping[str, _Rows], stay: np.ndarray, why: str) -> dict[str, _Rows]:
    """The rows of the splits, one after the other, for which `stay` is true."""
    kept: dict[str, _Rows] = {}
    for role, split in splits.items():
        of_split, stay = stay[: len(split.rows)], stay[len(split.rows) :]
        gone = len(of_split) - int(of_split.sum())
        if gone:
            there = ", or are in the validation split" if role == "train" and len(splits) > 1 else ""
            work.notes.append(f"{role}: {gone:,} of {len(of_split):,} documents left out: they {why}{there}")
        kept[role] = split.select(np.flatnonzero(of_split)) if gone else split
    _check_sources(work, kept["train"])
    return kept


def _check_sources(work: CorpusReading, train: _Rows) -> None:
    """A DataError for a source of which nothing is left to train on."""
    for source, count in zip(work.sources, np.bincount(train.groups, minlength=len(work.sources)), strict=True):
        if not count:
            raise DataError(
                f"{source.name}: no document is left to train on: they are empty, bad, or in another source or the "
                "validation split as well"
            )


def _held_out(work: CorpusReading, train: _Rows, validation: _Rows | None, seed: int) -> tuple[_Rows, _Rows]:
    """Train and validation: as given, or with some documents of train held out."""
    if validation is not None:
        return train, validation
    rows = len(train.rows)
    fraction = min(work.recipe.validation_fraction, MOST_HELD_OUT / rows)
    kept, held = hold_out(train.groups.tolist(), fraction, seed)
    if not len(held):
        raise DataError(
            f"{work.recipe.name}: {rows} document, so that none can be held out for validation",
            hint="give a validation split, or cut the text into more documents: --set corpus.documents=lines",
        )
    at_most = f", at most {MOST_HELD_OUT:,}" if fraction < work.recipe.validation_fraction else ""
    work.notes.append(f"{len(held):,} of {rows:,} documents ({len(held) / rows:.1%}{at_most}) held out for validation")
    return train.select(kept), train.select(held)
