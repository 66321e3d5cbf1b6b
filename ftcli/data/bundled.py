"""Data sets that need no download: a folder each under ``ftcli/data/builtin``, or made of what a library brings."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ftcli.bundled import PREFIX, find_bundled
from ftcli.data.folders import Opener, open_folder
from ftcli.data.reader import Options, Places, Raw, Reader


def open_bundled(name: str) -> tuple[dict[str, Opener], list[str]]:
    """The splits of ``builtin:NAME``, as `open_folder` gives them."""
    return (_MADE[name](), []) if name in _MADE else open_folder(bundled_folder(name))


def bundled_folder(name: str) -> Path:
    """The folder of ``builtin:NAME``."""
    return find_bundled("data", "data set", name, list(_MADE))


_DIGITS_SPLITS = {"train": 1197, "validation": 200, "test": 400}


def _digits() -> dict[str, Opener]:
    """The 1,797 images of handwritten digits, 8 x 8 in 17 shades of grey, that scikit-learn brings (``load_digits``).

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits" (UCI machine learning repository),
    its test set. The splits are ours, at random and always the same.
    """
    order = list(range(sum(_DIGITS_SPLITS.values())))
    random.Random("digits").shuffle(order)
    splits: dict[str, Opener] = {}
    for split, count in _DIGITS_SPLITS.items():
        splits[split], order = partial(_open_digits, split, sorted(order[:count])), order[count:]
    return splits


def _open_digits(split: str, rows: Sequence[int], options: Options) -> list[Reader]:
    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        from sklearn.datasets import load_digits  # seconds; only for who wants it

        found = load_digits()
        shades = (found.images * 255 / 16).round().astype("uint8")
        for number in rows:
            # The plainest of all image formats: a header and the pixels, the same bytes whatever library writes it.
            yield Raw(number, {"image": b"P5 8 8 255\n" + shades[number].tobytes(), "label": int(found.target[number])})

    places = Places(f"{PREFIX}digits ({split})", "image")
    return [Reader(places, ("image", "label"), read, class_names={"label": tuple("0123456789")})]


_MADE: Mapping[str, Callable[[], dict[str, Opener]]] = {"digits": _digits}
