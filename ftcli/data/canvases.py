"""Images of any size for models that tell boxes: pixels kept as bytes, batches filled up, places scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Example, Row
from ftcli.data.boxes import Box
from ftcli.data.images import decode

_PATCH = 16


class Canvases:
    """An image processor in two halves, as in `pixels.Pixels`, for images that keep their shapes.

    Boxes are told in shares of the image: of what a batch fills it up to, where the model is not shown by a mask
    (`masks`) which part is image.
    """

    def __init__(self, processor: Any, config: Any, *, masks: bool) -> None:
        self._processor, self._masks = processor, masks
        self._mode = "L" if getattr(config, "num_channels", 3) == 1 else "RGB"
        patch = getattr(config, "patch_size", None) or _PATCH
        self._patch = patch if isinstance(patch, int) else patch[0]
        channels = 1 if self._mode == "L" else 3
        self._factor = float(getattr(processor, "rescale_factor", 1 / 255)) if processor.do_rescale else 1.0
        self._mean = torch.tensor(_of_channels(processor.image_mean if processor.do_normalize else 0.0, channels))
        self._std = torch.tensor(_of_channels(processor.image_std if processor.do_normalize else 1.0, channels))
        self._channels = channels

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """``pixels``: uint8, flat; ``height`` and ``width`` of them, ``own_height`` and ``own_width`` of the image;
        ``tokens``: patches. DataError for a file that has gone."""
        found: list[Example] = []
        for row in rows:
            image = decode(row["image"], self._mode)
            made = self._processor(image, do_rescale=False, do_normalize=False, do_pad=False)["pixel_values"][0]
            pixels = np.asarray(made)
            if pixels.dtype != np.uint8:
                pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
            _, height, width = pixels.shape
            found.append(
                {
                    "pixels": pixels.reshape(-1),
                    "height": height,
                    "width": width,
                    "own_height": int(image.height),
                    "own_width": int(image.width),
                    "tokens": max(1, height * width // self._patch**2),
                }
            )
        return found

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """``pixel_values``: float32 (rows, channels, height, width), ``pixel_mask`` where the model takes one; ``own``
        (rows, 4): width, height, width, height of the images; ``scale`` (rows, 4): what shares of an image are times,
        to be those of the batch."""
        high, wide = (max(example[side] for example in examples) for side in ("height", "width"))
        values = torch.zeros(len(examples), self._channels, high, wide)
        mask = torch.zeros(len(examples), high, wide, dtype=torch.int64)
        for row, example in enumerate(examples):
            height, width = example["height"], example["width"]
            pixels = torch.from_numpy(example["pixels"].reshape(self._channels, height, width)).float()
            values[row, :, :height, :width] = (pixels * self._factor - self._mean) / self._std
            mask[row, :height, :width] = 1
        sizes = torch.tensor([[e["width"], e["height"]] * 2 for e in examples], dtype=torch.float32)
        whole = torch.tensor([[wide, high] * 2], dtype=torch.float32)
        batch: dict[str, Any] = {
            "pixel_values": values,
            "own": torch.tensor([[e["own_width"], e["own_height"]] * 2 for e in examples], dtype=torch.float32),
            "scale": torch.ones_like(sizes) if self._masks else sizes / whole,
            "tokens": sum(int(example["tokens"]) for example in examples),
        }
        return {**batch, "pixel_mask": mask} if self._masks else batch


def _of_channels(values: Any, channels: int) -> list[list[list[float]]]:
    found = [float(v) for v in values] if isinstance(values, list | tuple) else [float(values)]
    if len(found) not in (1, channels):
        found = [sum(found) / len(found)]
    return [[[value]] for value in found]


def shares(boxes: Sequence[Box], width: int, height: int) -> np.ndarray:
    """(boxes, 4) float32: centre and size as shares of an image of that size; what reaches beyond it is cut off."""
    whole = np.array([width, height, width, height], dtype=np.float64)
    found = (np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4) / whole).clip(0, 1)
    x0, y0, x1, y1 = found.T
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1).astype(np.float32)


def pixels_of(boxes: Tensor, own: Tensor) -> Tensor:
    """(..., 4) corners in pixels of images of size `own` (..., 4), from centres and sizes in shares of them."""
    x, y, width, height = boxes.unbind(-1)
    found = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)
    return found.clamp(0, 1) * own
