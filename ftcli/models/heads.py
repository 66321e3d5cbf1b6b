"""A language model's head on chosen positions alone: a vocabulary's worth of numbers for a masked token in seven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FILL_TO = 64
"""Places in half precision on a CPU are filled up to a multiple of it: oneDNN makes a kernel for each shape of a
product and keeps many, and every step has another number of masks."""
_places: ContextVar[Tensor | None] = ContextVar("places", default=None)


@contextmanager
def at_places(places: Tensor) -> Iterator[None]:
    """Inside, a model of `head_at_places` gives (1, places, ...) for these places of its rows laid end to end."""
    token = _places.set(places)
    try:
        yield
    finally:
        _places.reset(token)


def head_at_places(model: Any) -> None:
    """Have `model` able to compute its head for the places of `at_places` only; other calls are as they were."""
    encodes_first = model.config.is_encoder_decoder
    base = model.get_decoder() if encodes_first else getattr(model, model.base_model_prefix)
    assert isinstance(base, nn.Module)
    base.register_forward_hook(_choose)
    model.register_forward_hook(_cut_off)


def _choose(base: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    places = _places.get()
    if places is None:
        return None
    if places.is_cpu and torch.is_autocast_enabled("cpu"):
        places = functional.pad(places, (0, -len(places) % FILL_TO))
    hidden = output.last_hidden_state
    output.last_hidden_state = hidden.reshape(-1, hidden.shape[-1]).index_select(0, places)[None]
    return output


def _cut_off(model: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    """What the places were filled up with, out of the head's results again."""
    places = _places.get()
    if places is None:
        return None
    for name in ("logits", "prediction_logits"):
        if name in output and output[name].shape[0] == 1:
            output[name] = output[name][:, : len(places)]
    return output
