"""Student and teacher side by side: quality, size, speed measured in the same run, and where they differ."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ftcli.contract import Evaluation, Example, Prediction, Rows
from ftcli.contract_options import Judging, Verdict
from ftcli.distillable import Reversible
from ftcli.distillation.soft import mixed, stacked
from ftcli.engine.evaluate import run_model
from ftcli.engine.seeding import randomness_kept
from ftcli.metrics.gates import lower_is_better
from ftcli.runs.encode import encode
from ftcli.runs.results import answer
from ftcli.runs.speed import Runner, Speed, measure, on_cpu
from ftcli.runs.teachers import Classroom, open_as_used
from ftcli.runs.training import Session
from ftcli.tasks.writer import Writer
from ftcli.text import json_line, jsonable

SHOWN = 20
SCORED_AT_A_TIME = 256
TEXT_SHOWN = 200


@dataclass
class Found:
    """What scoring student and teacher gave."""

    split: str
    student: Evaluation
    student_validation: Evaluation
    teacher: Evaluation | None
    teacher_validation: Evaluation | None
    answers: Sequence[Prediction]
    teacher_answers: Sequence[Prediction]
    rows: Rows
    seconds: float
    speeds: dict[str, Speed] = field(default_factory=dict)
    speeds_cpu: dict[str, Speed] = field(default_factory=dict)
    baseline: dict[str, Any] | None = None
    verdicts: Sequence[Verdict] = ()
    """Of the student's answers, where the task can say which are right."""
    teacher_verdicts: Sequence[Verdict] = ()

    def measure(self, session: Session, classroom: Classroom) -> None:
        """How fast student and teacher are as predictions run them, the student as it lies in the run folder."""
        recipe = session.parts.recipe
        opened = {"student": [open_as_used(str(session.folder.path), recipe, precision=recipe.train.precision)]}
        if classroom.teachers:
            asked = recipe.teacher
            opened["teacher"] = [
                open_as_used(teacher.name, recipe, precision=asked.precision, max_length=asked.max_length)
                for teacher in classroom.teachers
            ]
        runners = {role: Runner([(t.task, t.model, t.precision) for t in of_role]) for role, of_role in opened.items()}
        with randomness_kept(session.parts.precision.device):
            columns = session.parts.task.columns
            self.speeds = measure(runners, self.rows, columns)
            on_host = session.parts.scoring.device.type == "cpu"
            self.speeds_cpu = self.speeds if on_host else on_cpu(runners, self.rows, columns)

    def facts(self, session: Session, classroom: Classroom) -> dict[str, Any]:
        """What report.json says of the distillation."""
        parts, recipe = session.parts, session.parts.recipe
        models = []
        if self.teacher is not None and self.teacher_validation is not None:
            models.append(
                self._model("teacher", str(recipe.teacher.name), self.teacher, self.teacher_validation)
                | {
                    "parameters": sum(count(t.model) for t in classroom.teachers),
                    "size_bytes": sum(size(t.trained.source.location, t.model) for t in classroom.teachers),
                }
            )
        own = {"parameters": count(parts.model), "size_bytes": size(str(session.folder.model), parts.model)}
        models.append(self._model("student", parts.source.name, self.student, self.student_validation) | own)
        if self.baseline is not None:
            alone = self.baseline
            models.append(
                {"role": "student alone", "name": parts.source.name, "metrics": alone["metrics"]}
                | {"intervals": alone["intervals"], **own}
            )
        metric = shown_metric(parts.task.main_metric, self.student)
        kept = None
        if self.teacher is not None and self.teacher.metrics[metric] and not lower_is_better(metric):
            kept = self.student.metrics[metric] / self.teacher.metrics[metric]
        train = {name: len(rows) for name, rows in parts.data.splits.items() if name not in ("validation", "test")}
        found = {
            "metric": metric,
            "kept": kept,
            "rows": train,
            "models": models,
            "agreement": self.agreement(),
            "differences": self._differences()[:SHOWN],
        }
        plain: dict[str, Any] = jsonable(found)
        return plain

    def _model(self, role: str, name: str, test: Evaluation, validation: Evaluation) -> dict[str, Any]:
        speed = self.speeds[role]
        cpu = self.speeds_cpu.get(role)
        return {
            "role": role,
            "name": name,
            "metrics": test.metrics,
            "intervals": test.intervals,
            "validation": validation.metrics,
            "latency_ms": {"p50": speed.p50, "p95": speed.p95},
            "rows_per_s": speed.rows_per_s,
            "cpu_ms_per_row": None if cpu is None else cpu.p50,
        }

    def agreement(self) -> dict[str, float] | None:
        """How often student and teacher answer alike, and who is right where they do not; None without a teacher, and
        for answers that are not right or wrong."""
        if not self.teacher_verdicts:
            return None
        pairs, total = list(zip(self.verdicts, self.teacher_verdicts, strict=True)), len(self.verdicts)
        return {
            "rate": sum(own.said == other.said for own, other in pairs) / total,
            "both_right": sum(own.right and other.right for own, other in pairs) / total,
            "teacher_only_right": sum(other.right and not own.right for own, other in pairs) / total,
            "student_only_right": sum(own.right and not other.right for own, other in pairs) / total,
            "both_wrong": sum(not own.right and not other.right for own, other in pairs) / total,
        }

    def _differences(self) -> list[dict[str, Any]]:
        found = []
        for i, (own, other) in enumerate(zip(self.verdicts, self.teacher_verdicts, strict=False)):
            if own.said != other.said:
                text = next((value for value in self.rows[i].values() if isinstance(value, str)), None)
                entry = {
                    "row": self.rows.place(i),
                    **({} if text is None else {"text": text[:TEXT_SHOWN]}),
                    "label": own.expected,
                    "teacher": other.said,
                    "student": own.said,
                }
                for role, answers in (("teacher", self.teacher_answers), ("student", self.answers)):
                    if "score" in answers[i]:
                        entry[f"{role}_score"] = answers[i]["score"]
                found.append(entry)
        return sorted(found, key=lambda entry: -sum(entry.get(f"{role}_score", 0) for role in ("teacher", "student")))

    def differences(self) -> str:
        """Every row that they answer differently, as JSON lines, the surest first."""
        return "".join(json_line(entry) + "\n" for entry in self._differences())


