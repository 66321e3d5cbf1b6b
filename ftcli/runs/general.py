"""`ftcli distill --objective`: a small language model learns from a large one while it is pretrained."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace as replace_parts
from functools import partial
from typing import Any, cast

from ftcli.contract import Evaluation, Objective
from ftcli.data.corpus import load_corpus
from ftcli.data.pieces import Pieces
from ftcli.distillation.distilled import move_in, move_out
from ftcli.distillation.general import General
from ftcli.distillation.terms import INSIDE, Terms
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.seeding import seed_everything
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.recipe.load import replace
from ftcli.recipe.schema import Recipe
from ftcli.runs import pretrain, training
from ftcli.runs.beside import count, size
from ftcli.runs.encode import arranged, held_out
from ftcli.runs.journal import Journal
from ftcli.runs.lesson import alike, shape_of
from ftcli.runs.parts import Parts, build, check_columns, look_up, task_class
from ftcli.runs.results import build_report, score, write_model, write_reports
from ftcli.runs.students import cut_student
from ftcli.runs.teachers import SELF, Teacher, open_teachers, teacher_names
from ftcli.runs.training import Result, Session
from ftcli.runs.writing import columns_of, written_by
from ftcli.trackers.console import Console

OBJECTIVES = ("mlm", "clm")
"""What can be learnt from a teacher token by token."""


def run(recipe: Recipe, console: Console, **given: Any) -> Result:
    """Distill by `recipe` and write the run folder; see `training.run`."""
    work = Generally()
    return training.run("distill", recipe, console, work.assemble, work.train, **given)


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`; see `training.check`."""
    return training.check(recipe, console, Generally().assemble, pretrain.sample)


def check_recipe(recipe: Recipe) -> None:
    """UsageError, naming it, for what a language model cannot be distilled by."""
    if recipe.objective not in OBJECTIVES:
        raise UsageError(
            f"objective {recipe.objective} cannot be distilled; {' and '.join(OBJECTIVES)} can, and tasks",
            hint="ftcli pretrain learns it without a teacher",
        )
    if any(name == SELF for name, _ in teacher_names(str(recipe.teacher.name))):
        raise UsageError("teacher.name self is for tasks", hint="--teacher M")
    for name in ("unlabelled", "augment", "baseline", "until"):
        if getattr(recipe.distill, name):
            raise UsageError(f"distill.{name} is for tasks", hint="leave it out")
    if recipe.distill.sequences and recipe.objective != "clm":
        raise UsageError("distill.sequences is for models that write (objective clm)", hint="leave it out")
    if recipe.corpus.stream:
        raise UsageError("corpus.stream is for ftcli pretrain", hint="leave it out")
    if recipe.pretrain.z_loss:
        raise UsageError("pretrain.z_loss does not go with distillation", hint="leave it out")


