"""Images with the boxes that a model told of them, for a person to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError

_COLOURS = ("#e6194b", "#3c84d9", "#2ca25f", "#f58231", "#911eb4", "#008080", "#b8860b", "#e377c2")
_LEAST_SIDE = 320
"""Small images are drawn larger, so that the words can be read."""


class Pictures:
    """A folder that gets a picture for each image."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--draw '{folder}': {error.strerror or error}", hint="name a folder") from None
        self.folder = folder
        self._count = 0
        self._colours: dict[str, str] = {}

    def add(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> Path:
        """Draw the next image: `row` holds it as a path or as bytes."""
        self._count += 1
        value = row["image"]
        stem = Path(value).stem if isinstance(value, str) else "image"
        file = self.folder / f"{self._count:05}-{stem}.png"
        self._drawn(value, prediction["prediction"]).save(file)
        return file

    def _drawn(self, value: str | bytes, boxes: Sequence[Mapping[str, Any]]) -> Any:
        from PIL import Image, ImageDraw, ImageFont, ImageOps

        with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        times = max(1, -(-_LEAST_SIDE // max(image.size)))
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        pen = ImageDraw.Draw(image)
        size = max(12, max(image.size) // 50)
        font = ImageFont.load_default(size)
        width = max(2, size // 8)
        for box in reversed(boxes):  # the surest on top
            colour = self._colours.setdefault(box["label"], _COLOURS[len(self._colours) % len(_COLOURS)])
            x0, y0, x1, y1 = (side * times for side in box["box"])
            pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=width)
            words = f"{box['label']} {box['score']:.2f}"
            left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
            above = y0 - (bottom - top) - 2 * width
            at = (max(0, min(x0, image.width - (right - left) - 2 * width)), above if above >= 0 else y0)
            pen.rectangle(
                (at[0], at[1], at[0] + right - left + 2 * width, at[1] + bottom - top + 2 * width), fill=colour
            )
            pen.text((at[0] + width - left, at[1] + width - top), words, fill="white", font=font)
        return image
