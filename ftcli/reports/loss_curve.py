"""The loss over a run's steps, from the records of its metrics.jsonl: in text for a terminal, and loss_curve.png."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Point = tuple[float, float]

WIDTH, HEIGHT = 70, 15
"""Characters and lines of the text at most."""
_ROWS = HEIGHT - 3  # without legend, axis and its figures
_NARROWEST = 54
_SMOOTH = 0.04
"""Share of the run over which the drawn training loss is averaged."""
BLUE, ORANGE, GREY = "#2f6fb3", "#d9731a", "#6b7280"


@dataclass(frozen=True)
class _Marks:
    """What a plot is drawn with. `dots` is the grid inside a character, (across, down)."""

    dots: tuple[int, int]
    train: str
    validation: str
    side: str
    tick: str
    corner: str
    floor: str
    foot: str


_ASCII = _Marks((1, 1), ".", "o", "|", "+", "+", "-", "+")
_BRAILLE = _Marks((2, 4), "⠒", "●", "│", "┤", "└", "─", "┬")
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Braille dots by column and row, as Unicode numbers them from U+2800."""


def series(records: Iterable[Mapping[str, Any]], split: str, value: str = "loss") -> list[Point]:
    """(step, value) of the records of `split`, by step; what is not a finite number, and closing scores, left out."""
    found = {
        record["step"]: float(record[value])
        for record in records
        if record.get("split") == split
        and not record.get("final")
        and _is_number(record.get("step"))
        and _is_number(record.get(value))
    }
    return sorted(found.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers from `low` to `high`, evenly apart: 1, 2 or 5 times a power of ten."""
    apart = (high - low) / max(1, most)
    if not apart > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(apart))
    for times in (1, 2, 5, 10):
        step = times * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if step >= apart * (1 - 1e-9) and last - first < most:
            return [number * step for number in range(first, last + 1)] or [low]
    return [low]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; none where there is no such file, and none of lines that are no records."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [record for record in found if isinstance(record, dict)]


# Text --------------------------------------------------------------------------------------------------------


def text_curve(records: Sequence[Mapping[str, Any]], width: int = WIDTH, ascii: bool = False) -> str:
    """Training and validation loss as text of `width` columns (54 to 70) and `HEIGHT` lines; "" where there is none.

    `ascii` keeps to characters that any stream can show; else lines are drawn in braille dots.
    """
    marks = _ASCII if ascii else _BRAILLE
    train, validation = series(records, "train"), series(records, "validation")
    both = [*train, *validation]
    if not both:
        return ""
    low, high = _span([loss for _, loss in both])
    last = max(1.0, max(step for step, _ in both))
    figures = _figures(ticks(low, high, 5))
    margin = max(len(text) for text in figures.values()) + 1
    columns = min(max(_NARROWEST, width), WIDTH) - margin - 1
    across, down = marks.dots

    def place(point: Point) -> tuple[int, int]:
        """Dot column from the left and dot row from the top."""
        right = round(point[0] / last * (columns * across - 1))
        return right, round((high - point[1]) / (high - low) * (_ROWS * down - 1))

    cells = _draw([place(point) for point in train], columns, marks)
    for step, loss in validation:
        column, row = place((step, loss))
        cells[row // down][column // across] = marks.validation
    labels = {place((0, value))[1] // down: text for value, text in figures.items()}
    named = [f"{marks.train} train"] * bool(train) + [f"{marks.validation} validation"] * bool(validation)
    lines = ["   ".join([f"{'':{margin}} loss over steps", *named])]
    for row in range(_ROWS):
        side = marks.tick if row in labels else marks.side
        lines.append(f"{labels.get(row, ''):>{margin - 1}} {side}{''.join(cells[row])}")
    lines += _steps_axis(last, columns, margin, marks)
    return "\n".join(line.rstrip() for line in lines)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) / 50 or abs(high) / 10 or 1.0
    return low - room, high + room


def _figures(values: Sequence[float]) -> dict[float, str]:
    """Values as short as tells them apart."""
    apart = min((abs(b - a) for a, b in pairwise(values)), default=0.0)
    digits = max(0, -math.floor(math.log10(apart) + 1e-9)) if apart else 2
    texts = [f"{value:.{digits}f}" for value in values]
    return dict(zip(values, texts if max(map(len, texts)) <= 8 else [f"{v:.3g}" for v in values], strict=True))


def _draw(dots: Sequence[tuple[int, int]], columns: int, marks: _Marks) -> list[list[str]]:
    """A line through the mean of each dot column, as characters."""
    across, down = marks.dots
    in_column: dict[int, list[int]] = {}
    for column, row in dots:
        in_column.setdefault(column, []).append(row)
    path = [(column, round(sum(rows) / len(rows))) for column, rows in sorted(in_column.items())]
    drawn = set(path)
    for (left, top), (right, bottom) in pairwise(path):
        length = max(right - left, abs(bottom - top))
        drawn |= {
            (round(left + (right - left) * i / length), round(top + (bottom - top) * i / length)) for i in range(length)
        }
    cells = [[0] * columns for _ in range(_ROWS)]
    for column, row in drawn:
        cells[row // down][column // across] |= _BITS[column % across][row % down]
    blank, base = " ", 0x2800
    if marks.dots == (1, 1):
        return [[marks.train if bits else blank for bits in line] for line in cells]
    return [[chr(base + bits) if bits else blank for bits in line] for line in cells]


def _steps_axis(last: float, columns: int, margin: int, marks: _Marks) -> list[str]:
    """The line under the plot with its marks, and their figures."""
    line, under = [marks.floor] * columns, [" "] * (margin + 1 + columns)
    end = 0
    for value in ticks(0, last, max(2, columns // 10)):
        if value != int(value):
            continue
        column, text = round(value / last * (columns - 1)), f"{int(value):,}"
        line[column] = marks.foot
        start = min(max(0, margin + 1 + column - len(text) // 2), len(under) - len(text))
        if start >= end:
            under[start : start + len(text)] = text
            end = start + len(text) + 1
    return [" " * margin + marks.corner + "".join(line), "".join(under)]


# Picture -----------------------------------------------------------------------------------------------------


def write_png(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the losses, and the learning rate below them, into `path`; False, and no file, where there is no loss.

    Raises OSError where the file cannot be written.
    """
    train, validation = series(records, "train"), series(records, "validation")
    if not train and not validation:
        return False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of building a cache of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = series(records, "train", "lr")
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if rates:
        losses, below = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        _draw_rates(below, rates)
    else:
        losses = below = figure.subplots()
    _draw_losses(losses, train, validation)
    for axes in {losses, below}:
        tidy(axes)
    below.set_xlabel("optimiser step")
    below.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    below.set_xlim(0, max(step for step, _ in [*train, *validation]) * 1.02 or 1)
    canvas.print_figure(path, format="png", metadata={"Software": None})
    return True


def _draw_losses(axes: Any, train: Sequence[Point], validation: Sequence[Point]) -> None:
    if train:
        even = smooth(train, _SMOOTH)
        axes.plot(*zip(*train, strict=True), color=BLUE, alpha=0.3, linewidth=1)
        axes.plot(*zip(*even, strict=True), color=BLUE, linewidth=1.8, label="train")
    if validation:
        marker = "o" if len(validation) <= 60 else None
        step, lowest = min(validation, key=lambda point: point[1])
        axes.plot(
            *zip(*validation, strict=True), color=ORANGE, linewidth=1.8, marker=marker, markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.8, label=f"validation, lowest {lowest:.4g} at step {step:,}",
        )  # fmt: skip
        axes.axhline(lowest, color=ORANGE, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.7, zorder=1)
    axes.margins(y=0.08)
    axes.set_ylabel("loss (nats)")
    axes.legend(frameon=False, loc="upper right")


def _draw_rates(axes: Any, rates: Sequence[Point]) -> None:
    axes.plot(*zip(*rates, strict=True), color=GREY, linewidth=1.2)
    axes.fill_between(*zip(*rates, strict=True), color=GREY, alpha=0.12, linewidth=0)
    axes.set_ylim(0, max(rate for _, rate in rates) * 1.2 or 1)
    axes.set_ylabel("learning rate", fontsize=8.5)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(8)


def tidy(axes: Any) -> None:
    """The look that all plots share: a light grid, no box."""
    axes.grid(color="#d1d5db", linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors="#374151", labelsize=9)


def smooth(points: Sequence[Point], share: float) -> list[Point]:
    """Each value averaged with its neighbours within `share` of the steps, as many on either side: the ends stay."""
    reach = max(0, round(len(points) * share / 2))
    found = []
    for i, (step, _) in enumerate(points):
        near = min(reach, i, len(points) - 1 - i)
        found.append((step, sum(value for _, value in points[i - near : i + near + 1]) / (2 * near + 1)))
    return found
