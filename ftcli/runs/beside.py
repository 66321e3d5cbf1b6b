"""Student and teacher side by side: quality, size, speed measured in the same run, and where they differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ftcli.contract import Evaluation, Example, Prediction, Row, Rows, Task
from ftcli.engine.evaluate import run_model
from ftcli.engine.precision import Precision, pick_precision
from ftcli.engine.seeding import randomness_kept
from ftcli.losses.distill import mixed_log_probabilities
from ftcli.losses.supervised import cross_entropy
from ftcli.runs.encode import encode
from ftcli.runs.results import answer
from ftcli.runs.teachers import Classroom, open_as_used
from ftcli.runs.training import Session
from ftcli.text import json_line, jsonable

LATENCY_ROWS, LATENCY_SECONDS = 200, 8.0
"""Rows that are predicted one at a time, by every model in turn, and how long that may take in all."""
WARM_UP = 3
THROUGHPUT_ROWS, THROUGHPUT_SECONDS = 1024, 4.0
ROUNDS = 3
SHOWN = 20
TEXT_SHOWN = 200


@dataclass(frozen=True)
class Runner:
    """A model, or several, as they predict rows."""

    models: Sequence[tuple[Any, nn.Module, Precision]]

    def __call__(self, rows: Sequence[Row]) -> None:
        for task, model, precision in self.models:
            run_model(task, model, task.encode(rows), precision, None)


@dataclass(frozen=True)
class Speed:
    """Milliseconds for one row from its text to its answer, and rows in a second when there are many."""

    p50: float
    p95: float
    rows_per_s: float


def measure(runners: Mapping[str, Runner], rows: Rows, *, seconds: float = LATENCY_SECONDS) -> dict[str, Speed]:
    """Each of `runners` on the same rows, in turn, so that what else the machine does falls on all of them."""
    chosen = [
        {k: v for k, v in rows[int(i)].items() if k != "label"}
        for i in np.linspace(0, len(rows) - 1, min(len(rows), LATENCY_ROWS)).astype(int)
    ]
    for run in runners.values():
        for row in chosen[:WARM_UP]:
            run([row])
    times: dict[str, list[float]] = {name: [] for name in runners}
    began = time.perf_counter()
    for row in chosen:
        for name, run in runners.items():
            times[name].append(_seconds(run, [row]))
        if time.perf_counter() - began > seconds:
            break
    slowest = max(float(np.median(of_one)) for of_one in times.values())
    count = max(1, min(THROUGHPUT_ROWS, int(THROUGHPUT_SECONDS / max(slowest, 1e-6)), len(rows)))
    many = [{k: v for k, v in rows[i].items() if k != "label"} for i in range(count)]
    each: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            each[name].append(count / _seconds(run, many))
    return {name: _speed(times[name], each[name]) for name in runners}


def _speed(times: Sequence[float], rates: Sequence[float]) -> Speed:
    p50, p95 = (1000 * float(np.percentile(times, p)) for p in (50, 95))
    return Speed(p50, p95, float(np.median(rates)))


def _seconds(run: Callable[[Sequence[Row]], None], rows: Sequence[Row]) -> float:
    began = time.perf_counter()
    run(rows)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


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
    labels: list[str] = field(default_factory=list)

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
            self.speeds = measure(runners, self.rows)
            on_host = session.parts.scoring.device.type == "cpu"
            self.speeds_cpu = self.speeds if on_host else on_cpu(runners, self.rows)

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
        metric = parts.task.main_metric
        kept = None
        if self.teacher is not None and self.teacher.metrics[metric]:
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
        """How often student and teacher answer alike, and who is right where they do not; None without a teacher."""
        if not self.teacher_answers:
            return None
        total = len(self.answers)
        pairs = [
            (own["prediction"], other["prediction"], truth)
            for own, other, truth in zip(self.answers, self.teacher_answers, self.labels, strict=True)
        ]
        return {
            "rate": sum(own == other for own, other, _ in pairs) / total,
            "both_right": sum(own == other == truth for own, other, truth in pairs) / total,
            "teacher_only_right": sum(other == truth != own for own, other, truth in pairs) / total,
            "student_only_right": sum(own == truth != other for own, other, truth in pairs) / total,
            "both_wrong": sum(truth not in (own, other) for own, other, truth in pairs) / total,
        }

    def _differences(self) -> list[dict[str, Any]]:
        found = []
        for i, (own, other) in enumerate(zip(self.answers, self.teacher_answers, strict=False)):
            if own["prediction"] != other["prediction"]:
                text = self.rows[i].get("text")
                found.append(
                    {
                        "row": self.rows.place(i),
                        **({} if text is None else {"text": str(text)[:TEXT_SHOWN]}),
                        "label": self.labels[i],
                        "teacher": other["prediction"],
                        "teacher_score": other["score"],
                        "student": own["prediction"],
                        "student_score": own["score"],
                    }
                )
        return sorted(found, key=lambda entry: -(entry["teacher_score"] + entry["student_score"]))

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
        teacher, teacher_answers = taught(session, classroom, split, examples, bootstrap)
        teacher_held = teacher if split == "validation" else taught(session, classroom, "validation", validation, 0)[0]
    rows = parts.data.splits[split]
    found = Found(split, student, held, teacher, teacher_held, answers, teacher_answers, rows, seconds)
    found.labels = names_of(parts.task, rows)
    return found


def scored(
    session: Session, split: str, examples: Sequence[Example], *, bootstrap: int, keep: bool = True
) -> tuple[Evaluation, list[Prediction]]:
    """The student on a split: what `results.score` gives, and the predictions behind it."""
    parts = session.parts
    with randomness_kept(parts.precision.device):
        predictions, loss = answer(parts, split, examples, session.console, keep=keep, stop=session.stop)
        rows, seed = parts.data.splits[split], parts.recipe.seed
        evaluation = parts.task.score(rows, predictions, bootstrap=bootstrap, seed=seed)
    if loss is not None:
        evaluation.metrics = {"loss": loss, **evaluation.metrics}
    return evaluation, predictions


def on_cpu(runners: Mapping[str, Runner], rows: Rows) -> dict[str, Speed]:
    """The same on the CPU, whatever the models run on otherwise."""
    device = torch.device("cpu")
    precision = pick_precision("fp32", device)
    moved = [(model, next(model.parameters()).device) for run in runners.values() for _, model, _ in run.models]
    for model, _ in moved:
        model.to(device)
    try:
        here = {name: Runner([(t, m, precision) for t, m, _ in run.models]) for name, run in runners.items()}
        return measure(here, rows)
    finally:
        for model, before in moved:
            model.to(before)


def names_of(task: Task, rows: Rows) -> list[str]:
    """The label of each row in the task's words."""
    labels: list[str] = getattr(task, "labels")  # noqa: B009
    to_id: Any = getattr(task, "_id")  # noqa: B009
    return [labels[to_id(value)] for value in rows.column("label")]


def taught(
    session: Session, classroom: Classroom, split: str, examples: Sequence[Example], bootstrap: int
) -> tuple[Evaluation, list[Prediction]]:
    """What the teachers together make of a split."""
    parts = session.parts
    logits = mixed_log_probabilities(classroom.logits(split), [t.share for t in classroom.teachers], 1.0)
    labels = torch.tensor([int(example["label"]) for example in examples])
    predictions = parts.task.decode(logits, {})
    evaluation = parts.task.score(parts.data.splits[split], predictions, bootstrap=bootstrap, seed=parts.recipe.seed)
    evaluation.metrics = {"loss": float(cross_entropy(logits, labels)) / len(labels), **evaluation.metrics}
    return evaluation, predictions


def count(model: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


def size(location: str | None, model: nn.Module) -> int:
    """Bytes of the weights on disk; of a model that lies elsewhere, what they would take in fp32."""
    folder = Path(location) if location is not None else None
    whole = folder is not None and folder.is_dir() and not (folder / "adapter_config.json").is_file()
    files = list(folder.glob("*.safetensors")) if folder is not None and whole else []
    return sum(file.stat().st_size for file in files) or 4 * count(model)
