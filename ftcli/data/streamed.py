"""From a recipe to a corpus that is streamed: its beginning is read, the rest is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from ftcli.contract import Column, Data
from ftcli.data.corpus import CorpusReading, mixed
from ftcli.data.corpus_sources import open_corpus
from ftcli.data.documents import Documents
from ftcli.data.duplicates import first_of_each
from ftcli.data.lines import check_encoding
from ftcli.data.reader import Reader
from ftcli.data.rows import Origins, TableRows, TextColumn
from ftcli.data.stream import Document, Stream, marks
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import CorpusRecipe, DataRecipe


@dataclass(frozen=True)
class Streamed(Data):
    """Data whose training split is a stream; ``splits["train"]`` is its first chunk alone."""

    stream: Stream | None = None


def load_stream(recipe: DataRecipe, corpus: CorpusRecipe, columns: Sequence[Column], *, seed: int) -> Streamed:
    """The stream of a corpus, with what is held out of it and its first chunk read.

    Raises UsageError for settings that look at all documents at once, DataError for what cannot be read and where
    nothing is left.
    """
    check_encoding(recipe.encoding)
    _check(recipe, corpus)
    text = next(column for column in columns if column.kind == "text")
    work = CorpusReading(recipe, corpus, text, [open_corpus(recipe, corpus.documents, stream=True)])
    fail = recipe.on_bad_row == "fail"
    readers, _ = work.open("train", Documents())
    others, _ = work.open("validation", Documents())
    stream = Stream(readers, text, corpus, seed, fail=fail)
    if others:
        apart = Stream(others, text, corpus, seed, fail=fail)
        held, problems = apart.first(corpus.held_out), apart.problems
        if not held:
            raise DataError(f"{recipe.name}: no document in the validation split")
        stream.keep_out(held)
        work.notes.append(f"validation: the first {len(held):,} documents of its split")
    else:
        held, problems, others = _held_out(recipe, corpus, stream), [], readers
        work.notes.append(f"validation: the first {len(held):,} documents of the stream, held out")
    first = stream.chunk(0)
    if not first:
        raise DataError(
            f"{recipe.name}: no document is left to train on: they are empty, bad, or held out as well",
            hint="more documents, or --set corpus.held_out=N with a smaller N",
        )
    files = "a file" if len(readers) == 1 else f"{len(readers):,} files"
    work.notes.append(f"train: streamed from {files}, {corpus.buffer:,} documents at a time")
    if problems := [*problems, *stream.problems]:
        work.notes.append(f"{len(problems):,} bad documents skipped at the start")
    stream.problems.clear()
    held = _different(held) if corpus.dedup else held
    splits = {"train": _table(readers, first), "validation": _table(others, held)}
    return Streamed(
        name=str(recipe.name),
        splits=splits,
        columns={text.role: work.column},
        label_names=None,
        fingerprints={**{role: rows.fingerprint() for role, rows in splits.items()}, "files": _names(readers)},
        notes=tuple(dict.fromkeys(work.notes)),
        skipped=tuple(problems),
        stream=stream,
    )


def _check(recipe: DataRecipe, corpus: CorpusRecipe) -> None:
    if len(mixed(recipe.name or "")) > 1:
        raise UsageError(
            "corpus.stream reads one source, and data.name mixes several",
            hint="a folder of all files, or leave out corpus.stream",
        )
    wrong = {"corpus.near_dup": corpus.near_dup, "data.limit": recipe.limit}
    for key, value in wrong.items():
        if value is not None:
            raise UsageError(f"{key} looks at all documents, and corpus.stream never has them", hint="leave one out")


def _held_out(recipe: DataRecipe, corpus: CorpusRecipe, stream: Stream) -> list[Document]:
    """The first documents of the stream, kept out of it."""
    found = stream.first(corpus.held_out + 1)
    if not found:
        raise DataError(f"{recipe.name}: no document to train on")
    if len(found) <= corpus.held_out:
        there = f"{len(found):,} document{'s' if len(found) != 1 else ''}"
        raise DataError(
            f"{recipe.name}: {there} to train on, and corpus.held_out takes the first {corpus.held_out:,} away",
            hint=f"--set corpus.held_out={len(found) // 10}" if len(found) >= 10 else "leave out corpus.stream",
        )
    held = stream.first(corpus.held_out)
    stream.hold_out(held)
    return held


def _different(documents: Sequence[Document]) -> list[Document]:
    """Each text once."""
    return [documents[i] for i in np.flatnonzero(first_of_each(marks(documents))).tolist()]


def _names(readers: Sequence[Reader]) -> str:
    """A hash of what the files are called: a file more or less makes it another stream."""
    return sha256("\n".join(reader.name for reader in readers).encode()).hexdigest()


def _table(readers: Sequence[Reader], documents: Sequence[Document]) -> TableRows:
    """Documents as the rows of a split."""
    texts, origins, file = TextColumn(), Origins(), None
    for document in documents:
        if document.file != file:
            file = document.file
            origins.begin(readers[file].places)
        origins.add(document.line)
        texts.add(document.text)
    return TableRows({"text": texts.finish()}, origins)
