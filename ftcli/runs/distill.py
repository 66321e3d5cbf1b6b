"""`ftcli distill`: a small model learns a task from a large one, scored beside it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace as replace_parts
from functools import partial
from typing import Any, cast

from ftcli.contract import Data, Example, Rows
from ftcli.data.load import load as load_data
from ftcli.distillation.distilled import Distilled, Transfer, move_in, move_out
from ftcli.distillation.teachers import SelfTaught, TeacherRows
from ftcli.distillation.terms import INSIDE, Terms
from ftcli.engine.evaluate import encode_rows
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.seeding import seed_everything
from ftcli.errors import DataError, UsageError
from ftcli.models.load import Source
from ftcli.models.methods import METHODS
from ftcli.models.states import Capture
from ftcli.recipe.load import replace
from ftcli.recipe.schema import Recipe
from ftcli.recipe.task_schema import Seq2SeqRecipe
from ftcli.runs import pretrain, training
from ftcli.runs.beside import side_by_side
from ftcli.runs.distill_checks import check_form, check_task, check_tokens_told, settled
from ftcli.runs.encode import encode
from ftcli.runs.journal import Journal
from ftcli.runs.lesson import check_tokens, further_rows, hard_loss, rows_seen, same_tokens, shape_of, tokens_per_image
from ftcli.runs.parts import (
    Parts,
    build,
    check_columns,
    drop_unknown,
    gathers,
    label_names,
    look_up,
    task_class,
)
from ftcli.runs.recognise import recognised
from ftcli.runs.results import build_report, settle, write_model, write_reports
from ftcli.runs.speed import unanswered
from ftcli.runs.students import cut_student
from ftcli.runs.teachers import FURTHER, SELF, Classroom, Teacher, agree, open_teachers, teacher_names
from ftcli.runs.tokenizer import with_tokenizer
from ftcli.runs.training import Result, Session
from ftcli.runs.writing import rewritten
from ftcli.trackers.console import Console

SPLITS = ("train", "validation", "test")


def run(
    recipe: Recipe,
    console: Console,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Result:
    """Distill by `recipe` and write the run folder; see `training.run`."""
    recipe = settled(recipe)
    if recipe.objective is not None:
        from ftcli.runs import general

        return general.run(recipe, console, resume=resume, deadline=deadline, stop_at=stop_at)
    if recipe.distill.until is not None:
        from ftcli.runs.ladder import climb

        return climb(recipe, console, resume=resume, deadline=deadline)
    return one(recipe, console, resume=resume, deadline=deadline, stop_at=stop_at)


def one(
    recipe: Recipe,
    console: Console,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Result:
    """One student."""
    work = Distillation()
    return training.run(
        "distill", recipe, console, work.assemble, work.train, resume=resume, deadline=deadline, stop_at=stop_at
    )


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`; see `training.check`."""
    recipe = settled(recipe)
    if recipe.objective is not None:
        from ftcli.runs import general

        return general.check(recipe, console)
    work = Distillation()
    return training.check(recipe, console, work.assemble, work.sample)


def stage(recipe: Recipe) -> tuple[Recipe, training.Steps]:
    """The recipe and the steps of a stage of a chain: one student."""
    recipe = settled(recipe)
    if recipe.distill.until is not None:
        raise UsageError("distill.until tries one student after the other, and a stage is one run", hint="leave it out")
    if recipe.objective is not None:
        from ftcli.runs.general import Generally

        generally = Generally()
        return recipe, training.Steps(generally.assemble, generally.train, pretrain.sample)
    work = Distillation()
    return recipe, training.Steps(work.assemble, work.train, work.sample)


