"""The confusion matrix as a picture: dark where the rows are, and none where it would show nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ftcli.reports.confusion_picture import drawn, write_png


def test_shades_are_shares_of_the_row(tmp_path: Path) -> None:
    report = {"confusion_matrix": {"labels": ["a", "b"], "rows": [[90, 10], [0, 0]]}}
    assert write_png(report, tmp_path / "matrix.png")
    pixels = np.asarray(Image.open(tmp_path / "matrix.png")).astype(int)
    inside = pixels[-12 - 160 : -12, -12 - 160 : -12].sum(axis=-1)
    cells = [[inside[y : y + 60, x : x + 20].mean() for x in (10, 90)] for y in (10, 90)]
    assert cells[0][0] < cells[0][1] - 200 < cells[1][0]
    assert cells[1][0] == cells[1][1], "a class that does not occur has no share"


def test_many_and_odd_labels() -> None:
    image = drawn([f"a label of more than twenty letters {n}" for n in range(120)], np.eye(120, dtype=int).tolist())
    assert 1000 < image.width < 2500
    assert drawn(["", "two\nlines"], [[1, 0], [0, 1]]).width > 160


def test_nothing_to_draw(tmp_path: Path) -> None:
    many = {"labels": [str(n) for n in range(200)], "rows": np.eye(200, dtype=int).tolist()}
    for report in ({}, {"confusion_matrix": None}, {"confusion_matrix": many}):
        assert not write_png(report, tmp_path / "matrix.png")
    assert not list(tmp_path.iterdir())
