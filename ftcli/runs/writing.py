"""Sequence-level distillation: a student learns the texts that its teacher writes.

Kim & Rush 2016 (arXiv:1606.07947): the teacher's likeliest sequences (under ``generation.num_beams``, ``do_sample`` and
so on) stand for all that it could have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ftcli.contract import Row, Rows
from ftcli.data.rows import Origins, TableRows, TextColumn
from ftcli.engine.evaluate import run_model
from ftcli.engine.seeding import randomness_kept
from ftcli.runs.parts import Parts
from ftcli.runs.teachers import Teacher
from ftcli.runs.training import Session


def written_by(session: Session, teacher: Teacher, rows: Sequence[Row]) -> list[str]:
    """What the teacher writes for each row, as ``generation.*`` of the run says. Raises Leave where that is to stop."""
    task: Any = teacher.trained.task
    task.recipe = replace(task.recipe, generation=session.parts.recipe.generation)
    device = session.parts.precision.device
    with randomness_kept(device), session.console.progress("teacher writes", len(rows), "texts") as bar:

        def done(count: int) -> None:
            bar.advance(count)
            session.stop.leave_if_due()

        torch.manual_seed(session.parts.recipe.seed)  # of several processes each writes the same
        batch = session.parts.recipe.teacher.batch_size
        examples = task.encode(rows)
        answers, _ = run_model(task, teacher.model, examples, teacher.trained.precision, batch, on_rows=done)
    return [answer["prediction"] for answer in answers]


def rewritten(session: Session, teacher: Teacher, splits: Sequence[str]) -> Parts:
    """The run with the targets of these splits as the teacher writes them."""
    data = session.parts.data
    made: dict[str, Rows] = dict(data.splits)
    for split in splits:
        sources = [row["source"] for row in data.splits[split]]
        targets = written_by(session, teacher, [{"source": source} for source in sources])
        made[split] = columns_of({"source": sources, "target": targets}, data.splits[split])
    return replace(session.parts, data=replace(data, splits=made))


def columns_of(columns: Mapping[str, Sequence[str]], rows: Rows) -> TableRows:
    """Texts by role as the rows that stand for `rows`."""
    origins, made = Origins(), {role: TextColumn() for role in columns}
    origins.begin(rows.place)
    for number in range(len(rows)):
        origins.add(number)
        for role, column in made.items():
            column.add(columns[role][number])
    return TableRows({role: column.finish() for role, column in made.items()}, origins)
