"""What tasks of sounds share: rows to the features a model hears by, batches of these, and sounds varied for
training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ftcli.contract import Example, Row
from ftcli.data.sounds import decode, resampled
from ftcli.errors import UsageError

Floats = npt.NDArray[np.float32]

_SHORTEST = 0.1
"""Seconds; shorter sounds get silence behind them, as no model has a frame for less."""
_NUMBERS_A_TOKEN = 256
"""Numbers of a spectrogram that count for one token where batches are made by size: a patch of 16 by 16."""
_SAMPLES_A_TOKEN = 320
"""The same of a model that takes samples, where its configuration does not say."""
_STRETCH, _WARP, _GAIN, _ONSET, _HIDDEN = 0.2, 0.1, 0.3, 0.15, 0.15
"""How far a sound is varied at most: its speed, the pitch of the voice, its loudness (in units of the normalised
features), its onset (share of the room), and the share of times and of pitches that are hidden."""


class Waves:
    """A feature extractor with its batches. Features are computed once per sound and kept as the bits of fp32 numbers.

    `inputs` are the names of what the model's forward pass takes, `longest` seconds are heard of a sound.
    """

    def __init__(self, extractor: Any, config: Any, inputs: Collection[str], longest: float) -> None:
        self._extractor, self._longest = extractor, longest
        self.rate = int(extractor.sampling_rate)
        self.name = str(extractor.model_input_names[0])
        if self.name not in inputs:
            raise UsageError(
                f"the feature extractor makes {self.name}, and the model takes {', '.join(sorted(inputs))}",
                hint="copy preprocessor_config.json from where the model comes from",
            )
        short, long = (self._features(np.zeros(int(self.rate * seconds), np.float32)) for seconds in (0.2, 0.6))
        self._fixed: tuple[int, ...] | None = short.shape if short.shape == long.shape else None
        self._width = 0 if short.ndim == 1 else int(short.shape[-1])
        self._by_pitch = self.name == "input_features" and self._fixed is not None and short.shape[0] < short.shape[1]
        masks = bool(getattr(extractor, "return_attention_mask", False)) and "attention_mask" in inputs
        self._masks = masks and self._fixed is None
        stride = int(np.prod(getattr(config, "conv_stride", None) or [_SAMPLES_A_TOKEN]))
        self._per_token = _NUMBERS_A_TOKEN if self._width else stride
        masked = int(getattr(config, "mask_time_length", 0) or 0) if getattr(config, "apply_spec_augment", False) else 0
        # A model that hides stretches of a fixed length while it is trained wants batches longer than these.
        self._least = 0 if self._width else (masked + 2) * stride + 400

    def _features(self, samples: Floats) -> Floats:
        lacking = int(_SHORTEST * self.rate) - len(samples)
        if lacking > 0:
            samples = np.pad(samples, (0, lacking))
        made = self._extractor(samples, sampling_rate=self.rate, return_tensors="np")
        found: Floats = np.asarray(made[self.name][0], dtype=np.float32)
        return found

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """``values``: int32 bits of the features, flat; ``tokens``: their size as batches count it; ``truncated``.

        DataError for a file that has gone.
        """
        found: list[Example] = []
        for row in rows:
            samples, cut = decode(row["audio"], self.rate, self._longest)
            found.append(self._example(self._features(samples), cut))
        return found

    def _example(self, features: Floats, cut: bool) -> Example:
        flat = np.ascontiguousarray(features).reshape(-1)
        tokens = max(1, len(flat) // self._per_token)
        return {"values": flat.view(np.int32), "tokens": tokens, "truncated": cut}

    def features(self, example: Example) -> Floats:
        """The features of an example in their shape: (samples,), or (frames, pitches) as the extractor lays them."""
        flat: Floats = np.ascontiguousarray(example["values"], dtype=np.int32).view(np.float32)
        if self._fixed is not None:
            return flat.reshape(self._fixed)
        return flat.reshape(-1, self._width) if self._width else flat

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The model's input under its own name, float32, filled up with what the extractor fills up with, and where
        it is told apart ``attention_mask``; ``lengths`` (rows,) int64 before that; ``tokens`` in all."""
        features = [self.features(example) for example in examples]
        longest = max(max(len(one) for one in features), self._least)
        filling = float(getattr(self._extractor, "padding_value", 0.0))
        values = np.full((len(features), longest, *features[0].shape[1:]), filling, np.float32)
        lengths = torch.tensor([len(one) for one in features])
        for place, one in zip(values, features, strict=True):
            place[: len(one)] = one
        batch: dict[str, Any] = {self.name: torch.from_numpy(values), "lengths": lengths}
        if self._masks:
            batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        batch["tokens"] = sum(int(example["tokens"]) for example in examples)
        return batch

    def varied(self, example: Example, random: np.random.Generator) -> Example:
        """The sound said a little otherwise: faster or slower, by a higher or lower voice, louder or softer, later,
        with stretches of times and pitches hidden; of samples, their speed alone.

        Speed after Ko et al. 2015, "Audio Augmentation for Speech Recognition"; the voice after Jaitly and Hinton 2013,
        "Vocal Tract Length Perturbation"; what is hidden after Park et al. 2019, "SpecAugment" (arXiv:1904.08779).
        """
        features = self.features(example)
        speed = 1 + random.uniform(-_STRETCH, _STRETCH)
        if not self._width:
            thousandths = max(1, round(1000 / speed))
            new = resampled(features, 1000, thousandths)
            return {**example, **self._example(new, bool(example["truncated"]))}
        table = features.T if self._by_pitch else features
        changed = _varied_table(table.copy(), speed, random)
        changed = changed.T if self._by_pitch else changed
        return {**example, **self._example(changed, bool(example["truncated"]))}


def _varied_table(table: Floats, speed: float, random: np.random.Generator) -> Floats:
    """(frames, pitches) varied; what is filled up with stays at the end."""
    filling = table[-1].copy()
    heard = len(table) - int(np.argmax((table[::-1] != filling).any(axis=1)))
    sound = table[:heard]
    if not (table != filling).any():
        return table
    sound = _stretched(sound, min(len(table), max(2, round(heard / speed))))
    warp = 1 + random.uniform(-_WARP, _WARP)
    pitches = np.arange(sound.shape[1]) * warp
    sound = np.stack([np.interp(pitches, np.arange(len(frame)), frame) for frame in sound]).astype(np.float32)
    sound = sound + np.float32(random.uniform(-_GAIN, _GAIN))
    middle = float(sound.mean())
    for axis in (0, 1):
        size = int(random.integers(0, max(1, int(_HIDDEN * sound.shape[axis])) + 1))
        start = int(random.integers(0, sound.shape[axis] - size + 1))
        part = (slice(start, start + size), slice(None)) if axis == 0 else (slice(None), slice(start, start + size))
        sound[part] = middle
    onset = int(random.integers(0, int(_ONSET * (len(table) - len(sound))) + 1))
    quiet = np.repeat(sound[:1], onset, axis=0)
    whole = np.concatenate([quiet, sound])[: len(table)]
    found: Floats = np.concatenate([whole, np.repeat(filling[None], len(table) - len(whole), axis=0)])
    return found


def _stretched(sound: Floats, frames: int) -> Floats:
    """The frames of a sound over another number of them."""
    at = np.linspace(0, len(sound) - 1, frames)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None].astype(np.float32)
    found: Floats = sound[low] * (1 - share) + sound[np.minimum(low + 1, len(sound) - 1)] * share
    return found
