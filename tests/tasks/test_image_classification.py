"""Image classification: pixels kept as bytes come out as the model's own processor would have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, ConvNextImageProcessor, ViTImageProcessor

from ftcli.data.pixels import Pixels
from ftcli.data.tokens import Tokens, TokensBuilder
from ftcli.errors import UsageError
from tests.data.test_images import as_bytes

PLAIN = {"size": {"height": 16, "width": 16}}


def noise(seed: int, size: tuple[int, int] = (23, 17)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


PROCESSORS: dict[str, Any] = {
    "imagenet": ViTImageProcessor(**PLAIN),
    "halves": ViTImageProcessor(**PLAIN, image_mean=[0.5] * 3, image_std=[0.5] * 3),
    "neither": ViTImageProcessor(**PLAIN, do_rescale=False, do_normalize=False),
    "crops": ConvNextImageProcessor(size={"shortest_edge": 16}, crop_pct=0.8),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_values_are_the_processor_s_own(name: str) -> None:
    processor, images = PROCESSORS[name], [noise(seed) for seed in range(3)]
    pixels = Pixels(processor, AutoConfig.for_model("vit", patch_size=4))
    examples = pixels.encode([{"image": as_bytes(image)} for image in images])
    assert all(example["pixels"].dtype == np.uint8 for example in examples)
    assert {example["tokens"] for example in examples} == {16}
    kept = TokensBuilder()
    kept.add(examples)
    tokens = kept.finish()
    assert isinstance(tokens, Tokens), "no Python object a row"
    assert tokens.lengths().tolist() == [16] * 3
    batch = pixels.collate(list(tokens))
    expected = processor(images, return_tensors="pt")["pixel_values"].float()
    assert batch["tokens"] == 48
    assert torch.allclose(batch["pixel_values"], expected, atol=1e-6)


def test_one_channel() -> None:
    config = AutoConfig.for_model("vit", num_channels=1, patch_size=4)
    pixels = Pixels(PROCESSORS["imagenet"], config)  # made for three
    example = pixels.encode([{"image": as_bytes(noise(1))}])[0]
    assert example["pixels"].shape == (16 * 16,)
    assert pixels.collate([example])["pixel_values"].shape == (1, 1, 16, 16)


def test_a_processor_that_leaves_sizes_as_they_are_is_refused() -> None:
    pixels = Pixels(ViTImageProcessor(do_resize=False), AutoConfig.for_model("vit"))
    with pytest.raises(UsageError, match="images of different sizes"):
        pixels.encode([{"image": as_bytes(noise(1))}, {"image": as_bytes(noise(2, (8, 9)))}])
