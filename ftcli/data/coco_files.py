"""COCO annotation files: one JSON object with images, annotations and categories, read as a row per image.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context" (arXiv:1405.0312).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.data.reader import Places, Raw, Reader
from ftcli.errors import DataError

FIELDS = ("image", "objects")
"""Columns that such a file is read as."""


def is_coco(document: Any) -> bool:
    """True for the object that a COCO file holds."""
    return isinstance(document, Mapping) and all(
        isinstance(document.get(name), list) for name in ("images", "annotations")
    )


def open_coco(document: Mapping[str, Any], path: Path, name: str) -> Reader:
    """Rows of ``image`` (a path) and ``objects`` (boxes with their categories' names).

    DataError where an image or an annotation lacks what it cannot do without.
    """
    names = {
        one.get("id"): str(one.get("name")) for one in document.get("categories") or () if isinstance(one, Mapping)
    }
    known = {one.get("id") for one in document["images"] if isinstance(one, Mapping)}
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, one in enumerate(document["annotations"], 1):
        if not isinstance(one, Mapping) or one.get("image_id") not in known:
            raise DataError(f"{name}: annotation {number} is of no image that the file lists")
        category = one.get("category_id")
        if names and category not in names:
            raise DataError(
                f"{name}: annotation {number} is of category {category!r:.40}, which the file does not list"
            )
        objects[one["image_id"]].append(
            {"bbox": one.get("bbox"), "category": names.get(category, category), "iscrowd": one.get("iscrowd", 0)}
        )
    place = _folder(document["images"], path)

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for number, image in enumerate(document["images"], 1):
            if not isinstance(image, Mapping) or not isinstance(image.get("file_name"), str):
                yield Raw(number, None, "this image has no file_name")
                continue
            yield Raw(number, {"image": str(place / image["file_name"]), "objects": objects.get(image.get("id"), [])})

    used = {one["category"] for of_image in objects.values() for one in of_image}
    listed = tuple(name for name in dict.fromkeys(names.values()) if name in used)
    labels = {"objects": listed} if listed else {}
    return Reader(Places(name, "image"), FIELDS, read, class_names=labels)


def _folder(images: Sequence[Any], path: Path) -> Path:
    """Where the images lie: beside the file, in a folder ``images``, or, as COCO itself has them, in the one beside
    ``annotations`` that the file is named after (``annotations/instances_val2017.json``: ``val2017``)."""
    first = next((str(one["file_name"]) for one in images if isinstance(one, Mapping) and "file_name" in one), "")
    split = path.name.split(".")[0].rpartition("_")[2]
    beside, above = path.parent, path.parent.parent
    places = [
        beside,
        beside / "images",
        beside / split,
        above / split,
        above / "images",
        above / "images" / split,
        above,
    ]
    return next((place for place in places if (place / first).is_file()), beside)
