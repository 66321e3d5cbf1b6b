"""A learning curve: how good a model is by the number of rows it was trained on, alone and after transfer."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.reports.loss_curve import BLUE, GREY, tidy
from ftcli.reports.markdown import escape

Curve = Mapping[str, Any]
"""What curve.json holds: ``metric``, ``better``, ``arms``, ``sizes``, ``seeds``, ``rows`` (of each size) and ``cells``
(``{"arm", "size", "seed", "value"}``); ``points`` is made of these by `points`."""
ARMS = {"target_only": "target only", "transfer": "transfer"}
"""Names of the two ways, and the same for people."""


def points(curve: Curve) -> list[dict[str, Any]]:
    """For each size what each arm reached, and the gain of transfer: values by seed, their mean and spread.

    The spread is the sample standard deviation (None for one seed). The gain pairs runs of one seed, which were trained
    on the same rows; where less of the metric is better it is what was taken off.
    """
    value = {(cell["arm"], cell["size"], cell["seed"]): cell["value"] for cell in curve["cells"]}
    found = []
    for size in curve["sizes"]:
        point: dict[str, Any] = {"size": size, "rows": curve["rows"][size]}
        for arm in curve["arms"]:
            point[arm] = spread([value[arm, size, s] for s in curve["seeds"] if (arm, size, s) in value])
        if len(curve["arms"]) == 2:
            both = [s for s in curve["seeds"] if all((arm, size, s) in value for arm in ARMS)]
            sign = 1 if curve["better"] == "higher" else -1
            point["gain"] = spread([sign * (value["transfer", size, s] - value["target_only", size, s]) for s in both])
        found.append(point)
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Values, their mean and their sample standard deviation."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def as_text(curve: Curve) -> str:
    """The table for a terminal."""
    rows = _rows(curve)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([_caption(curve), *lines]) + "\n"


def as_markdown(curve: Curve) -> str:
    """curve.md: the table, the picture, and where the figures are from."""
    header, *rows = _rows(curve)
    ruler = ["--:"] * len(header)
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows))
    return f"# Learning curve\n\n{escape(_caption(curve))}\n\n{table}\n\n![learning curve](curve.png)\n"


def _caption(curve: Curve) -> str:
    seeds = ", ".join(map(str, curve["seeds"]))
    several = f"mean (standard deviation) over seeds {seeds}" if len(curve["seeds"]) > 1 else f"seed {seeds}"
    start = f"{curve['model']} on {curve['data']}"
    source = f"; transfer from {curve['source']['name']}" if curve.get("source") else ""
    return f"{curve['metric']} on {curve['split']}, {several}: {start}{source}"


def _rows(curve: Curve) -> list[list[str]]:
    arms = list(curve["arms"])
    header = ["rows", *(ARMS[arm] for arm in arms), *(["gain"] if len(arms) == 2 else [])]
    found = [header]
    for point in curve["points"]:
        cells = [f"{point['rows']:,}", *(_figure(point[arm]) for arm in arms)]
        found.append([*cells, _figure(point["gain"], signed=True)] if len(arms) == 2 else cells)
    return found


def _figure(value: Mapping[str, Any], *, signed: bool = False) -> str:
    if value["mean"] is None:
        return "-"
    mean = f"{value['mean']:+.4f}" if signed else f"{value['mean']:.4f}"
    return mean if value["std"] is None else f"{mean} ({value['std']:.4f})"


def write_png(curve: Curve, path: Path) -> bool:
    """Draw the curve into `path`; False, and no file, where there is no point yet. Raises OSError where it cannot."""
    drawn = {arm: [p for p in curve["points"] if p[arm]["mean"] is not None] for arm in curve["arms"]}
    if not any(drawn.values()):
        return False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for arm, colour, marker, aside in (("target_only", GREY, "s", 0.985), ("transfer", BLUE, "o", 1.015)):
        own = drawn.get(arm)
        if own:
            rows = [point["rows"] * aside for point in own]  # so that bars of one size lie beside each other
            for place, point in zip(rows, own, strict=True):
                values = point[arm]["values"]
                axes.plot([place] * len(values), values, ".", color=colour, alpha=0.45, markersize=5)
            means = [point[arm]["mean"] for point in own]
            spreads = [point[arm]["std"] or 0.0 for point in own]
            axes.errorbar(
                rows, means, yerr=spreads, color=colour, marker=marker, markersize=5.5, linewidth=1.8, capsize=3.5,
                elinewidth=1.1, markeredgecolor="white", markeredgewidth=0.8, label=ARMS[arm],
            )  # fmt: skip
    rows = sorted({point["rows"] for own in drawn.values() for point in own})
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel("labelled rows of the target")
    axes.set_ylabel(f"{curve['metric']} on {curve['split']}")
    if len(drawn) > 1:
        axes.legend(frameon=False, loc="best")
    tidy(axes)
    canvas.print_figure(path, format="png", metadata={"Software": None})
    return True
