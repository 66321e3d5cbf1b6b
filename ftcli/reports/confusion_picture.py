"""confusion_matrix.png: true labels down, predicted ones across, each row's shades as shares of that row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftcli.reports.facts import Report

_MOST = 150
"""Classes beyond which a picture shows nothing any more."""
_SIDE, _SMALLEST = 900, 12
"""Pixels of the square of all cells, about, and of a cell at least, in which a name can be read."""
_COUNTED = 30
"""Pixels of a cell from which on its number is written into it."""
_WIDEST = 24
"""Characters of a label that are shown."""
_DARK, _GREY = (38, 70, 125), (75, 85, 99)


def write_png(report: Report, file: Path) -> bool:
    """Draw the report's confusion matrix; False, with nothing written, where it has none or one too large."""
    matrix = report.get("confusion_matrix")
    if not matrix or len(matrix["labels"]) > _MOST:
        return False
    drawn(matrix["labels"], matrix["rows"]).save(file)
    return True


def drawn(labels: Sequence[str], rows: Sequence[Sequence[int]]) -> Any:
    """The picture, a PIL image."""
    from PIL import Image, ImageDraw, ImageFont

    cell = max(_SMALLEST, min(80, _SIDE // len(labels)))
    font = ImageFont.load_default(max(9, min(15, cell - 2)))
    names = [label if len(label) <= _WIDEST else f"{label[: _WIDEST - 1]}…" for label in map(_plain, labels)]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = max(round(measure.textlength(name, font=font)) for name in names) + 34
    side = cell * len(labels)
    image = Image.new("RGB", (margin + side + 12, margin + side + 12), "white")
    pen = ImageDraw.Draw(image)
    for row, counts in enumerate(rows):
        total = sum(counts)
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            x, y = margin + column * cell, margin + row * cell
            shade = tuple(round(255 + (dark - 255) * share**0.6) for dark in _DARK)
            pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=shade, outline=(229, 231, 235))
            if count and cell >= _COUNTED:
                ink = "white" if share > 0.4 else "black"
                pen.text((x + cell / 2, y + cell / 2), str(count), fill=ink, font=font, anchor="mm")
    for place, name in enumerate(names):
        middle = margin + place * cell + cell / 2
        pen.text((margin - 8, middle), name, fill="black", font=font, anchor="rm")
    image.paste(_across(names, font, cell, margin - 26), (margin, 22))
    pen.text((margin + side / 2, 11), "predicted", fill=_GREY, font=font, anchor="mm")
    down = Image.new("RGB", (side, 20), "white")
    ImageDraw.Draw(down).text((side / 2, 10), "true", fill=_GREY, font=font, anchor="mm")
    image.paste(down.transpose(Image.Transpose.ROTATE_90), (2, margin))
    return image


def _across(names: Sequence[str], font: Any, cell: int, height: int) -> Any:
    """The names one beside the other, read from below."""
    from PIL import Image, ImageDraw

    lying = Image.new("RGB", (height, cell * len(names)), "white")
    pen = ImageDraw.Draw(lying)
    for place, name in enumerate(names):
        pen.text((2, place * cell + cell / 2), name, fill="black", font=font, anchor="lm")
    return lying.transpose(Image.Transpose.ROTATE_90)


def _plain(label: str) -> str:
    return " ".join(label.split()) or "(empty)"
