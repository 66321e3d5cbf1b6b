"""Boxes around the objects of an image: the forms they come in, made one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftcli.contract import Column
from ftcli.data.text_files import json_kind
from ftcli.data.values import Unusable

OBJECTS = Column(
    "objects", "json", ("objects", "annotations", "boxes", "bboxes", "labels"), required=False, answer=True
)
_BOXES = ("bbox", "bboxes", "box", "boxes")
"""Names of boxes: bbox is [x, y, width, height] as in COCO, box is [x0, y0, x1, y1] as `predict` writes it."""
_LABELS = ("category", "categories", "label", "labels", "category_id", "name", "class", "id")


class Box(NamedTuple):
    """A box in pixels of its image, from the upper left corner to the lower right one."""

    label: Any
    """A string or a whole number."""
    corners: tuple[float, float, float, float]
    crowd: bool = False
    """True for a box around many objects that nobody told apart: never an error to find, nor to miss."""


def read_objects(value: Any) -> list[Box]:
    """The boxes of an image: a list of objects with a box and a label each, or an object with a list of each.

    Unusable, with what is wrong, where it is neither.
    """
    if isinstance(value, Mapping):
        return _of_columns(value)
    if not isinstance(value, list | tuple):
        raise Unusable(f"is {json_kind(value)}, not a list of boxes")
    found = []
    for place, one in enumerate(value, 1):
        if not isinstance(one, Mapping):
            raise Unusable(f"is unusable: entry {place} is {json_kind(one)}, not an object with a box and a label")
        name, label = _named(one, _BOXES, "box"), _named(one, _LABELS, "label")
        found.append(_box(one[label], one[name], name, bool(one.get("iscrowd", False)), place))
    return found


def _of_columns(value: Mapping[str, Any]) -> list[Box]:
    name, label = _named(value, _BOXES, "boxes"), _named(value, _LABELS, "labels")
    boxes, labels = value[name], value[label]
    for field, column in ((name, boxes), (label, labels)):
        if not isinstance(column, list | tuple):
            raise Unusable(f"is unusable: {field} is {json_kind(column)}, not a list")
    if len(boxes) != len(labels):
        raise Unusable(f"has {len(boxes)} boxes and {len(labels)} labels")
    crowds = value.get("iscrowd") or [False] * len(boxes)
    triples = zip(labels, boxes, crowds, strict=False)
    return [_box(its, box, name, bool(crowd), place) for place, (its, box, crowd) in enumerate(triples, 1)]


def _named(value: Mapping[str, Any], names: Sequence[str], what: str) -> str:
    found = next((name for name in names if name in value), None)
    if found is None:
        raise Unusable(f"has no {what} ({', '.join(names[:4])}); it has {', '.join(map(str, value)) or 'nothing'}")
    return found


def _box(label: Any, box: Any, name: str, crowd: bool, place: int) -> Box:
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise Unusable(f"is unusable: the label of box {place} is {json_kind(label)}")
    numbers = list(box) if isinstance(box, list | tuple) else []
    if len(numbers) != 4 or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise Unusable(f"is unusable: box {place} is no list of four numbers: {str(box)[:60]}")
    x0, y0, x1, y1 = map(float, numbers)
    if name.startswith("bb"):
        x1, y1 = x0 + x1, y0 + y1
    if x1 < x0 or y1 < y0:
        raise Unusable(f"is unusable: box {place} ends before it begins: {str(box)[:60]} ({_ORDERS[name[:2]]})")
    return Box(label, (x0, y0, x1, y1), crowd)


_ORDERS = {"bb": "bbox is x, y, width, height", "bo": "box is x0, y0, x1, y1"}
