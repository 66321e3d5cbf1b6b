"""The loss curve: what the text shows, and a picture that is one."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.reports.loss_curve import HEIGHT, WIDTH, series, smooth, text_curve, ticks, write_png


def run(steps: int, every: int = 10) -> list[dict[str, Any]]:
    """Records of a run whose loss falls from 9 to 2."""
    found: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        loss = 2 + 7 * math.exp(-5 * step / steps)
        found.append({"step": step, "split": "train", "loss": loss, "lr": 1e-3 * (1 - step / steps)})
        if step % (5 * every) == 0:
            found.append({"step": step, "split": "validation", "loss": loss + 0.1})
    return found


def plot(text: str, side: str) -> list[str]:
    """The plot's own lines, without the figures beside it."""
    return [
        line[line.index(mark) + 1 :] for line in text.split("\n")[1:-2] for mark in [next(c for c in line if c in side)]
    ]


LOSSES = st.one_of(st.floats(-1e6, 1e6), st.floats(0, 12), st.just(None), st.just(math.nan))
RECORDS = st.lists(
    st.builds(
        lambda step, split, loss: {"step": step, "split": split, "loss": loss},
        st.integers(0, 10**7), st.sampled_from(["train", "validation", "test"]), LOSSES,
    ),
    max_size=40,
)  # fmt: skip


@given(records=RECORDS, width=st.integers(1, 200), ascii=st.booleans())
def test_any_records_fit(records: list[dict[str, Any]], width: int, ascii: bool) -> None:
    text = text_curve(records, width, ascii)
    drawn = series(records, "train") + series(records, "validation")
    assert bool(text) == bool(drawn)
    if not text:
        return
    lines = text.split("\n")
    assert len(lines) == HEIGHT
    assert max(map(len, lines)) <= max(min(width, WIDTH), 54)
    assert all(line == line.rstrip() for line in lines)
    assert all(c.isprintable() for line in lines for c in line)
    if ascii:
        assert text.isascii()
    assert ("validation" in lines[0]) == bool(series(records, "validation"))
    assert ("train" in lines[0]) == bool(series(records, "train"))
    if series(records, "validation"):
        assert any(("o" if ascii else "●") in line for line in lines[1:-2])


def test_a_falling_loss_falls() -> None:
    rows = plot(text_curve(run(1000), ascii=True), "|+")
    tops = [
        next(r for r, line in enumerate(rows) if column < len(line) and line[column] in ".o") for column in (1, 10, 20)
    ]
    assert tops == sorted(tops)
    assert tops[0] <= 1
    assert tops[-1] >= 8
    assert sum(line.count("o") for line in rows) == 20
    width = max(map(len, rows))
    filled = {column for line in rows for column, mark in enumerate(line) if mark != " "}
    assert len(filled) >= width - 1, "the line has no gaps"


def test_figures_stand_where_they_belong() -> None:
    text = text_curve(run(1000), ascii=True)
    lines = text.split("\n")
    assert [line.split("+")[0].strip() for line in lines[1:-2] if "+" in line] == ["8", "6", "4", "2"]
    assert lines[-1].split() == ["0", "200", "400", "600", "800", "1,000"]
    marks = [i for i, c in enumerate(lines[-2]) if c == "+"][1:]
    assert len(marks) == 6
    for mark, label in zip(marks[1:-1], ("200", "400", "600", "800"), strict=True):
        assert abs(lines[-1].index(label) + 1 - mark) <= 1


def test_braille_and_ascii_show_the_same_shape() -> None:
    fine, coarse = plot(text_curve(run(500)), "│┤"), plot(text_curve(run(500), ascii=True), "|+")
    for column in range(2, 60):
        rows = [[r for r, line in enumerate(rows) if line[column : column + 1].strip()] for rows in (fine, coarse)]
        assert abs(min(rows[0]) - min(rows[1])) <= 1, column


def test_closing_scores_and_other_splits_are_left_out() -> None:
    records = [
        {"step": 4, "split": "train", "loss": 2.0},
        {"step": 2, "split": "train", "loss": 3.0},
        {"step": 4, "split": "validation", "loss": 1.0, "final": True},
        {"step": 4, "split": "test", "loss": 1.0},
        {"step": 6, "split": "train", "loss": None},
        {"step": 8, "split": "train", "f1": 0.4},
        {"split": "train", "loss": 3.0},
    ]
    assert series(records, "train") == [(2, 3.0), (4, 2.0)]
    assert series(records, "validation") == []
    assert text_curve([], ascii=True) == ""


@given(low=st.floats(-1e9, 1e9), size=st.floats(1e-6, 1e9), most=st.integers(1, 12))
def test_ticks_are_few_round_and_inside(low: float, size: float, most: int) -> None:
    high = low + size
    if not high > low:
        return
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most
    slack = 1e-6 * max(abs(low), abs(high), size)
    if len(found) > 1:
        assert low - slack <= found[0] < found[-1] <= high + slack


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=50), share=st.floats(0, 1))
def test_smoothing_keeps_ends_and_bounds(values: list[float], share: float) -> None:
    points = list(enumerate(values))
    found = smooth(points, share)  # type: ignore[arg-type]
    assert [step for step, _ in found] == [step for step, _ in points]
    assert (found[0][1], found[-1][1]) == pytest.approx((values[0], values[-1]))
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for _, value in found)


@pytest.mark.parametrize(
    "records",
    [run(1000), run(1000)[:1], [{"step": 0, "split": "validation", "loss": 1.0}], [r | {"lr": None} for r in run(100)]],
    ids=["whole", "one point", "validation alone", "no rates"],
)
def test_the_picture_is_one(records: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "loss_curve.png"
    assert write_png(records, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1200, 750)
    assert 5_000 < len(content) < 300_000


def test_no_loss_no_picture(tmp_path: Path) -> None:
    assert not write_png([{"step": 1, "split": "train", "loss": None}], tmp_path / "loss_curve.png")
    assert not list(tmp_path.iterdir())
