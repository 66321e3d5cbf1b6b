"""A corpus that is never whole in memory or on disk: its documents chunk by chunk, read as they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ftcli.contract import Column, Problem
from ftcli.data.checks import check_record, raise_problems
from ftcli.data.duplicates import first_of_each, text_hashes
from ftcli.data.reader import Reader
from ftcli.errors import DataError, FtcliError
from ftcli.recipe.schema import CorpusRecipe

LANES = 8
"""Files read at once: chunks are of several, and as many processes need not read each other's."""
Tell = Callable[[Any], list[Any]]
"""What all processes have in the place of what this one has, in the order of ranks."""


class Document(NamedTuple):
    """A document of a stream."""

    file: int
    line: int
    text: str | None
    """None where it is another process' to read."""
    mark: int = 0
    """A hash of the text, of those that are handed out."""

    def marked(self) -> Document:
        """The document with its mark; while a chunk is looked for nobody needs it."""
        return self if self.text is None else self._replace(mark=int(text_hashes((self.text,))[0]))


class Stream:
    """The documents of some files in chunks of about `corpus.buffer`, the last of a pass with up to half as many more.

    The files are dealt to at most `LANES` lanes, seeded. A pass reads all lanes at once, and in each one file after the
    other, in an order that is another one in each pass; a chunk takes as many documents of each lane, of those that
    end early the rest. When all are read the next pass begins, and chunks are counted on. What is in a chunk depends on
    its number alone: any can be asked for, and one that does not come next is read up to. Every pass has as many
    chunks as the first, so that no more than the first and the one asked for are read for it.

    Processes share the lanes, or where there are more of them the documents of each: see `share`. A document that is
    held out, or occurred before in its chunk, is in no chunk. Raises DataError for one that cannot be used, or with
    ``data.on_bad_row: skip`` keeps it in `problems`.
    """

    def __init__(self, readers: Sequence[Reader], text: Column, corpus: CorpusRecipe, seed: int, *, fail: bool) -> None:
        self.readers, self.buffer, self.dedup = readers, corpus.buffer, corpus.dedup
        self.problems: list[Problem] = []
        """Documents left out as they cannot be used, each told once."""
        self._text, self._seed, self._fail = text, seed, fail
        order = np.random.default_rng(seed).permutation(len(readers))
        self._lanes = [order[lane::LANES] for lane in range(min(LANES, len(readers)))]
        """The files of each lane."""
        self._told: set[tuple[int, int]] = set()
        self._held: Counter[int] = Counter()
        """File -> documents at its beginning that are held out."""
        self._held_marks = np.zeros(0, np.uint64)
        self._rank, self._size = 0, 1
        self._tell: Tell = _alone
        self._per_pass: int | None = None
        """Chunks of a pass, once one was read to its end."""
        self._begin(0, 0)

    def share(self, rank: int, size: int, tell: Tell) -> None:
        """From now on read the part of process `rank` of `size` only; `tell` gives all processes what each has."""
        self._rank, self._size, self._tell = rank, size, tell
        self._begin(0, 0)

    def first(self, count: int) -> list[Document]:
        """The first documents, at most so many, as many of each lane."""
        found: list[list[Document]] = [[] for _ in self._lanes]
        waiting = [(lane, self._read(0, lane)) for lane in range(len(self._lanes))]
        while waiting and count:
            lane, source = waiting.pop(0)
            document = next(source, None)
            if document is not None:
                found[lane].append(document)
                waiting.append((lane, source))
                count -= 1
        return [document.marked() for of_lane in found for document in of_lane]

    def hold_out(self, documents: Sequence[Document]) -> None:
        """Keep the first documents, which these are, and others like them out of all chunks."""
        self.keep_out(documents)
        self._held = Counter(document.file for document in documents)
        self._begin(0, 0)

    def keep_out(self, documents: Sequence[Document]) -> None:
        """Keep documents with the text of one of these out of all chunks."""
        self._held_marks = marks(documents)

    def chunk(self, number: int) -> list[Document]:
        """The documents of a chunk, in order; those that are not this process' without text. All processes ask."""
        while self._next != number:
            at = number // self._per_pass if self._per_pass else 0
            first = at * (self._per_pass or 0)
            if number < self._next or first > self._next:
                self._begin(at, first)
            else:
                self._cut()
        own = {place: document.marked() for place, document in self._cut().items()}
        told = self._tell([(*place, document._replace(text=None)) for place, document in own.items()])
        places = sorted(entry for entries in told for entry in entries)
        documents = [own.get((lane, row), other) for lane, row, other in places]
        if not self.dedup:
            return documents
        found = marks(documents)
        stay = first_of_each(found) & ~np.isin(found, self._held_marks)
        return [documents[i] for i in np.flatnonzero(stay).tolist()]

    def place(self, file: int, line: int) -> str:
        """File and line (or row) of a document."""
        return self.readers[file].places(line)

    def _begin(self, number: int, first: int) -> None:
        """Pass `number` from its start, whose first chunk is chunk `first`."""
        self._pass, self._next = number, first
        self._left = list(range(len(self._lanes)))
        """Lanes that have not ended."""
        mine = [lane for lane in self._left if lane % self._size == self._rank % len(self._lanes)]
        self._sources = {lane: self._read(number, lane) for lane in mine}
        self._waiting: dict[int, list[Document]] = {lane: [] for lane in mine}

    def _cut(self) -> dict[tuple[int, int], Document]:
        """What is this process' of the next chunk, by lane and number in it. Where less than half a chunk would be
        left of a pass, that is in it too."""
        quota = -(-self.buffer // len(self._left))
        most = quota + quota // 2
        counts = self._filled(most + 1)
        last = max(counts.values()) <= most
        taken = {lane: count if last else min(count, quota) for lane, count in counts.items()}
        found: dict[tuple[int, int], Document] = {}
        for lane, waiting in self._waiting.items():
            cut = taken.get(lane, 0)
            found |= {(lane, row): one for row, one in enumerate(waiting[:cut]) if one.text is not None}
            self._waiting[lane] = waiting[cut:]
        self._left = [lane for lane, count in counts.items() if count > taken[lane]]
        self._next += 1
        if last:
            if not any(counts.values()):
                raise DataError(
                    "no document is left to train on: they are empty, bad or held out",
                    hint="more documents, or --set corpus.held_out=N with a smaller N",
                )
            self._per_pass = self._per_pass or self._next
            self._begin(self._pass + 1, self._next)
        return found

    def _filled(self, size: int) -> dict[int, int]:
        """How many of the next `size` documents each lane has, those of this process read."""
        counts, failed = {}, None
        try:
            for lane in self._left:
                if lane in self._sources:
                    waiting = self._waiting[lane]
                    waiting += islice(self._sources[lane], size - len(waiting))
                    counts[lane] = len(waiting)
        except FtcliError as error:
            failed = error  # the others are waiting to be told
        told = self._tell((counts, self.problems, failed))
        for *_, refused in told:
            if refused is not None:
                raise refused
        self.problems = list(dict.fromkeys(problem for _, problems, _ in told for problem in problems))
        together = {lane: count for of_one, *_ in told for lane, count in of_one.items()}
        return {lane: together[lane] for lane in self._left}

    def _read(self, number: int, lane: int) -> Iterator[Document]:
        """The documents of a lane in pass `number`, without those held out."""
        files, count = self._lanes[lane], 0
        sharing = len(range(lane, self._size, len(self._lanes))) if self._size > len(self._lanes) else 1
        for file in np.random.default_rng([self._seed, number, lane]).permutation(files).tolist():
            for document in islice(self._of_file(file), self._held[file], None):
                own = count % sharing == self._rank // len(self._lanes)
                count += 1
                yield document if own else document._replace(text=None)

    def _of_file(self, file: int) -> Iterator[Document]:
        reader, role = self.readers[file], self._text.role
        for raw in reader.read(None):
            checked = check_record(raw, (self._text,), {role: "text"})
            if checked.fault is None:
                yield Document(file, raw.line, checked.values[role])
            elif self._fail:
                raise_problems([Problem(reader.places(raw.line), checked.fault)])
            elif (file, raw.line) not in self._told:
                self._told.add((file, raw.line))
                self.problems.append(Problem(reader.places(raw.line), checked.fault))


def marks(documents: Sequence[Document]) -> np.ndarray:
    """(documents,) the mark of each, uint64."""
    return np.fromiter((document.mark for document in documents), np.uint64, len(documents))


def _alone(own: Any) -> list[Any]:
    return [own]