class Distillation:
    """A run: its teachers, its student, and the story from rows to report."""

    def __init__(self) -> None:
        self.teachers: list[Teacher] = []
        self.cut: Source | None = None
        self.untaught: Any = None
        """The task as it is before a student of it is trained."""
        self.given: Data | None = None
        """The data as it was read, where the student learns what its teacher writes."""

    # Assembly -------------------------------------------------------------------------------------------------

    def assemble(self, recipe: Recipe, console: Console) -> Parts:
        """Teachers, student, data and task. Cheap things are checked first."""
        place, source = look_up(recipe, console)
        inside = any(getattr(recipe.distill, name) for name in INSIDE)
        self.teachers = open_teachers(recipe, inside=inside, console=console)
        if self.teachers and recipe.task == "auto":
            recipe = replace(recipe, task=self.teachers[0].trained.task.name)
        recipe = recognised(recipe, source, console)
        kind = task_class(recipe, source)
        check_task(kind, recipe, source, len(teacher_names(str(recipe.teacher.name))), inside=inside)
        for teacher in self.teachers:
            if teacher.trained.task.name != kind.name:
                raise UsageError(
                    f"teacher {teacher.name} does {teacher.trained.task.name}, the student {kind.name}",
                    hint=f"ftcli finetune --model {teacher.name} --data D makes one of it",
                )
        if self.teachers and recipe.train.max_length is None and source.tokenizer is not None:
            longest = self.teachers[0].trained.recipe.train.max_length
            recipe = replace(recipe, train__max_length=min(source.longest, longest or source.longest))
        if self.teachers and recipe.seq2seq == Seq2SeqRecipe():
            recipe = replace_parts(recipe, seq2seq=self.teachers[0].trained.recipe.seq2seq)
        aside = inside or any(name == SELF for name, _ in teacher_names(str(recipe.teacher.name)))
        if aside and METHODS.part(recipe.method.name).keeps_base:
            raise UsageError(
                f"method {recipe.method.name} goes with distill.soft and distill.labels, and a teacher of its own",
                hint="--method full",
            )
        data = load_data(
            recipe.data, kind.columns, seed=recipe.seed, splits=SPLITS, row_fault=kind.row_fault, gathers=gathers(kind)
        )
        check_columns(data, kind.columns, console)
        if source.processor is None and self.teachers and getattr(kind.soft_form, "of_tokens", False):
            first = self.teachers[0]
            source = source.with_tokenizer(copy.deepcopy(first.trained.source.tokenizer))
            console.note(f"tokenizer of {first.name}: {len(source.tokenizer or ()):,} entries")
        source = with_tokenizer(source, data, recipe, kind.columns, console)
        further = further_rows(recipe, data, kind, source, console)
        source = cut_student(source, [data.splits["train"], *further.values()], recipe, console)
        task = kind(source.processor, source.max_length(recipe.train.max_length), recipe)
        self._labels(task, data, recipe, console)
        check_form(task)
        data = self._with_further(drop_unknown(task, data, recipe.data), further)
        task.first_only = task.first_only and not inside
        self.untaught = copy.copy(task)
        seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
        parts = build(recipe, console, place, source, data, task)
        self.cut = source
        return replace_parts(parts, learner=self._learner(parts, console))

    def _labels(self, task: Any, data: Data, recipe: Recipe, console: Console) -> None:
        """The teachers' label set; where the task has none, or nobody teaches, what the training split says."""
        names = label_names(recipe.data, data)
        if self.teachers:
            task.adopt(getattr(self.teachers[0].model, "config"))  # noqa: B009
        if not self.teachers or not hasattr(task, "labels"):
            task.fit_labels(data.all_train or data.splits["train"], names)
            for note in task.notes:
                console.note(note)
        if not self.teachers:
            return
        if note := task.align(names):
            console.note(note)
        problems = task.check_rows(data.splits["train"])
        if problems:
            raise DataError(
                f"{len(problems):,} training rows have labels that the teacher does not tell; the first: {problems[0]}",
                hint="a teacher fine-tuned on the same labels, or --set data.label_names=...",
            )
        if hasattr(task, "labels"):
            agree(self.teachers, task.labels)
        for teacher in self.teachers:
            teacher.trained.task.align(names)

    def _with_further(self, data: Data, further: dict[str, Rows]) -> Data:
        """The data with what a resumed run has to find unchanged: further rows, and who teaches."""
        prints = {name: rows.fingerprint() for name, rows in further.items()}
        prints |= {f"teacher {i + 1}": t.content for i, t in enumerate(self.teachers)}
        return replace_parts(data, splits={**data.splits, **further}, fingerprints={**data.fingerprints, **prints})

    def _learner(self, parts: Parts, console: Console) -> Distilled:
        """What the loop trains: the task, learnt from the teachers."""
        recipe, task, student = parts.recipe, parts.task, parts.model
        tokens = tokens_per_image(parts.source, task, student)
        first = self.teachers[0] if self.teachers else None
        same = first is not None and same_tokens(parts, first, tokens)
        shape = None if first is None else shape_of(first.model, first.name)
        terms = Terms(recipe.distill, shape_of(student, parts.source.name), shape, same_tokens=same)
        for note in terms.notes:
            console.note(note)
        for teacher in self.teachers:
            teacher.asked.tokens_per_row = tokens_per_image(teacher.trained.source, teacher.trained.task, teacher.model)
        if first is not None:
            first.asked.capture = Capture(first.model, terms.of_teacher, first.name)
        names = teacher_names(str(recipe.teacher.name))
        ordered = [share for name, share in names if name != SELF] + [share for name, share in names if name == SELF]
        form = cast(Any, task).soft_form
        check_tokens_told(form, terms, first)
        made = Distilled(task, form, hard_loss(parts), terms, student, ordered, parts.source.name, tokens)
        averages = [SelfTaught(task, student, recipe.teacher.ema) for name, _ in names if name == SELF]
        made.teachers = cast("list[TeacherRows]", averages)
        device = next(student.parameters()).device
        made.projections.to(device)
        move_in(student, made)
        return made

    # Training -------------------------------------------------------------------------------------------------

    def classroom(self, session: Session) -> Classroom:
        """The teachers before the rows of the run."""
        return Classroom(self.teachers, session.parts.data.splits, session.parts.recipe, session.console, session.stop)

    def train(self, session: Session) -> dict[str, Any]:
        """The story of a run: what the teachers say, then the student, then both scored."""
        splits = ["train", *(name for name in FURTHER if name in session.parts.data.splits)]
        if session.parts.recipe.distill.sequences:
            self.given = session.parts.data
            session.parts = rewritten(session, self.teachers[0], splits)
        parts, console = session.parts, session.console
        recipe, data = parts.recipe, parts.data
        examples = self._examples(session, splits)
        validation = encode(parts, "validation", console, session.stop)
        classroom = self.classroom(session)
        self._seat(parts, classroom, splits, examples, rows_seen(recipe, len(examples)))

        def place(row: int) -> str:
            part, at = examples.place(row)
            return data.splits[splits[part]].place(at)

        return training.fit(
            session, examples, validation, partial(self.finish, session, classroom, validation), place=place
        )

    def _examples(self, session: Session, splits: Sequence[str]) -> Transfer:
        """What the student reads: all of it without answers where some of it has none."""
        parts, console, stop = session.parts, session.console, session.stop
        answered = encode(parts, "train", console, stop)
        if splits == ["train"] or parts.recipe.distill.sequences:
            return Transfer([answered, *(encode(parts, split, console, stop) for split in splits[1:])])
        rows, columns = parts.data.splits["train"], parts.task.columns
        plain = encode_rows(lambda part: parts.task.encode([unanswered(row, columns) for row in part]), rows)
        return Transfer([plain, *(encode(parts, split, console, stop) for split in splits[1:])], answered)

    def _seat(
        self, parts: Parts, classroom: Classroom, splits: Sequence[str], examples: Sequence[Example], seen: int
    ) -> None:
        made = cast(Distilled, parts.learner)
        if made.terms.inside and made.terms.same_tokens and parts.source.tokenizer is not None:
            check_tokens(classroom, splits, examples)
        made.teachers = [*classroom.seats(splits, seen), *made.teachers]

    def sample(self, parts: Parts, rows: Rows) -> Sequence[Example]:
        """What training makes of some rows, its teachers asked for them."""
        examples = Transfer([encode_rows(parts.task.encode, rows)])
        recipe = replace(parts.recipe, teacher__cache="none")
        classroom = Classroom(self.teachers, {"train": rows}, recipe, Console(quiet=True), StopRequest())
        self._seat(parts, classroom, ["train"], examples, 0)
        return examples

    # The end --------------------------------------------------------------------------------------------------

    def finish(
        self, session: Session, classroom: Classroom, validation: Sequence[Example], journal: Journal
    ) -> dict[str, Any]:
        """Score the test split once with the best state, beside its teacher's answers; write model and reports."""
        parts, folder, console, best = session.parts, session.folder, session.console, session.best
        split = "test" if "test" in parts.data.splits else "validation"
        if split == "validation":
            console.warn("no test split: the report is of the validation split, on which the best state was chosen")
        move_out(parts.model)
        settle(parts, validation, console, session.stop)
        found = side_by_side(session, classroom, validation, split)
        report = build_report("distill", parts, split, found.student, found.seconds, gates=[])
        journal.final(split, found.student, step=best.step, epoch=best.epoch)
        write_model(parts, folder, report, best, validation, console)
        found.measure(session, classroom)
        if parts.recipe.distill.baseline:
            found.baseline = self._baseline(session)
        report["distillation"] = found.facts(session, classroom)
        folder.write("differences.jsonl", found.differences())
        write_reports(folder.path, report)
        return report

    def _baseline(self, session: Session) -> dict[str, Any]:
        from ftcli.runs.baseline import train_baseline

        assert self.cut is not None
        if self.given is not None:
            session.parts = replace_parts(session.parts, data=self.given)
        return train_baseline(session, self.cut, self.untaught)
