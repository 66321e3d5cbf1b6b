"""report.md: the report as Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftcli.reports import distillation, facts
from ftcli.reports.facts import Line, Report
from ftcli.text import visible

_MARKS = re.compile(r"([\\`*{}\[\]#|~$@]|(?<!\w)_|_(?!\w)|:(?=[\w+-]+:))")
"""What starts markup inside a line: also :shortcodes:, and underscores except within a word."""


def as_markdown(report: Report) -> str:
    """A heading, the metrics with their intervals, the classes, the confusion matrix, the gates."""
    sections = ["# Evaluation report", escape(facts.origin(report)), _metrics(report)]
    if report.get("classes"):
        sections += ["## Classes", _classes(report)]
    if facts.matrix_is_small(report):
        sections += ["## Confusion matrix", "Rows: true labels; columns: predicted labels.", _matrix(report)]
    elif report.get("confusion_matrix") and facts.most_confused(report):
        sections += ["## Most frequent mistakes", _confusions(report)]
    for heading, (header, rows) in distillation.tables(report):
        sections += [f"## {escape(heading).capitalize()}", table(header, [[escape(c) for c in row] for row in rows])]
    sections += [escape(said) for said in distillation.sentences(report)]
    if report.get("gates"):
        sections += ["## Gates", "\n".join(f"- {escape(facts.gate_line(gate))}" for gate in report["gates"])]
    return "\n\n".join(sections) + "\n"


def escape(text: object) -> str:
    """`text` as it is, whatever Markdown or HTML it holds: nothing in it is taken as markup."""
    harmless = _MARKS.sub(r"\\\1", visible(text))
    return harmless.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    ruler = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ruler, *rows])


def _metrics(report: Report) -> str:
    intervals = report.get("intervals") or {}
    rows = []
    for name, value in report["metrics"].items():
        low, high = (f"{bound:.4f}" for bound in intervals.get(name) or ()) if intervals.get(name) else ("", "")
        rows.append([escape(name), facts.figure(value), f"{low} to {high}" if low else ""])
    return table(["metric", "value", "95 % interval"], rows)


def _classes(report: Report) -> str:
    low = facts.weakest(report)
    rows = [
        _class(escape(line.label) + (" (weakest)" if index == low else ""), line)
        for index, line in enumerate(facts.class_lines(report))
    ]
    ends = [_class(f"**{line.label}**", line) for line in facts.average_lines(report)]
    return table(["label", "precision", "recall", "f1-score", "support"], [*rows, *ends])


def _class(label: str, line: Line) -> list[str]:
    numbers = ["" if value is None else f"{value:.4f}" for value in (line.precision, line.recall, line.f1)]
    return [label, *numbers, str(line.support)]


def _matrix(report: Report) -> str:
    labels = [escape(label) for label in report["confusion_matrix"]["labels"]]
    rows = report["confusion_matrix"]["rows"]
    return table(
        ["true", *labels],
        [[label, *map(str, counts)] for label, counts in zip(labels, rows, strict=True)],
    )


def _confusions(report: Report) -> str:
    pairs = facts.most_confused(report)
    return table(
        ["true and predicted", "rows"],
        [[f"{escape(true)} → {escape(predicted)}", str(count)] for true, predicted, count in pairs],
    )
