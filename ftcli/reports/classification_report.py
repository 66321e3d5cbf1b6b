"""A report for people: scikit-learn's layout as plain text, and the same with colour on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from ftcli.reports import distillation, facts
from ftcli.reports.facts import Line, Report
from ftcli.text import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

HEADERS = ("precision", "recall", "f1-score", "support")
_TEXT_LABEL = 60
_RICH_LABEL = 20
"""Cells a label may take: with the numbers beside it a table on a terminal stays within 80 columns."""
_RICH_PAIR = 30
_RICH_MATRIX = 80
_WEAKEST = "<- weakest"


def as_text(report: Report) -> str:
    """Plain text: scikit-learn's table (four places, and always a ``micro avg`` row), then everything else in lines."""
    blocks = [_text_table(report)] if report.get("classes") else []
    if facts.matrix_is_small(report):
        blocks.append(_text_matrix(report))
    elif report.get("confusion_matrix"):
        blocks.append(_text_confusions(report, _TEXT_LABEL))
    if report.get("classes"):
        blocks.append("\n".join(facts.headline(*entry) for entry in facts.headlines(report)))
    else:
        blocks.append(_text_metrics(report))
    blocks.append(distillation.as_text(report))
    blocks.append("\n".join(f"gate {visible(facts.gate_line(gate))}" for gate in report.get("gates") or ()))
    blocks.append(visible(facts.origin(report)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _text_metrics(report: Report) -> str:
    """Every metric in a row, for tasks without classes."""
    rows = [("metric", "value", "95 % interval"), *facts.metric_cells(report)]
    if not any(interval for _, _, interval in rows[1:]):
        rows = [(name, value, "") for name, value, _ in rows]
    wide, high = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:<{wide}}  {value:>{high}}  {interval}".rstrip() for name, value, interval in rows)


def _text_table(report: Report) -> str:
    classes, averages = facts.class_lines(report), facts.average_lines(report)
    labels = [_cut(line.label, _TEXT_LABEL) for line in classes]
    width = max(cell_len(label) for label in [*labels, "weighted avg"])
    head = " " * width + " " + "".join(f" {header:>9}" for header in HEADERS)
    rows = [_text_row(label, line, width) for label, line in zip(labels, classes, strict=True)]
    ends = [_text_row(line.label, line, width) for line in averages]
    return "\n".join([head, "", *rows, "", *ends])


def _text_row(label: str, line: Line, width: int) -> str:
    numbers = "".join(f" {_blank_or(value):>9}" for value in (line.precision, line.recall, line.f1))
    return f"{_right(label, width)} {numbers} {line.support:>9}"


def _text_matrix(report: Report) -> str:
    rows = report["confusion_matrix"]["rows"]
    labels = _numbered(report, _RICH_LABEL)
    left = max(cell_len(label) for label in labels)
    column = _widest(rows) + 2
    head = " " * left + "".join(f"{f'[{index}]':>{column}}" for index in range(1, len(labels) + 1))
    body = [
        label + " " * (left - cell_len(label)) + "".join(f"{count:>{column}}" for count in counts)
        for label, counts in zip(labels, rows, strict=True)
    ]
    return "\n".join(["confusion matrix (rows: true, columns: predicted)", "", head, *body])


def _text_confusions(report: Report, width: int) -> str:
    pairs = facts.most_confused(report)
    lines = [f"{count:>9}  {_cut(true, width)} -> {_cut(predicted, width)}" for true, predicted, count in pairs]
    return "\n".join(["most frequent mistakes (rows, true -> predicted)", "", *lines]) if lines else ""


def as_rich(report: Report) -> RenderableType:
    """For a terminal of 80 columns or more: the weakest class marked, the confusion matrix shaded by share of a row."""
    from rich.console import Group
    from rich.text import Text

    blocks: list[RenderableType] = [_rich_table(report), _rich_weakest(report)] if report.get("classes") else []
    if report.get("confusion_matrix"):
        blocks.append(_rich_matrix(report) or _rich_confusions(report))
    if report.get("classes"):
        blocks += [Text(facts.headline(*entry), style="bold") for entry in facts.headlines(report)]
    else:
        blocks.append(_rich_metrics(report))
    if compared := distillation.as_text(report):
        blocks.append(Text(f"\n{compared}\n", no_wrap=True, overflow="fold"))
    for gate in report.get("gates") or ():
        blocks.append(Text(f"gate {visible(facts.gate_line(gate))}", style="green" if gate["passed"] else "bold red"))
    return Group(*blocks, Text(visible(facts.origin(report)), style="dim"))


def _rich_metrics(report: Report) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    for name, value, interval in facts.metric_cells(report):
        table.add_row(name, value, interval)
    return table


def _rich_table(report: Report) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    for header in HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    low = facts.weakest(report)
    for index, line in enumerate(facts.class_lines(report)):
        table.add_row(*_rich_cells(line, index == low))
    table.add_section()
    for line in facts.average_lines(report):
        table.add_row(*_rich_cells(line, False), style="bold" if line.label in ("accuracy", "macro avg") else None)
    return table


def _rich_cells(line: Line, is_weakest: bool) -> list[Text]:
    from rich.text import Text

    numbers = [_blank_or(value) for value in (line.precision, line.recall, line.f1)]
    cells = [_cut(line.label, _RICH_LABEL), *numbers, str(line.support), _WEAKEST if is_weakest else ""]
    style = "bold red" if is_weakest else "dim" if line.support == 0 else ""
    return [Text(cell, style=style) for cell in cells]


def _rich_weakest(report: Report) -> Text:
    """The weakest class once more below a table too long to be seen at a glance."""
    from rich.text import Text

    low, lines = facts.weakest(report), facts.class_lines(report)
    if low is None or len(lines) <= facts.MATRIX_CLASSES:
        return Text("", end="")
    line = lines[low]
    said = (
        f"weakest class: {_cut(line.label, _RICH_LABEL)} (f1-score {facts.figure(line.f1)}, support {line.support})\n"
    )
    return Text(said, style="bold red")


def _rich_confusions(report: Report) -> Text:
    from rich.text import Text

    return Text(_text_confusions(report, _RICH_PAIR) + "\n", no_wrap=True, overflow="ellipsis")


def _rich_matrix(report: Report) -> RenderableType | None:
    """The confusion matrix; None where it would not fit."""
    if not facts.matrix_is_small(report):
        return None
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = report["confusion_matrix"]["rows"]
    labels = _numbered(report, _RICH_LABEL)
    column = _widest(rows) + 1
    if max(map(cell_len, labels)) + 1 + column * len(labels) > _RICH_MATRIX:
        return None
    table = Table(box=None, padding=0, pad_edge=False, caption=" ")
    table.add_column("", no_wrap=True)
    for index in range(1, len(labels) + 1):
        table.add_column(f"[{index}]", justify="right", no_wrap=True, min_width=column)
    for index, (label, counts) in enumerate(zip(labels, rows, strict=True)):
        total = sum(counts) or 1
        shades = [_shade(count / total, index == place) for place, count in enumerate(counts)]
        numbers = [Text(f"{count:>{column}}", style=shade) for count, shade in zip(counts, shades, strict=True)]
        table.add_row(Text(f"{label} "), *numbers)
    return Group(Text("confusion matrix (rows: true, columns: predicted)", style="bold"), table)


def _shade(share: float, right: bool) -> str:
    """Green for what is right, red for mistakes; the larger the share of the true class's rows, the stronger."""
    if share == 0:
        return "dim"
    strong, rest = round(60 + 120 * share), round(30 * (1 - share))
    red, green = (rest, strong) if right else (strong, rest)
    return f"bold white on rgb({red},{green},{rest})"


def _numbered(report: Report, width: int) -> list[str]:
    """Labels with the numbers that stand above the columns."""
    labels = report["confusion_matrix"]["labels"]
    digits = len(str(len(labels))) + 2
    return [f"{f'[{index}]':>{digits}} {_cut(label, width)}" for index, label in enumerate(labels, 1)]


def _widest(rows: list[list[int]]) -> int:
    """Digits of the largest count, or the width of the last column's number where that is more."""
    return max(len(str(max(map(max, rows)))), len(f"[{len(rows)}]"))


def _blank_or(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _cut(label: object, width: int) -> str:
    """`label`, made harmless and at most `width` cells wide."""
    shown = visible(label)
    if cell_len(shown) <= width:
        return shown
    return set_cell_size(shown, width - 3).rstrip() + "..."


def _right(text: str, width: int) -> str:
    """`text` moved right by cells, not characters: wide scripts take two cells each."""
    return " " * (width - cell_len(text)) + text
