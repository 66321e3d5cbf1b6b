"""Settings of single tasks, in the manner of `ftcli.recipe.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftcli.recipe.bounds import bounded as _key


@dataclass(frozen=True, kw_only=True)
class LongRecipe:
    """What becomes of texts longer than the model takes."""

    name: Literal["cut", "windows"] = "cut"
    """What becomes of texts longer than train.max_length: they are cut there, or read whole in windows that overlap."""
    overlap: float = _key(0.25, at_least=0, at_most=0.9)
    """Share of a window that the next one reads again."""
    pooling: Literal["mean", "max"] = "mean"
    """How the outputs of a text's windows become one: their mean, or the largest of each."""


@dataclass(frozen=True, kw_only=True)
class MultiLabelRecipe:
    """Any number of labels per text."""

    thresholds: Literal["tuned", "half"] = "tuned"
    """From which probability on a label is given: tuned for each one's F1 on the validation split, or 0.5 for all."""


@dataclass(frozen=True, kw_only=True)
class RegressionRecipe:
    """Numbers to be told of texts."""

    loss: Literal["mse", "mae", "huber"] = "mse"
    """Of the distance to the true number: its square, itself, or its square up to huber_delta and itself beyond."""
    huber_delta: float = _key(1.0, above=0)
    """Where the Huber loss turns from square to straight, in standard deviations of the training numbers."""


@dataclass(frozen=True, kw_only=True)
class TagsRecipe:
    """Tags of tokens."""

    scheme: Literal["auto", "bio", "iob1", "bioes", "plain"] = "auto"
    """Marks of entities: B- where one begins (bio), only between neighbours (iob1), ends too (bioes), none (plain)."""
