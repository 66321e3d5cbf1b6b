"""The arithmetic of a learning curve by hand, its table, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ftcli.reports.learning_curve import as_markdown, as_text, points, write_png

VALUES = {
    ("target_only", "50", 1): 0.5, ("target_only", "50", 2): 0.7, ("target_only", "all", 1): 0.8,
    ("transfer", "50", 1): 0.8, ("transfer", "50", 2): 0.8, ("transfer", "all", 1): 0.75, ("transfer", "all", 2): 0.9,
}  # fmt: skip


def curve(better: str = "higher", arms: tuple[str, ...] = ("target_only", "transfer")) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metric": "accuracy", "better": better, "split": "test", "model": "m", "data": "a_b|c",
        "source": {"name": "runs/s"}, "arms": list(arms), "sizes": ["50", "all"], "seeds": [1, 2],
        "rows": {"50": 50, "all": 1590},
        "cells": [
            {"arm": arm, "size": size, "seed": seed, "value": value}
            for (arm, size, seed), value in VALUES.items()
            if arm in arms
        ],
    }  # fmt: skip
    return {**found, "points": points(found)}


def test_points_by_hand() -> None:
    few, many = curve()["points"]
    assert (few["rows"], many["rows"]) == (50, 1590)
    assert few["target_only"]["mean"] == pytest.approx(0.6)
    assert few["target_only"]["std"] == pytest.approx(0.02**0.5)  # of 0.5 and 0.7, over n - 1
    assert few["transfer"] == {"mean": pytest.approx(0.8), "std": pytest.approx(0.0), "values": [0.8, 0.8]}
    assert few["gain"]["values"] == [pytest.approx(0.3), pytest.approx(0.1)]
    assert few["gain"]["mean"] == pytest.approx(0.2)
    assert many["target_only"] == {"mean": 0.8, "std": None, "values": [0.8]}
    assert many["gain"]["values"] == [pytest.approx(-0.05)], "only the seed that both ways have"
    assert curve("lower")["points"][0]["gain"]["mean"] == pytest.approx(-0.2)
    assert "gain" not in curve(arms=("target_only",))["points"][0]


def test_tables() -> None:
    assert as_text(curve()).splitlines() == [
        "accuracy on test, mean (standard deviation) over seeds 1, 2: m on a_b|c; transfer from runs/s",
        " rows      target only         transfer              gain",
        "   50  0.6000 (0.1414)  0.8000 (0.0000)  +0.2000 (0.1414)",
        "1,590           0.8000  0.8250 (0.1061)           -0.0500",
    ]
    text = as_markdown(curve())
    assert "| 50 | 0.6000 (0.1414) | 0.8000 (0.0000) | +0.2000 (0.1414) |" in text
    assert "a_b\\|c" in text
    assert "gain" not in as_text(curve(arms=("target_only",)))


def test_picture(tmp_path: Path) -> None:
    assert write_png(curve(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or ()}
        assert picture.width > 900
    assert (0x2F, 0x6F, 0xB3) in colours, "the line of transfer"
    assert (0x6B, 0x72, 0x80) in colours, "the line of the target alone"
    assert write_png(curve(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    empty = {**curve(), "cells": []}
    assert not write_png({**empty, "points": points(empty)}, tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()
