"""What renderings of a report have in common: which numbers to show, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]

AVERAGES = ("micro", "macro", "weighted")
MATRIX_CLASSES = 20
"""A confusion matrix of more classes is shown as its largest confusions."""
MOST_CONFUSED = 10
_IN_TABLE = {f"{name}_{average}" for name in ("precision", "recall", "f1") for average in AVERAGES}
_HEADLINES = ("accuracy", "f1_macro")
"""Metrics of the table that are also said in a line, with their interval."""


@dataclass(frozen=True)
class Line:
    """A row of the table; None is left blank."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def class_lines(report: Report) -> list[Line]:
    """A line per class, in the order of the model's ids."""
    return [Line(c["label"], c["precision"], c["recall"], c["f1"], c["support"]) for c in report.get("classes") or ()]


def average_lines(report: Report) -> list[Line]:
    """``accuracy`` (of one label a row), ``micro avg``, ``macro avg``, ``weighted avg``.

    What counts all alike is the micro average, also where the task has no other name for it than ``f1``.
    """
    metrics = report["metrics"]
    support = sum(line.support for line in class_lines(report))
    lines = [Line("accuracy", None, None, metrics.get("accuracy"), support)] if report.get("confusion_matrix") else []
    for average in AVERAGES:
        plain = average == "micro"
        precision, recall, f1 = (
            metrics.get(f"{name}_{average}", metrics.get(name) if plain else None)
            for name in ("precision", "recall", "f1")
        )
        if not precision is recall is f1 is None:
            lines.append(Line(f"{average} avg", precision, recall, f1, support))
    return lines


def headlines(report: Report) -> list[tuple[str, float | None, tuple[float, float] | None]]:
    """(metric, value, interval) of what the table does not show or what deserves a line; all without a table."""
    intervals = report.get("intervals") or {}
    shown = [
        name for name in report["metrics"] if name in _HEADLINES or name not in _IN_TABLE or not report.get("classes")
    ]
    return [(name, report["metrics"][name], intervals.get(name)) for name in shown]


def metric_cells(report: Report) -> list[tuple[str, str, str]]:
    """Name, value and interval of every metric, as a table of a task without classes shows them."""
    return [
        (name, figure(value), f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "")
        for name, value, interval in headlines(report)
    ]


def headline(name: str, value: float | None, interval: tuple[float, float] | None) -> str:
    """``accuracy 0.9100 (95 % interval 0.902 to 0.918)``."""
    within = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{name} {figure(value)}{within}"


def weakest(report: Report) -> int | None:
    """Index of the class with the lowest F1 among those that occur; None where all are equally good."""
    scores = {index: line.f1 or 0.0 for index, line in enumerate(class_lines(report)) if line.support > 0}
    if len(set(scores.values())) < 2:
        return None
    return min(scores, key=scores.__getitem__)


def most_confused(report: Report) -> list[tuple[str, str, int]]:
    """(true label, predicted label, rows) of the most frequent mistakes, most frequent first."""
    matrix = report["confusion_matrix"]
    labels = matrix["labels"]
    pairs = [
        (count, row, column)
        for row, counts in enumerate(matrix["rows"])
        for column, count in enumerate(counts)
        if count and row != column
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [(labels[row], labels[column], count) for count, row, column in pairs[:MOST_CONFUSED]]


def matrix_is_small(report: Report) -> bool:
    """Whether there is a confusion matrix worth drawing whole."""
    matrix = report.get("confusion_matrix")
    return matrix is not None and len(matrix["labels"]) <= MATRIX_CLASSES


def gate_line(gate: Mapping[str, Any]) -> str:
    """``accuracy >= 0.9: passed (0.9100)``."""
    outcome = "passed" if gate["passed"] else "FAILED"
    return f"{gate['metric']} {gate['op']} {gate['value']:g}: {outcome} ({figure(gate['actual'])})"


def origin(report: Report) -> str:
    """``text-classification of imdb (test, 25000 rows) by runs/x, 12.3 s, 406.5 rows/s``."""
    data, timing = report["data"], report.get("timing") or {}
    where = ", ".join(str(part) for part in (data.get("split"), f"{data['rows']} rows") if part)
    parts = [f"{report['task']} of {data.get('name')} ({where}) by {report['model']}"]
    if timing.get("seconds") is not None:
        parts.append(f"{timing['seconds']:.1f} s")
    if timing.get("samples_per_second") is not None:
        parts.append(f"{timing['samples_per_second']:.1f} rows/s")
    return ", ".join(parts)


def figure(value: float | None) -> str:
    """A metric to four places; ``n/a`` where there is none."""
    return "n/a" if value is None else f"{value:.4f}"
