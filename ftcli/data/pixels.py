"""What tasks and objectives of images share: their column, rows to pixels kept as bytes, bytes to a model's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Column, Example, Row
from ftcli.data.images import decode
from ftcli.data.randaugment import changed
from ftcli.errors import UsageError

IMAGE = Column(
    "image",
    "image",
    ("image", "img", "picture", "photo", "pixels", "image_path", "file_name", "filename", "file", "path"),
)
_PATCH = 16
"""Side of what counts as one token where an architecture has no patches."""


class Pixels:
    """An image processor in two halves: resizing and cropping once per image, normalising once per batch.

    Between the two an image is one byte per pixel and channel, a quarter of what the model takes.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self._processor = processor
        self._mode = "L" if getattr(config, "num_channels", 3) == 1 else "RGB"
        blank = decode(b"P5 8 8 255\n" + bytes(64), self._mode)
        self.shape: tuple[int, ...] = self._resized([blank])[0].shape
        """Channels, height, width of every image."""
        patch = getattr(config, "patch_size", None) or _PATCH
        high, wide = (patch, patch) if isinstance(patch, int) else patch
        self.tokens = max(1, self.shape[1] * self.shape[2] // (high * wide))
        """Patches of an image: what it counts for where batches are made by size."""
        self._factor = float(processor.rescale_factor) if getattr(processor, "do_rescale", True) else 1.0
        normal = getattr(processor, "do_normalize", False)
        self._mean = self._by_channel(processor.image_mean if normal else 0.0)
        self._std = self._by_channel(processor.image_std if normal else 1.0)

    def _by_channel(self, values: Any) -> Tensor:
        found = [float(v) for v in values] if isinstance(values, list | tuple) else [float(values)]
        if len(found) not in (1, self.shape[0]):
            found = [sum(found) / len(found)]  # grey pictures through a processor made for colours
        return torch.tensor(found).view(-1, 1, 1)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """``pixels``: uint8 (channels * height * width,); ``tokens``: patches. DataError for a file that has gone."""
        images = [decode(row["image"], self._mode) for row in rows]
        found = self._resized(images)
        if any(pixels.shape != self.shape for pixels in found):
            raise UsageError(
                "the model's image processor leaves images of different sizes",
                hint="set size and do_resize in its preprocessor_config.json",
            )
        return [{"pixels": pixels.reshape(-1), "tokens": self.tokens} for pixels in found]

    def changed(self, example: Example, changes: int, magnitude: float, random: np.random.Generator) -> Example:
        """The image after changes drawn at random (see `randaugment.changed`)."""
        pixels = example["pixels"].reshape(self.shape)
        return {**example, "pixels": changed(pixels, changes, magnitude, random).reshape(-1)}

    def _resized(self, images: list[Any]) -> list[Any]:
        given = self._processor(images, do_rescale=False, do_normalize=False)["pixel_values"]
        found = [np.asarray(image) for image in given]
        if found[0].dtype != np.uint8:  # a processor that computes in floats: to the nearest of 256 values
            found = [np.rint(image.clip(0, 255)).astype(np.uint8) for image in found]
        return found

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """``pixel_values``: float32 (rows, channels, height, width), normalised; ``tokens``: patches in all."""
        flat = np.stack([example["pixels"] for example in examples])
        values = torch.from_numpy(flat).view(len(examples), *self.shape).float()
        return {
            "pixel_values": (values * self._factor - self._mean) / self._std,
            "tokens": sum(int(example["tokens"]) for example in examples),
        }