class Generally:
    """A run: its teachers, its student, and the story from texts to report."""

    def __init__(self) -> None:
        self.teachers: list[Teacher] = []

    def assemble(self, recipe: Recipe, console: Console) -> Parts:
        """Teachers, student, corpus and objective. Cheap things are checked first."""
        place, source = look_up(recipe, console)
        kind = task_class(recipe, source)
        self.teachers = open_teachers(
            recipe, inside=any(getattr(recipe.distill, name) for name in INSIDE), console=console
        )
        first = self.teachers[0]
        if source.tokenizer is None:
            source = source.with_tokenizer(copy.deepcopy(first.trained.source.tokenizer))
            console.note(f"tokenizer of {first.name}: {len(source.tokenizer or ()):,} entries")
        for teacher in self.teachers:
            check_vocabulary(source, teacher)
        if recipe.train.max_length is None:
            longest = min(source.longest, *(teacher.trained.source.longest for teacher in self.teachers))
            recipe = replace(recipe, train__max_length=min(longest, source.max_length(None)))
        data = load_corpus(recipe.data, recipe.corpus, kind.columns, seed=recipe.seed)
        check_columns(data, kind.columns, console)
        source = cut_student(source, [], recipe, console)
        objective = kind(source.processor, source.max_length(recipe.train.max_length), recipe)
        prints = {f"teacher {i + 1}": teacher.content for i, teacher in enumerate(self.teachers)}
        data = replace_parts(data, fingerprints={**data.fingerprints, **prints})
        seed_everything(recipe.seed, deterministic=recipe.train.deterministic)
        parts = build(recipe, console, place, source, data, objective)
        names = parts.source.name, first.name
        shapes = shape_of(parts.model, names[0]), shape_of(first.model, names[1])
        terms = Terms(recipe.distill, *shapes, same_tokens=True)
        for note in terms.notes:
            console.note(note)
        models, shares = [t.model for t in self.teachers], [t.share for t in self.teachers]
        learner = General(objective, terms, parts.model, models, shares, names, first.trained.precision.autocast)
        learner.projections.to(place.device)
        move_in(parts.model, learner)
        return replace_parts(parts, learner=learner)

    def train(self, session: Session) -> dict[str, Any]:
        """The story of a run: as in pretraining, the teachers asked about every batch."""
        if session.parts.recipe.distill.sequences:
            session.parts = written(session, self.teachers[0])
        parts, console = session.parts, session.console
        examples = arranged(parts, "train", console, session.stop)
        validation = held_out(parts, "validation", console, session.stop)
        data, objective = parts.data, cast(Objective, parts.task)
        baseline = objective.baseline(examples, validation)
        return training.fit(
            session,
            examples,
            validation,
            partial(self.finish, session, validation, baseline),
            draw=drawing(objective.corrupt, parts.recipe.seed),
            place=lambda row: data.splits["train"].place(
                examples.document(row) if isinstance(examples, Pieces) else row
            ),
        )

    def finish(
        self, session: Session, validation: Corrupted, baseline: dict[str, float], journal: Journal
    ) -> dict[str, Any]:
        """Score the held-out part with the best state, and with its teachers; write model and reports."""
        parts, best, console = session.parts, session.best, session.console
        move_out(parts.model)
        began = time.perf_counter()
        evaluation = score(parts, "validation", validation, console, bootstrap=0, stop=session.stop)
        seconds = time.perf_counter() - began
        evaluation.metrics |= baseline
        of_teachers = [
            score(
                replace_parts(parts, model=t.model, scoring=t.trained.precision), "validation", validation, console,
                bootstrap=0, stop=session.stop,
            )
            for t in self.teachers
        ]  # fmt: skip
        pretrain.give_back_dropout(parts)
        report = build_report("distill", parts, "validation", evaluation, seconds, gates=[])
        journal.final("validation", evaluation, step=best.step, epoch=best.epoch)
        write_model(parts, session.folder, report, best, (), console)
        report["distillation"] = self._facts(session, evaluation, of_teachers)
        write_reports(session.folder.path, report)
        pretrain.draw_curve(session)
        return report

    def _facts(self, session: Session, student: Evaluation, teachers: Sequence[Evaluation]) -> dict[str, Any]:
        parts = session.parts
        models = [
            {"role": "teacher", "name": t.name, "metrics": e.metrics, "parameters": count(t.model)}
            | {"size_bytes": size(t.trained.source.location, t.model)}
            for t, e in zip(self.teachers, teachers, strict=True)
        ]
        own = {"parameters": count(parts.model), "size_bytes": size(str(session.folder.model), parts.model)}
        models.append({"role": "student", "name": parts.source.name, "metrics": student.metrics, **own})
        rows = {"train": len(parts.data.splits["train"])}
        return {"metric": "loss", "kept": None, "rows": rows, "models": models, "agreement": None, "differences": []}


def written(session: Session, teacher: Teacher) -> Parts:
    """The run with training texts that go on after their first half as the teacher would have it."""
    rows = session.parts.data.splits["train"]
    prompts = [text[: _middle(text)] for text in (str(row["text"]) for row in rows)]
    texts = written_by(session, teacher, [{"text": prompt} for prompt in prompts])
    made = columns_of({"text": [prompt + text for prompt, text in zip(prompts, texts, strict=True)]}, rows)
    data = session.parts.data
    return replace_parts(session.parts, data=replace_parts(data, splits={**data.splits, "train": made}))


def _middle(text: str) -> int:
    """Where the second half of the words begins, the space before it counted to it."""
    words = text.split()
    kept = max(1, len(words) // 2)
    place = 0
    for word in words[:kept]:
        place = text.index(word, place) + len(word)
    return place


def check_vocabulary(source: Source, teacher: Teacher) -> None:
    """UsageError where student and teacher do not read the same tokens."""
    if not alike(source.tokenizer, teacher.trained.source.tokenizer):
        raise UsageError(
            f"{source.name} and its teacher {teacher.name} cut texts into other tokens, whose probabilities cannot be "
            "compared",
            hint="--student preset:NAME takes the teacher's tokenizer, and so does --set student.layers=N",
        )
