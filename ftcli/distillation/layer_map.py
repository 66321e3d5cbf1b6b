"""Which layer of the teacher each layer of the student learns from."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.errors import UsageError


def layer_map(asked: str | Sequence[int], student: int, teacher: int) -> list[int]:
    """For each of the student's layers the number of its teacher layer, from 0.

    skip spreads them evenly and ends at the last, last takes the topmost ones (Sun et al. 2019, arXiv:1908.09355); a
    list says it outright. UsageError for a list that does not fit.
    """
    if asked == "skip":
        return [-(-(layer + 1) * teacher // student) - 1 for layer in range(student)]
    if asked == "last":
        return [max(0, teacher - student + layer) for layer in range(student)]
    assert not isinstance(asked, str)
    if len(asked) != student or not all(0 <= layer < teacher for layer in asked):
        raise UsageError(
            f"distill.layer_map is {list(asked)}; expected {student} numbers from 0 to {teacher - 1}, one for each of "
            "the student's layers",
            hint="--set distill.layer_map=skip",
        )
    return list(asked)


def evenly(count: int, of: int) -> list[int]:
    """`count` of `of` layers from 0, the first and the last among them; of one alone the first, which can read
    embeddings."""
    if count == 1:
        return [0]
    return [round(i * (of - 1) / (count - 1)) for i in range(count)]
