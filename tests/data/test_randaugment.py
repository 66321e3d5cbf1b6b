"""Random changes of images: of the same form, the same for a seed, small where the magnitude is."""

from __future__ import annotations

import numpy as np
import pytest

from ftcli.data.randaugment import CHANGES, changed


def picture(channels: int) -> np.ndarray:
    smooth = np.linspace(40, 200, 16)[None, :, None] + np.linspace(0, 40, 12)[None, None, :]
    return np.repeat(smooth, channels, axis=0).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_keeps_the_form(channels: int) -> None:
    image = picture(channels)
    seen = set()
    for seed in range(60):
        found = changed(image, 2, 0.8, np.random.default_rng(seed))
        assert found.shape == image.shape
        assert found.dtype == np.uint8
        assert np.array_equal(found, changed(image, 2, 0.8, np.random.default_rng(seed)))
        seen.add(found.tobytes())
    assert len(seen) > 30
    assert len(CHANGES) == 10


def test_small_magnitudes_change_little() -> None:
    image = picture(3).astype(int)
    far = [
        np.abs(CHANGES[number](_as_image(image), 0.02) - image.transpose(1, 2, 0)).mean()
        for number in range(len(CHANGES) - 1)  # the last one stretches the shades whatever the amount
    ]
    assert max(far) < 3


def _as_image(pixels: np.ndarray) -> object:
    from PIL import Image

    return Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8))
