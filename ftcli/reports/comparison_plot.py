"""compare.png: the differences to the baseline with their intervals, a panel for each run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BETTER, _WORSE, _OPEN = "#2f855a", "#c53030", "#6b7280"
_MOST = 12
"""Runs that are drawn."""


def write_png(report: Mapping[str, Any], path: Path) -> bool:
    """Draw `report` into `path`; False, and no file, where no difference has an interval. OSError as of writing."""
    from ftcli.reports.comparison import judgement, metric_rows

    drawn = [
        (number, one, shown)
        for number, one in enumerate(report["comparisons"][:_MOST], 2)
        if (
            shown := {
                name: d
                for name, _ in metric_rows(report["runs"])
                if (d := one["differences"].get(name, {})).get("interval")
            }
        )
    ]
    if not drawn:
        return False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of building a cache of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(shown) for _, _, shown in drawn)
    across = min(len(drawn), 3)
    down = -(-len(drawn) // across)
    size = (2.2 + 3.6 * across, down * (1.2 + 0.32 * rows))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, (_, one, shown) in zip(panels, drawn, strict=False):
        for place, (name, found) in enumerate(shown.items()):
            low, high = found["interval"]
            colour = {"better": _BETTER, "worse": _WORSE}.get(judgement(name, found, report), _OPEN)
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([found["difference"]], [place], "o", color=colour, markersize=6, markeredgecolor="white")
        axes.axvline(0, color="#111827", linewidth=0.9)
        lower = report["lower_is_better"]
        axes.set_yticks(range(len(shown)), [f"{name}\n(lower is better)" if name in lower else name for name in shown])
        axes.set_title(_plain(one["model"]), fontsize=9.5, loc="left")
        axes.grid(axis="x", color="#d1d5db", linewidth=0.6, alpha=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=8.5, left=False)
        axes.locator_params(axis="x", nbins=5)
    panels[0].invert_yaxis()
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    figure.supxlabel(f"difference to {_plain(report['baseline'])}, 95 % paired bootstrap interval", fontsize=9)
    canvas.print_figure(path, format="png", metadata={"Software": None})
    return True


def _plain(name: str) -> str:
    """A name as the plot can show it: its end, without what would be read as a formula."""
    shown = name.replace("$", r"\$")
    return shown if len(shown) <= 44 else f"...{shown[-41:]}"
