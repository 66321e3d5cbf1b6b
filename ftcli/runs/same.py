"""Whether trained models can be compared row by row: the same task, labels, rows and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ftcli.contract import Rows
from ftcli.contract_options import Verdict
from ftcli.errors import DataError, UsageError
from ftcli.runs.trained import Known
from ftcli.text import several

_NUMBERED = re.compile(r"(label_)?\d+", re.IGNORECASE)


def check_tasks(known: Sequence[Known]) -> None:
    """UsageError where one does another task than the first."""
    first = known[0]
    for other in known[1:]:
        if other.task.name != first.task.name:
            raise UsageError(
                f"{first.source.name} does {first.task.name} and {other.source.name} {other.task.name}: "
                "they have no metrics in common",
                hint="compare runs of one task",
            )


def check_labels(known: Sequence[Known]) -> None:
    """UsageError where one knows other labels than the first; their order does not matter."""
    for other in known[1:]:
        in_words_of(known[0], other)


def in_words_of(first: Known, other: Known) -> dict[str, str]:
    """Label of `other` -> the same label of `first`: by name, or by position where one of them has numbers for names.

    UsageError where they have not the same; empty for tasks without labels.
    """
    ours, theirs = _labels(first), _labels(other)
    if ours is None or theirs is None:
        return {}
    names = {label.casefold(): label for label in ours}
    if len(ours) == len(theirs):
        if names.keys() == {label.casefold() for label in theirs}:
            return {label: names[label.casefold()] for label in theirs}
        if any(all(_NUMBERED.fullmatch(label) for label in labels) for labels in (ours, theirs)):
            return dict(zip(theirs, ours, strict=True))
    raise UsageError(
        f"{first.source.name} knows other labels ({several(ours, 5)}) than {other.source.name} ({several(theirs, 5)}): "
        "averages over them cannot be compared",
        hint="compare runs that were trained for the same labels",
    )


def _labels(known: Known) -> list[str] | None:
    """The labels of a model in the order of their ids; None for a task without labels."""
    if not hasattr(known.task, "labels"):
        return None
    by_id = {int(number): str(name) for number, name in (known.source.config.id2label or {}).items()}
    return [by_id[number] for number in sorted(by_id)]


def check_rows(first: Known, other: Known, ours: Rows, theirs: Rows, *, own_data: bool) -> None:
    """UsageError where the rows are not the same, value by value and in the same order."""
    if ours.fingerprint() == theirs.fingerprint():
        return
    one, two = first.source.name, other.source.name
    if own_data and first.recipe.data.name != other.recipe.data.name:
        raise UsageError(
            f"{two} was trained on other data ({other.recipe.data.name}) than {one} ({first.recipe.data.name}), "
            "and their rows are not the same",
            hint="--data D scores both on the same rows",
        )
    where = f"{other.recipe.data.name} ({len(ours):,} and {len(theirs):,} rows)"
    raise UsageError(
        f"{one} and {two} read different rows from {where}: their columns, files or bad rows are other ones",
        hint="--data D with --text-column, --label-column or --columns settles what both of them read",
    )


def check_expected(
    known: Sequence[Known], verdicts: Sequence[list[Verdict] | None], rows: Rows
) -> list[list[Verdict] | None]:
    """The verdicts in the words of the first model; DataError where a row's answer is another one to another model."""
    first = verdicts[0]
    found: list[list[Verdict] | None] = [first]
    for model, own in zip(known[1:], verdicts[1:], strict=True):
        if first is None or own is None:
            found.append(own)
            continue
        words = in_words_of(known[0], model)
        said = [replace(v, expected=words.get(v.expected, v.expected), said=words.get(v.said, v.said)) for v in own]
        found.append(said)
        for row, (ours, theirs) in enumerate(zip(first, said, strict=True)):
            if ours.expected != theirs.expected:
                raise DataError(
                    f"{rows.place(row)}: the label is '{ours.expected}' to {known[0].source.name} and "
                    f"'{theirs.expected}' to {model.source.name}, which number their labels in other orders",
                    hint="--set data.label_names=... names the data's 0, 1, ... for all of them",
                )
    return found
