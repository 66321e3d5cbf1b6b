"""compare.json for people: the same lines as plain text and on a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from ftcli.reports import facts
from ftcli.reports.markdown import escape, table
from ftcli.text import amount, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

Report = Mapping[str, Any]
Line = list[tuple[str, str]]
"""Pieces of a line, each with its style."""

WIDTH = 100
"""Columns of plain text."""
_NAME, _LABEL = 24, 20
_CHANGES = {"lost": "red", "gained": "green"}


def as_text(report: Report) -> str:
    """Plain text of at most `WIDTH` columns."""
    return "".join("".join(piece for piece, _ in line).rstrip() + "\n" for line in lines(report, WIDTH))


def as_rich(report: Report, width: int) -> RenderableType:
    """The same for a terminal of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    shown = (Text.assemble(*line, no_wrap=True, overflow="ellipsis") for line in lines(report, width))
    return Group(*shown)


def lines(report: Report, width: int) -> Iterator[Line]:
    """All there is to say, in lines of at most `width` columns."""
    runs = report["runs"]
    data = report["data"]
    yield [(_cut(f"{report['task']} of {data['name']} ({data['split']}, {data['rows']:,} rows)", width), "bold")]
    yield []
    for number, run in enumerate(runs, 1):
        yield [(_cut(f"  [{number}] {run['model']}{'  (baseline)' if number == 1 else ''}", width), "")]
    yield from _figures(report, width)
    for number, one in enumerate(report["comparisons"], 2):
        yield from _comparison(report, number, one, width)
    if report["gates"] or report["notes"]:
        yield []
    for gate in report["gates"]:
        yield [(f"gate {gate_line(gate)}", "green" if gate["passed"] else "bold red")]
    for note in report["notes"]:
        yield from ([(line, "dim")] for line in wrap(f"note: {visible(note)}", width))