def side_by_side(session: Session, classroom: Classroom, validation: Sequence[Example], split: str) -> Found:
    """Student and teacher on `split` (scored once) and on the validation split."""
    parts, console, stop = session.parts, session.console, session.stop
    bootstrap = parts.recipe.eval.bootstrap
    examples = encode(parts, split, console, stop) if split != "validation" else validation
    began = time.perf_counter()
    student, answers = scored(session, split, examples, bootstrap=bootstrap)
    seconds = time.perf_counter() - began
    held = student
    if split != "validation":
        held, _ = scored(session, "validation", validation, bootstrap=0, keep=False)
    teacher = teacher_held = None
    teacher_answers: Sequence[Prediction] = ()
    if classroom.teachers:
        teacher, teacher_answers = taught(session, classroom, split, bootstrap)
        teacher_held = teacher if split == "validation" else taught(session, classroom, "validation", 0)[0]
    rows = parts.data.splits[split]
    found = Found(split, student, held, teacher, teacher_held, answers, teacher_answers, rows, seconds)
    if isinstance(parts.task, Judging):
        found.verdicts = parts.task.judge(rows, answers)
        if classroom.teachers:
            task: Any = classroom.teachers[0].trained.task
            found.teacher_verdicts = task.judge(rows, teacher_answers)
    return found


def shown_metric(main: str, evaluation: Evaluation) -> str:
    """What student and teacher are compared by: the task's main metric, or where less of that is better, as of a
    distance, the first of which more is."""
    if not lower_is_better(main):
        return main
    return next((name for name in evaluation.metrics if not lower_is_better(name)), main)


def scored(
    session: Session, split: str, examples: Sequence[Example], *, bootstrap: int, keep: bool = True
) -> tuple[Evaluation, list[Prediction]]:
    """The student on a split: what `results.score` gives, and the predictions behind it."""
    parts = session.parts
    if isinstance(parts.task, Writer):
        parts.task.rehearsal = not keep
    with randomness_kept(parts.precision.device):
        predictions, loss = answer(parts, split, examples, session.console, keep=keep, stop=session.stop)
        rows, seed = parts.data.splits[split], parts.recipe.seed
        evaluation = parts.task.score(rows, predictions, bootstrap=bootstrap, seed=seed)
    if loss is not None:
        evaluation.metrics = {"loss": loss, **evaluation.metrics}
    return evaluation, predictions


def taught(session: Session, classroom: Classroom, split: str, bootstrap: int) -> tuple[Evaluation, list[Prediction]]:
    """What the teachers together make of a split, as the first of them has the task: its thresholds, its units."""
    first, console = classroom.teachers[0], session.console
    task: Any = first.trained.task
    examples, rows = classroom.encoded(0, split), classroom.splits[split]
    loss: float | None
    if isinstance(task, Reversible):
        predictions, loss = _from_soft(classroom, task, examples, split)
    else:
        with (
            randomness_kept(first.trained.precision.device),
            console.progress(f"teacher on {split}", len(rows), "rows"),
        ):
            size = session.parts.recipe.teacher.batch_size
            predictions, loss = run_model(task, first.model, examples, first.trained.precision, size)
    evaluation = task.score(rows, predictions, bootstrap=bootstrap, seed=session.parts.recipe.seed)
    if loss is not None:
        evaluation.metrics = {"loss": loss, **evaluation.metrics}
    return evaluation, predictions


def _from_soft(
    classroom: Classroom, task: Any, examples: Sequence[Example], split: str
) -> tuple[list[Prediction], float]:
    """Predictions and mean loss out of the soft answers of all teachers."""
    given, shares = classroom.soft(split), [teacher.share for teacher in classroom.teachers]
    predictions: list[Prediction] = []
    total, count = 0.0, 0
    for start in range(0, len(examples), SCORED_AT_A_TIME):
        batch = task.collate(examples[start : start + SCORED_AT_A_TIME])
        soft = [stacked(of_one[start : start + SCORED_AT_A_TIME]) for of_one in given]
        outputs = task.outputs_of(mixed(task.soft_form, soft, shares), batch)
        total, count = total + float(task.losses(outputs, batch)["loss"]), count + task.counts(batch)["loss"]
        predictions += task.decode(outputs, batch)
    return predictions, total / max(1, count)


def count(model: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


def size(location: str | None, model: nn.Module) -> int:
    """Bytes of the weights on disk; of a model that lies elsewhere, what they would take in fp32."""
    folder = Path(location) if location is not None else None
    whole = folder is not None and folder.is_dir() and not (folder / "adapter_config.json").is_file()
    files = list(folder.glob("*.safetensors")) if folder is not None and whole else []
    return sum(file.stat().st_size for file in files) or 4 * count(model)
