"""Images of squares and discs, and where these are."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("disc", "square")


def drawn(count: int, seed: int, side: int = 32, most: int = 2) -> list[tuple[Image.Image, list[dict[str, Any]]]]:
    """Images and their objects: a bright disc or square each, or two that do not overlap."""
    random, found = np.random.default_rng(seed), []
    for number in range(count):
        image = Image.fromarray(random.integers(0, 40, (side, side, 3)).astype(np.uint8))
        pen, objects = ImageDraw.Draw(image), []
        half = side // 2
        for place in range(1 + number % most):
            size = int(random.integers(half // 2, half - 1))
            x = int(random.integers(0, half - size)) + half * (place % 2)
            y = int(random.integers(0, side - size))
            kind = KINDS[int(random.integers(2))]
            box = (x, y, x + size - 1, y + size - 1)
            if kind == "disc":
                pen.ellipse(box, fill=(230, 200, 60))
            else:
                pen.rectangle(box, fill=(70, 160, 240))
            objects.append({"bbox": [x, y, size, size], "category": kind})
        found.append((image, objects))
    return found


def as_png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, format="png")
    return held.getvalue()


def shapes(count: int, seed: int) -> list[dict[str, Any]]:
    """As a Hub's table has them: a list of boxes and one of categories for each image."""
    return [
        {"image": as_png(image), "objects": {name: [one[name] for one in objects] for name in ("bbox", "category")}}
        for image, objects in drawn(count, seed)
    ]


def write_coco(folder: Path, images: Sequence[tuple[Image.Image, list[dict[str, Any]]]]) -> Path:
    """A COCO file with its images beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": 7 + number, "name": kind} for number, kind in enumerate(KINDS)]
    for number, (image, objects) in enumerate(images):
        image.save(folder / f"{number:03}.png")
        document["images"].append({"id": number, "file_name": f"{number:03}.png", "width": image.width,
                                   "height": image.height})  # fmt: skip
        for one in objects:
            document["annotations"].append(
                {"id": len(document["annotations"]), "image_id": number, "bbox": one["bbox"], "iscrowd": 0,
                 "area": one["bbox"][2] * one["bbox"][3], "category_id": 7 + KINDS.index(one["category"])}
            )  # fmt: skip
    file = folder / "_annotations.coco.json"
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return file
