"""Scoring: the one path from examples to predictions that evaluation, validation and prediction share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ftcli.contract import Example, Prediction, Row, Rows, Task
from ftcli.data.examples import lengths
from ftcli.data.tokens import TokensBuilder
from ftcli.engine import world
from ftcli.engine.device import is_out_of_memory, to_device, too_large
from ftcli.engine.precision import Precision
from ftcli.models.whole import is_shared, part_again

ENCODE_CHUNK = 1000
ENCODE_CHARACTERS = 1_000_000
"""Rows, or characters, that are encoded at a time: a tokenizer needs some hundred bytes for each token meanwhile."""
FILES_AT_A_TIME = 64


Encode = Callable[[Sequence[Row]], list[Example]]


def encode_rows(encode: Encode, rows: Rows, on_rows: Callable[[int], None] | None = None) -> Sequence[Example]:
    """All rows encoded, in order, a chunk at a time; kept compact, and on disk where they are many."""
    found = TokensBuilder()
    chunk: list[Row] = []
    characters = 0

    def flush() -> None:
        if chunk:
            found.add(encode(chunk))
            if on_rows is not None:
                on_rows(len(chunk))
            chunk.clear()

    for row in rows:
        chunk.append(row)
        characters += sum(map(_characters, row.values()))
        characters += ENCODE_CHARACTERS // FILES_AT_A_TIME if "image" in row or "audio" in row else 0
        if len(chunk) >= ENCODE_CHUNK or characters >= ENCODE_CHARACTERS:
            flush()
            characters = 0
    flush()
    return found.finish()


def _characters(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_characters, value))
    return len(value) if isinstance(value, str) else 0


def batches_by_length(sizes: npt.ArrayLike, rows_per_batch: int | None, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Row numbers, longest first, so that little is padded and memory is asked for at the start.

    Where no number of rows is given, as many as make `tokens_per_batch` together, padding included.
    """
    longest_first = np.asarray(sizes, dtype=np.int64)
    order = np.argsort(-longest_first, kind="stable")
    start = 0
    while start < len(order):
        rows = rows_per_batch or max(1, tokens_per_batch // max(1, int(longest_first[order[start]])))
        yield order[start : start + rows]
        start += rows


def tokens_per_batch(device: torch.device) -> int:
    """What keeps a device busy: on a CPU no more than its caches hold well, elsewhere as much as fills it."""
    return 4096 if device.type == "cpu" else 65536


def run_model(
    task: Task,
    model: nn.Module,
    examples: Sequence[Example],
    precision: Precision,
    rows_per_batch: int | None,
    on_rows: Callable[[int], None] | None = None,
    *,
    together: bool = False,
) -> tuple[list[Prediction], float | None]:
    """Predictions in the order of `examples`, and the mean loss where the examples carry answers.

    A batch that does not fit into memory is halved; OutOfMemoryError where one row alone does not. With `together` the
    processes of a run each do a part of the batches, and all get all predictions.
    """
    model.eval()
    predictions: list[Prediction | None] = [None] * len(examples)
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    most = tokens_per_batch(precision.device)
    batches = list(batches_by_length(lengths(examples), rows_per_batch, most))
    shared = is_shared(next(model.parameters()))
    waiting, spare = _dealt(batches, shared=shared) if together else (batches[::-1], 0)
    with torch.no_grad() if shared else torch.inference_mode():
        while waiting:
            rows = waiting.pop()
            counts_for_nothing = len(waiting) < spare
            batch = task.collate([examples[int(i)] for i in rows])
            has_answers = "labels" in batch
            term_counts = task.counts(batch) if has_answers else {}
            try:
                batch = to_device(batch, precision.device)
                with precision.autocast():
                    outputs = task.forward(model, batch)
                    sums = task.losses(outputs, batch) if has_answers else {}
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(rows) == 1 or shared:
                    raise too_large(precision.device, batch) from None
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                continue
            if counts_for_nothing:
                continue
            for term, value in sums.items():
                totals[term] = totals.get(term, 0.0) + float(value)
                counts[term] = counts.get(term, 0) + term_counts[term]
            for i, prediction in zip(rows, task.decode(outputs, batch), strict=True):
                predictions[int(i)] = prediction
            if on_rows is not None:
                on_rows(len(rows))
    if shared:
        part_again(model)
    if together:
        predictions, totals, counts = _put_together(predictions, totals, counts)
    loss = sum(totals[t] / max(1, counts[t]) for t in totals) if totals else None
    return [p for p in predictions if p is not None], loss


def _dealt(batches: list[np.ndarray], *, shared: bool) -> tuple[list[np.ndarray], int]:
    """The batches that are this process', the first one last; and how many at the list's begin are another's: of a
    `shared` model whoever has a batch less has to take part all the same."""
    own = batches[world.rank() :: world.size()]
    spare = -(-len(batches) // world.size()) - len(own) if shared else 0
    return [*batches[:1] * spare, *own[::-1]], spare


def _put_together(
    predictions: list[Prediction | None], totals: dict[str, float], counts: dict[str, int]
) -> tuple[list[Prediction | None], dict[str, float], dict[str, int]]:
    """What all processes of a run have found."""
    mine = {i: prediction for i, prediction in enumerate(predictions) if prediction is not None}
    parts = world.gathered((mine, totals, counts))
    for theirs, _, _ in parts:
        for i, prediction in theirs.items():
            predictions[i] = prediction
    terms = sorted({term for _, sums, _ in parts for term in sums})
    return (
        predictions,
        {term: sum(sums.get(term, 0.0) for _, sums, _ in parts) for term in terms},
        {term: sum(found.get(term, 0) for _, _, found in parts) for term in terms},
    )
