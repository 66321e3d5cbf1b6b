"""A stream as the examples to train on: a chunk of it is an epoch of the loop, tokenized when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ftcli.contract import Example, Objective
from ftcli.data.examples import Examples
from ftcli.data.pieces import Pieces
from ftcli.data.sampler import Sampler
from ftcli.data.stream import Document, Stream
from ftcli.engine import world
from ftcli.engine.evaluate import encode_rows
from ftcli.engine.interrupt import StopRequest
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import Recipe
from ftcli.trackers.console import Console


def check(recipe: Recipe) -> None:
    """UsageError for settings of training that need to know how much there is."""
    if recipe.train.max_steps is None:
        raise UsageError("corpus.stream needs train.max_steps: a stream has no end", hint="--max-steps 10000")
    for key in ("batch_warmup", "length_warmup"):
        if getattr(recipe.train, key):
            raise UsageError(
                f"train.{key} plans ahead of what a stream has shown", hint=f"--set train.{key}=0, or no corpus.stream"
            )


class Chunks(Examples):
    """The examples of one chunk of a stream at a time, without answers; the one before is let go first.

    Of several processes each tokenizes and holds its own documents' (see `Stream.share`), and knows how long all
    others are and whose: rows are numbered as in one process, by document.
    """

    def __init__(
        self,
        stream: Stream,
        objective: Objective,
        seed: int,
        longest: Sequence[tuple[int, Example]],
        console: Console,
        stop: StopRequest | None = None,
    ) -> None:
        self.longest = longest
        """Some of the first chunk's examples with their rows, a short one last, by which memory is measured."""
        self.number: int | None = None
        """Of the chunk that is held."""
        self._stream, self._objective, self._seed, self._console, self._stop = stream, objective, seed, console, stop
        self._rank = world.rank()
        stream.share(self._rank, world.size(), world.gathered)
        self._let_go()

    def _let_go(self) -> None:
        self.number, self._mine = None, cast(Sequence[Example], ())
        self._documents: list[Document] = []
        self._of = self._owner = self._at = self._lengths = np.zeros(0, np.int64)

    def load(self, number: int) -> None:
        """Hold chunk `number`. All processes have to ask. DataError where nothing in it can be learnt from."""
        if self.number == number:
            return
        self._let_go()
        if self._stop is not None and not world.several():
            self._stop.leave_if_due()
        documents = self._stream.chunk(number)
        own = [i for i, document in enumerate(documents) if document.text is not None]
        self._documents = [document._replace(text=None) for document in documents]
        numbers = sizes = np.zeros(0, np.int64)
        try:
            if own:
                rows: Any = ({"text": documents[i].text} for i in own)
                found = self._objective.arrange(encode_rows(self._objective.documents, rows), self._seed + number)
                assert isinstance(found, Pieces)  # as all objectives of texts make
                self._mine, numbers, sizes = found, np.asarray(own, np.int64)[found.first[:, 0]], found.lengths()
        except DataError:  # one document makes no pair; others may have enough, and wait to be told
            if not world.several():
                raise
        self._settle(world.gathered((numbers, sizes)))
        self.number = number
        if problems := self._stream.problems:
            more = f"1 more bad document skipped: {problems[0]}"
            if len(problems) > 1:
                more = f"{len(problems):,} more bad documents skipped, the first: {problems[0]}"
            self._console.warn(more)
            problems.clear()

    def _settle(self, told: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Number the examples of all processes, of which each told the documents and sizes of its own."""
        if not any(len(numbers) for numbers, _ in told):
            raise DataError(
                "a chunk of the stream has nothing to learn from: its documents are all too short, or all the same",
                hint="a larger corpus.buffer",
            )
        counts = [len(numbers) for numbers, _ in told]
        of = np.concatenate([numbers for numbers, _ in told])
        order = np.argsort(of, kind="stable")
        self._of = of[order]
        self._owner = np.repeat(np.arange(len(told)), counts)[order]
        self._at = np.concatenate([np.arange(count) for count in counts])[order]
        self._lengths = np.concatenate([sizes for _, sizes in told])[order]

    def __len__(self) -> int:
        return len(self._of)

    def example(self, row: int) -> Example:
        """The example of a row that this process holds; of another a short one, for where it counts for nothing."""
        return self._mine[int(self._at[row])] if self._owner[row] == self._rank else self.longest[-1][1]

    def lengths(self) -> np.ndarray:
        """(rows,) tokens of each example, other processes' among them."""
        return self._lengths

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """(rows,) the process that holds each."""
        found: np.ndarray = self._owner[rows]
        return found

    def place(self, row: int) -> str:
        """File and line of the document a row is from."""
        document = self._documents[int(self._of[row])]
        return self._stream.place(document.file, document.line)


class ChunkSampler(Sampler):
    """Steps over the chunk that an epoch is; asking for another epoch's makes `chunks` hold that one."""

    def __init__(self, chunks: Chunks, rows_per_step: int, seed: int, *, tokens_per_step: int | None = None) -> None:
        super().__init__((), rows_per_step, seed, tokens_per_step=tokens_per_step)
        self._chunks = chunks
        self._planned: tuple[int, list[np.ndarray]] = -1, []

    def steps(self, epoch: int) -> int:
        """Steps of `epoch`."""
        return len(self.plan(epoch))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each step of `epoch`, with its chunk held from now on."""
        self._chunks.load(epoch)
        if self._planned[0] != epoch:
            sizes = self._chunks.lengths()
            sampler = Sampler(sizes, self.rows_per_step, self.seed, tokens_per_step=self.tokens_per_step)
            self._planned = epoch, sampler.plan(epoch)
        return list(self._planned[1])
