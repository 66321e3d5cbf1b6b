"""What a model that writes makes of a few held-out rows, shown while it learns."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.contract import Row
from ftcli.engine.evaluate import run_model
from ftcli.engine.seeding import randomness_kept
from ftcli.runs.training import Session
from ftcli.tasks.writer import Writer

SHOWN = 2
"""Rows that are shown."""


def show(session: Session, asked: Sequence[tuple[str, Row]]) -> None:
    """What the model answers now to each of these rows, behind words that say what was asked."""
    parts = session.parts
    if not asked:
        return
    with randomness_kept(parts.precision.device):
        examples = parts.task.encode([row for _, row in asked])
        answers, _ = run_model(parts.task, parts.model, examples, parts.scoring, None)
    for (said, _), answer in zip(asked, answers, strict=True):
        session.console.info(f"  {said}\n  -> {answer['prediction']}")


def of_validation(session: Session) -> list[tuple[str, Row]]:
    """The first rows of the validation split, as far as the task has something to ask of them."""
    parts = session.parts
    rows, task = parts.data.splits["validation"], parts.task
    assert isinstance(task, Writer)
    found = [task.asked(rows[i]) for i in range(min(SHOWN, len(rows)))]
    return [each for each in found if each is not None]
