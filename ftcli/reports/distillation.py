"""What a report says of a distillation: student and teacher side by side, and of a ladder every student tried."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.reports import facts
from ftcli.reports.facts import Report
from ftcli.text import visible

Table = tuple[list[str], list[list[str]]]
NAME = 40
"""Characters of a model's name that are shown."""


def tables(report: Report) -> list[tuple[str, Table]]:
    """Headings and tables (header, rows) of what was compared; none in other reports."""
    about = report.get("distillation")
    if not about:
        return []
    found = [(f"student and teacher ({report['data']['split']})", _models(about))]
    if about.get("frontier"):
        found.append((f"students tried, until {about['until']}", _frontier(about)))
    return found


def sentences(report: Report) -> list[str]:
    """What else there is to say, a line each."""
    about = report.get("distillation") or {}
    found = []
    if about.get("kept") is not None:
        found.append(f"the student keeps {100 * about['kept']:.1f} % of its teacher's {about['metric']}")
    if agreement := about.get("agreement"):
        found.append(
            f"they agree on {100 * agreement['rate']:.1f} % of the rows; the teacher alone is right on "
            f"{100 * agreement['teacher_only_right']:.1f} %, the student alone on "
            f"{100 * agreement['student_only_right']:.1f} % of all (differences.jsonl lists them)"
        )
    return found


def as_text(report: Report) -> str:
    """Both as plain text; "" in other reports."""
    blocks = []
    for heading, (header, rows) in tables(report):
        widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
        lines = ["  ".join(_placed(cell, widths[i], i) for i, cell in enumerate(line)) for line in [header, *rows]]
        blocks.append("\n".join([heading, "", *(line.rstrip() for line in lines)]))
    said = "\n".join(sentences(report))
    return "\n\n".join(block for block in [*blocks, said] if block)


def _placed(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _models(about: Mapping[str, Any]) -> Table:
    metric = about["metric"]
    header = ["", metric, "95 % interval", "parameters", "MB", "ms/row p50", "p95", "rows/s"]
    rows = []
    for model in about["models"]:
        latency = model.get("latency_ms") or {}
        rows.append(
            [
                model["role"],
                facts.figure(model["metrics"].get(metric)),
                _interval(model.get("intervals", {}).get(metric)),
                f"{model['parameters']:,}",
                f"{model['size_bytes'] / 1e6:.1f}",
                _number(latency.get("p50"), 2),
                _number(latency.get("p95"), 2),
                _number(model.get("rows_per_s"), 0),
            ]
        )
    return header, rows


def _frontier(about: Mapping[str, Any]) -> Table:
    metric, bounds = about["metric"], [gate["metric"] for gate in about["frontier"][0]["gates"]]
    names = list(dict.fromkeys([metric, *bounds]))
    header = [
        "student",
        *(f"{name} (validation)" if name == metric else name for name in names),
        "parameters",
        "enough",
    ]
    rows = []
    for entry in about["frontier"]:
        values = [_number(entry["measured"].get(name), 4 if name == metric else 3) for name in names]
        enough = "yes" if all(gate["passed"] for gate in entry["gates"]) else "no"
        rows.append([_cut(entry["student"]), *values, f"{entry['measured']['parameters']:,.0f}", enough])
    return header, rows


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _cut(name: str) -> str:
    shown = visible(name)
    return shown if len(shown) <= NAME else f"...{shown[-NAME + 3 :]}"


def write_frontier(about: Mapping[str, Any], path: Path) -> None:
    """Draw quality (validation) against milliseconds per row into `path`, a point for each model.

    Raises OSError where the file cannot be written.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of building a cache of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    metric = about["metric"]
    entries = [*about["frontier"], {"student": "teacher", "measured": about["teacher_measured"], "gates": ()}]
    for entry in entries:
        x, y = entry["measured"]["cpu_ms_per_row"], entry["measured"][metric]
        enough = bool(entry["gates"]) and all(gate["passed"] for gate in entry["gates"])
        colour = "#6b7280" if not entry["gates"] else "#2f6fb3" if enough else "#d9731a"
        axes.plot([x], [y], "o", color=colour, markersize=7)
        axes.annotate(_cut(entry["student"]), (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set_xlabel("CPU milliseconds per row, one at a time")
    axes.set_ylabel(f"{metric} (validation)")
    axes.margins(0.15)
    axes.grid(color="#d1d5db", linewidth=0.6, alpha=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.print_figure(path, format="png", metadata={"Software": None})