def _figures(report: Report, width: int) -> Iterator[Line]:
    """Metrics and costs, a column a run, in blocks of as many runs as fit."""
    runs = report["runs"]
    rows = [*metric_rows(runs), *cost_rows(runs)]
    column = max(cell_len(cell) for _, cells in rows for cell in cells) + 2
    at_once = max(1, (width - _NAME) // column)
    for start in range(0, len(runs), at_once):
        numbers = range(start, min(start + at_once, len(runs)))
        yield []
        yield [(" " * _NAME + "".join(f"{f'[{number + 1}]':>{column}}" for number in numbers), "bold")]
        for label, cells in rows:
            name = set_cell_size(_cut(visible(label), _NAME), _NAME)
            yield [(name, ""), *((" " * (column - cell_len(cells[n])) + cells[n], "") for n in numbers)]


def _comparison(report: Report, number: int, one: Report, width: int) -> Iterator[Line]:
    yield []
    yield [(_cut(f"[{number}] {one['model']} less [1] {report['baseline']}", width), "bold")]
    header = f"95 % interval of {report['resamples']:,} paired resamples" if report["resamples"] else ""
    yield [(f"{'':{_NAME}}  difference  {header}", "dim")]
    for name, _ in metric_rows(report["runs"]):
        found = one["differences"].get(name, {"difference": None, "interval": None})
        low_high = found["interval"]
        within = f"{signed(low_high[0])} to {signed(low_high[1])}" if low_high else ""
        judged = judgement(name, found, report)
        style = {"better": "green", "worse": "red"}.get(judged, "")
        shown = f"{set_cell_size(_cut(visible(name), _NAME), _NAME)}  {signed(found['difference']):>10}  {within:<18}"
        yield [(shown, ""), (f"  {judged}" if judged else "", style)]
    if one["mcnemar"]:
        yield []
        yield from ([(line, "")] for line in mcnemar_lines(one["mcnemar"], number))
    if one["flips"]:
        test = one["mcnemar"]
        yield []
        total = test["baseline_only"] + test["run_only"]
        yield [(f"rows that flipped, {len(one['flips'])} of {total:,} shown", "")]
        for flip in one["flips"]:
            answers = _cut(flip["baseline"], _LABEL), _cut(flip["prediction"], _LABEL)
            lead = f"  {flip['change']:<6}  {answers[0]} -> {answers[1]}  "
            yield [(lead, _CHANGES[flip["change"]]), (_cut(content(flip), max(10, width - cell_len(lead))), "")]


def judgement(name: str, found: Report, report: Report) -> str:
    """``better`` or ``worse`` where the interval leaves zero out, else nothing."""
    low_high = found["interval"]
    if not low_high or low_high[0] <= 0 <= low_high[1]:
        return ""
    return "better" if (low_high[0] > 0) != (name in report["lower_is_better"]) else "worse"


def mcnemar_lines(test: Report, number: int) -> list[str]:
    """The four counts, and the test."""
    return [
        f"rows right by both {test['both_right']:,}, by [1] alone {test['baseline_only']:,}, "
        f"by [{number}] alone {test['run_only']:,}, by neither {test['both_wrong']:,}",
        f"McNemar's test ({test['test']}): p = {test['p_value']:.3g}",
    ]


def content(flip: Report) -> str:
    """What the row holds, or where it is where that is no text."""
    known = {"model", "change", "row", "place", "expected", "baseline", "prediction"}
    return " | ".join(str(value) for name, value in flip.items() if name not in known) or str(flip["place"])


def gate_line(gate: Report) -> str:
    """``[2] f1_macro >= 0.8685 (0.8735 of [1] less 0.005): passed (0.8700)``."""
    outcome = f"{'passed' if gate['passed'] else 'FAILED'} ({facts.figure(gate['actual'])})"
    metric = f"[{gate['run']}] {visible(gate['metric'])}"
    if gate["value"] is None:
        return f"{metric} (n/a of [1]): {outcome}"
    away = "less" if gate["op"] == ">=" else "plus"
    origin = f"{facts.figure(gate['baseline'])} of [1] {away} {gate['margin']:g}"
    return f"{metric} {gate['op']} {facts.figure(gate['value'])} ({origin}): {outcome}"


def metric_rows(runs: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """(metric, a cell for each run), those that any has, but for what is the accuracy by another name."""
    names = [
        name
        for name in dict.fromkeys(name for run in runs for name in run["metrics"])
        if not (name in _AS_ACCURACY and all(_is_accuracy(name, run["metrics"]) for run in runs))
    ]
    return [(name, [facts.figure(run["metrics"].get(name)) for run in runs]) for name in names]


_AS_ACCURACY = ("precision_micro", "recall_micro", "f1_micro", "recall_weighted")
"""Where all classes take part and each row has one."""


def _is_accuracy(name: str, metrics: Report) -> bool:
    value, accuracy = metrics.get(name), metrics.get("accuracy")
    return value is not None and accuracy is not None and abs(value - accuracy) < 1e-9


def cost_rows(runs: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """(what it takes, a cell for each run), without lines that no run can fill."""
    rows: list[tuple[str, Callable[[Report], Any], Callable[[Any], str]]] = [
        ("parameters", lambda run: run["parameters"], _count),
        ("parameters trained", lambda run: run["trained_parameters"], _count),
        ("  share", lambda run: _share(run["trained_parameters"], run["parameters"]), lambda v: f"{100 * v:.3g} %"),
        ("size on disk", lambda run: run["size_bytes"], amount),
        ("training time", lambda run: run["training"]["seconds"], _time),
        ("training steps", lambda run: run["training"]["steps"], lambda v: f"{v:,}"),
        ("training peak memory", lambda run: run["training"]["peak_memory_bytes"], amount),
        ("prediction time", lambda run: run["timing"]["seconds"], _time),
        ("prediction rows/s", lambda run: run["timing"]["samples_per_second"], lambda v: f"{v:,.4g}"),
    ]
    found = []
    for label, value, written in rows:
        values = [value(run) for run in runs]
        if any(v is not None for v in values):
            found.append((label, ["n/a" if v is None else written(v) for v in values]))
    return found


def _share(part: int | None, whole: int) -> float | None:
    return None if part is None or not whole else part / whole


def _count(number: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f} {unit}"
    return f"{number:,}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def signed(value: float | None) -> str:
    """A difference with its sign, to four places."""
    return "n/a" if value is None else f"{value:+.4f}"


def _cut(text: object, width: int) -> str:
    """`text`, made harmless and at most `width` cells wide."""
    shown = visible(text)
    return shown if cell_len(shown) <= width else set_cell_size(shown, width - 3).rstrip() + "..."


def as_markdown(report: Report) -> str:
    """compare.md: the figures, then each run against the baseline."""
    runs, data = report["runs"], report["data"]
    where = f"{report['task']} of {data['name']} ({data['split']}, {data['rows']:,} rows)"
    numbers = [f"[{number}]" for number in range(1, len(runs) + 1)]
    names = "\n".join(f"{n}. {escape(run['model'])}{' (baseline)' * (n == 1)}" for n, run in enumerate(runs, 1))
    rows = [*metric_rows(runs), *cost_rows(runs)]
    sections = ["# Comparison", escape(where), names, table(["", *numbers], [[escape(a.strip()), *b] for a, b in rows])]
    for number, one in enumerate(report["comparisons"], 2):
        sections.append(f"## {escape(one['model'])} less {escape(report['baseline'])}")
        sections.append(table(["metric", "difference", "95 % interval", ""], list(_differences(report, one))))
        if one["mcnemar"]:
            sections.append(escape(" ".join((mcnemar_lines(one["mcnemar"], number)[0] + ".",))))
            sections.append(escape(mcnemar_lines(one["mcnemar"], number)[1]))
        if one["flips"]:
            flips = [
                [escape(content(f)), f["change"], escape(f["baseline"]), escape(f["prediction"])] for f in one["flips"]
            ]
            sections += ["Rows that flipped (some of them):", table(["row", "", "[1]", f"[{number}]"], flips)]
    if report["gates"]:
        sections += ["## Gates", "\n".join(f"- {escape(gate_line(gate))}" for gate in report["gates"])]
    sections += [escape(note) for note in report["notes"]]
    return "\n\n".join(sections) + "\n"


def _differences(report: Report, one: Report) -> Iterator[list[str]]:
    for name, _ in metric_rows(report["runs"]):
        found = one["differences"].get(name, {"difference": None, "interval": None})
        low_high = found["interval"]
        within = f"{signed(low_high[0])} to {signed(low_high[1])}" if low_high else ""
        yield [escape(name), signed(found["difference"]), within, judgement(name, found, report)]
