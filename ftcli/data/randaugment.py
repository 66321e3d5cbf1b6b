"""Images changed at random for training, as far as a person would still tell what they show.

RandAugment: Cubuk et al. 2019, "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space"
(arXiv:1909.13719): a few changes drawn from one list, all of one magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_TURN, _SHEAR, _SHIFT, _LIGHT = 30.0, 0.3, 0.45, 0.9
"""What a magnitude of 1 means: degrees, slope, share of the side, and share of brightness, contrast, ... changed."""

Change = Callable[[Any, float], Any]


def _affine(image: Any, matrix: tuple[float, ...]) -> Any:
    from PIL import Image

    grey = tuple(int(v) for v in np.asarray(image, dtype=float).reshape(-1, len(image.getbands())).mean(axis=0))
    filling = grey if len(grey) > 1 else grey[0]
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=filling)


def _turned(image: Any, amount: float) -> Any:
    angle = np.deg2rad(_TURN * amount)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    x, y = (side / 2 for side in image.size)
    return _affine(image, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y))


def _lit(kind: str) -> Change:
    def change(image: Any, amount: float) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, kind)(image).enhance(1 + _LIGHT * amount)

    return change


def _equalised(image: Any, amount: float) -> Any:
    from PIL import ImageOps

    return ImageOps.autocontrast(image) if amount > 0 else ImageOps.equalize(image)


CHANGES: tuple[Change, ...] = (
    lambda image, amount: image,
    _turned,
    lambda image, amount: _affine(image, (1, _SHEAR * amount, 0, 0, 1, 0)),
    lambda image, amount: _affine(image, (1, 0, 0, _SHEAR * amount, 1, 0)),
    lambda image, amount: _affine(image, (1, 0, _SHIFT * amount * image.size[0], 0, 1, 0)),
    lambda image, amount: _affine(image, (1, 0, 0, 0, 1, _SHIFT * amount * image.size[1])),
    _lit("Brightness"),
    _lit("Contrast"),
    _lit("Sharpness"),
    _equalised,
)
"""Each takes a PIL image and an amount from -1 to 1, and gives an image of the same size and mode."""


def changed(pixels: np.ndarray, changes: int, magnitude: float, random: np.random.Generator) -> np.ndarray:
    """`pixels`, uint8 (channels, height, width) of one or three channels, after `changes` changes drawn at random, each
    by an amount up to `magnitude` (0 to 1) either way."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    for number in random.integers(0, len(CHANGES), changes):
        image = CHANGES[int(number)](image, magnitude * float(random.uniform(-1, 1)))
    found = np.asarray(image, dtype=np.uint8)
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)
