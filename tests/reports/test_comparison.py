"""A comparison as people see it: within its width, harmless whatever it holds, and complete."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from ftcli.reports import comparison
from ftcli.reports.comparison_plot import write_png

NASTY = [
    "runs/a",
    "电影评论" * 30,
    "\x1b[31mred\x1b[0m",
    "[bold]b[/bold]",
    "x" * 300,
    "line\nbreak",
    "a$b$",
    "\u202etxt",
]


def run_of(name: str, accuracy: float | None) -> dict[str, Any]:
    return {
        "model": name,
        "metrics": {"loss": 0.5, "accuracy": accuracy, "f1_micro": accuracy, "f1_macro": 0.25},
        "intervals": {},
        "parameters": 12_345_678,
        "trained_parameters": None,
        "size_bytes": None,
        "training": {"seconds": 3_700.0, "steps": None, "peak_memory_bytes": None},
        "timing": {"seconds": 1.5, "samples_per_second": 20.0},
    }


def report_of(names: list[str]) -> dict[str, Any]:
    differences = {
        "loss": {"difference": -0.2, "interval": [-0.3, -0.1]},
        "accuracy": {"difference": -0.2, "interval": [-0.3, -0.1]},
        "f1_macro": {"difference": 0.0, "interval": [-0.1, 0.1]},
    }
    flip = {
        "model": "m", "change": "lost", "row": 3, "place": "f.csv, line 4", "text": "\x1b[2Jnasty " * 30,
        "expected": "a", "baseline": "a" * 50, "prediction": "b\n",
    }  # fmt: skip
    test = {
        "test": "exact binomial, two-sided", "both_right": 1, "baseline_only": 1, "run_only": 0, "both_wrong": 0,
        "p_value": 1.0,
    }  # fmt: skip
    gate = {
        "model": names[-1], "run": 2, "metric": "loss", "op": "<=", "value": 0.6, "actual": 0.5, "passed": True,
        "baseline": 0.5, "margin": 0.1,
    }  # fmt: skip
    return {
        "task": "text-classification",
        "data": {"name": "films", "split": "test", "rows": 30},
        "baseline": names[0],
        "lower_is_better": ["loss"],
        "resamples": 1000,
        "runs": [run_of(name, None if i == 1 else 0.5) for i, name in enumerate(names)],
        "comparisons": [
            {"model": name, "differences": differences, "mcnemar": test, "flips": [flip]} for name in names[1:]
        ],
        "gates": [gate, {**gate, "value": None, "actual": None, "passed": False}],
        "notes": ["a note that is longer than a narrow terminal is wide, and that says something all the same" * 2],
    }


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_screen_and_nothing_drives_it(width: int) -> None:
    report = report_of(NASTY)
    lines = ["".join(piece for piece, _ in line) for line in comparison.lines(report, width)]
    assert max(map(cell_len, lines)) <= max(width, 78)  # the sentences with counts have a width of their own
    assert not [c for line in lines for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl")]
    assert sum("[8]" in line for line in lines) >= 3
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(comparison.as_rich(report, width))
    assert "[bold]b[/bold]" in stream.getvalue()
    assert comparison.as_text(report).isprintable() is False  # line breaks alone
    assert "\x1b" not in comparison.as_text(report) + comparison.as_markdown(report)


def test_what_is_said() -> None:
    text = comparison.as_text(report_of(["a", "b"]))
    lines = [line.split() for line in text.splitlines()]
    assert ["loss", "-0.2000", "-0.3000", "to", "-0.1000", "better"] in lines
    assert ["accuracy", "-0.2000", "-0.3000", "to", "-0.1000", "worse"] in lines
    assert ["f1_macro", "+0.0000", "-0.1000", "to", "+0.1000"] in lines
    assert ["accuracy", "0.5000", "n/a"] in lines
    assert ["training", "time", "1:01:40", "1:01:40"] in lines
    assert ["parameters", "12.3", "M", "12.3", "M"] in lines
    assert "size on disk" not in text
    assert "gate [2] loss <= 0.6000 (0.5000 of [1] plus 0.1): passed (0.5000)" in text
    assert "gate [2] loss (n/a of [1]): FAILED (n/a)" in text
    assert "rows that flipped, 1 of 1 shown" in text


def test_accuracy_is_not_told_twice_and_other_averages_are() -> None:
    report = report_of(["a", "b"])
    report["runs"][1]["metrics"] |= {"accuracy": 0.4, "f1_micro": 0.4}
    assert [name for name, _ in comparison.metric_rows(report["runs"])] == ["loss", "accuracy", "f1_macro"]
    report["runs"][1]["metrics"]["f1_micro"] = 0.45
    assert "f1_micro" in [name for name, _ in comparison.metric_rows(report["runs"])]


def test_the_plot(tmp_path: Path) -> None:
    assert write_png(report_of(["a", "b$", "电影"]), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    bare = report_of(["a", "b"])
    bare["comparisons"][0]["differences"] = {"loss": {"difference": 1.0, "interval": None}}
    assert not write_png(bare, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
