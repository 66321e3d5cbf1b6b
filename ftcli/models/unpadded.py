"""Models without padding: the tokens of a batch flattened into one row, each sequence attending to itself.

Nothing of the model changes but the way its attention is called (transformers' attention interface) and two hooks:
one flattens what goes into the model, one puts the encoder's (or decoder's) result back into rows. Where a call or a
model does not fit, it runs padded, as it was: generation with its cache among them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ftcli.models.attention import Sight, attend, attend_from_first
from ftcli.models.layout import Layout, moved
from ftcli.models.row_random import row_streams

ATTENTION = "ftcli_unpadded"
ENCODERS = {
    "bert": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "camembert": "encoder",
    "electra": "encoder",
    "distilbert": "transformer",
    "albert": "encoder",
    "modernbert": "",
}
"""Architecture -> the part of its base model whose result goes back into rows; "" is the base model itself."""
DECODERS = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3"})
"""Architectures whose base model is a decoder alone: each token sees those before it in its sequence."""
_COUNTS_FROM_PADDING = {"roberta", "xlm-roberta", "camembert"}
"""Architectures whose positions begin after the padding index."""
_HALF = (torch.float16, torch.bfloat16)
_FILL_TO = 16
"""Tokens of a batch in half precision on a CPU are filled up to a multiple of it: oneDNN makes a kernel of its own for
every shape of a product, and keeps only so many."""


@dataclass(frozen=True)
class FlatRows:
    """Where the real tokens of a padded batch lie, known on the host so that nobody has to ask the device."""

    lengths: list[int]
    places: Tensor
    """(tokens,) int64 into the rows laid end to end, padding included."""

    @classmethod
    def of(cls, mask: Tensor) -> FlatRows | None:
        """From a mask (rows, tokens) on the host; None where a row is empty or its padding is not on the right."""
        real = mask.numpy() != 0
        lengths = real.sum(1)
        if not (lengths > 0).all() or not np.array_equal(real, np.arange(mask.shape[1]) < lengths[:, None]):
            return None
        return cls(lengths.tolist(), torch.from_numpy(np.flatnonzero(real)))


_rows: ContextVar[FlatRows | None] = ContextVar("rows", default=None)


@contextmanager
def known_rows(rows: FlatRows | None) -> Iterator[None]:
    """What the model is called with inside has these rows."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def run_unpadded(model: Any, *, first_only: bool = False) -> bool:
    """Have `model` run without padding from now on; False, and nothing done, where its architecture cannot.

    `first_only` says that whoever takes the encoder's result looks at the first token of each row alone, so that the
    last layer computes no others (its keys and values aside); the result then holds that token only.
    """
    config = model.config
    decodes = config.model_type in DECODERS
    part = "" if decodes else ENCODERS.get(config.model_type)
    base = getattr(model, model.base_model_prefix, model)
    encoder = getattr(base, part, None) if part else base
    if part is None or not isinstance(encoder, nn.Module):
        return False
    if getattr(config, "is_decoder", False) and not decodes:
        return False
    if config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)
    _Hooks(base, encoder)
    if first_only and config.model_type in _LAYERS:
        layers: Any = encoder.layer
        layers[-1].forward = partial(_last_layer, layers[-1].forward, partial(_LAYERS[config.model_type], layers[-1]))
    return True


def computed_tokens(model: nn.Module, batch: Mapping[str, Any], *, half: bool) -> int:
    """Tokens that a pass of `model` over a batch still on the host computes, padding among them where it runs padded.

    `half` says whether it computes in half precision. A batch without token ids says its ``tokens``, or counts rows.
    """
    ids = batch.get("input_ids")
    if ids is None:
        return int(batch.get("tokens", len(next(iter(batch.values())))))
    rows, attention = batch.get("rows"), getattr(getattr(model, "config", None), "_attn_implementation", None)
    if attention == ATTENTION and rows is not None and _flattens(next(model.parameters()).device, half=half):
        tokens: int = sum(rows.lengths)
        return tokens + (_filler(tokens) if half and next(model.parameters()).is_cpu else 0)
    return int(ids.numel())


def _filler(tokens: int) -> int:
    """Tokens to be added to so many in half precision on a CPU."""
    return -tokens % _FILL_TO


def _flattens(device: torch.device, *, half: bool) -> bool:
    """Flash attention for sequences of unequal length computes in half precision only."""
    return device.type == "cpu" or (device.type == "cuda" and half)


def _last_layer(
    whole: Any, first_only: Any, hidden: Tensor, *given: Any, layout: Layout | None = None, **named: Any
) -> Tensor:
    """The last layer's forward pass: for first tokens where the batch is flattened, else as it was."""
    if layout is None:
        return whole(hidden, *given, **named)  # type: ignore[no-any-return]
    return first_only(hidden[0], layout)[None]  # type: ignore[no-any-return]


def _bert_layer(layer: Any, hidden: Tensor, layout: Layout) -> Tensor:
    """(tokens, size) -> (sequences, size): a layer of the BERT family for the first tokens."""
    own, first = layer.attention.self, hidden[layout.first_tokens]
    query, key, value = (
        part(x).unflatten(-1, (own.num_attention_heads, -1))
        for part, x in ((own.query, first), (own.key, hidden), (own.value, hidden))
    )
    dropout = own.dropout.p if layer.training else 0.0
    seen = attend_from_first(query, key, value, layout, scale=own.scaling, dropout=dropout)
    attended = layer.attention.output(seen.flatten(1), first)
    return layer.output(layer.intermediate(attended), attended)  # type: ignore[no-any-return]


_LAYERS = dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _bert_layer)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention function: (rows, heads, tokens, size) each, to (rows, tokens, heads, size)."""
    if layout is None:
        padded: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return padded
    window = options.get("sliding_window")
    scaling = options.get("scaling")
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    out = attend(
        query,
        key,
        value,
        layout,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        dropout=options.get("dropout", 0.0),
        # transformers gives the first distance out of sight, as flash attention's callers count.
        sight=Sight(None if window is None else window - 1, causal=getattr(module, "is_causal", False)),
    )
    return out[None], None


def _flat(x: Tensor, places: Tensor, extra: int, fill: int) -> Tensor:
    """(rows, width) to (1, tokens + extra): the values at `places`, then `fill`."""
    return nn.functional.pad(x.reshape(-1)[places], (0, extra), value=fill)[None]


class _Hooks:
    """Flattens what comes into the base model, and makes rows again of what leaves its encoder."""

    def __init__(self, base: Any, encoder: nn.Module) -> None:
        self.config = base.config
        self.names = list(inspect.signature(base.forward).parameters)
        self.layout: Layout | None = None
        self.places = torch.empty(0)
        self.shape = (0, 0)
        base.register_forward_pre_hook(self.flatten, with_kwargs=True)
        encoder.register_forward_hook(self.make_rows, prepend=True)  # before whoever looks at the result

    def flatten(self, base: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Arguments of the base model for one long row; None, and padded running, where the call does not fit."""
        self.layout = None
        asked = {
            n: v for n, v in [*zip(self.names, given, strict=False), *named.items()] if v is not None and v is not False
        }
        rows = self._rows(asked)
        if rows is None:
            return None
        ids = asked["input_ids"]
        device = ids.device
        self.shape, self.places = ids.shape, moved(rows.places, device)
        half = device.type == "cpu" and torch.is_autocast_enabled("cpu")
        extra = _filler(len(self.places)) if half else 0
        if base.training and (streams := row_streams()) is not None:
            streams.layouts[len(self.places) + extra] = rows.lengths
        self.layout = Layout(rows.lengths, device, extra)
        fills = {"input_ids": self.config.pad_token_id or 0, "token_type_ids": 0}
        flat = {n: _flat(v, self.places, extra, fills[n]) for n, v in asked.items() if n in fills}
        first = self.config.pad_token_id + 1 if self.config.model_type in _COUNTS_FROM_PADDING else 0
        lengths = [*rows.lengths, extra]
        positions = torch.cat([torch.arange(first, first + length) for length in lengths])
        return (), {
            **{n: v for n, v in asked.items() if n not in flat},
            **flat,
            **self._without_mask(device),
            "position_ids": moved(positions, device)[None],
            "layout": self.layout,
        }

    def _without_mask(self, device: torch.device) -> dict[str, Any]:
        """How the architecture is told that attention needs no mask, and that there is nothing to keep in a cache."""
        if self.config.model_type in DECODERS:
            # A mask of four dimensions is taken as it is; for none, one would be made of all tokens by all tokens.
            return {"attention_mask": torch.empty(1, 1, 0, 0, device=device), "use_cache": False}
        if self.config.model_type == "modernbert":  # takes one by kind of layer
            return {"attention_mask": dict.fromkeys(self.config.layer_types)}
        return {"attention_mask": None}

    def make_rows(self, encoder: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        """The encoder's result as (rows, tokens, size), zero where there is padding."""
        if self.layout is None:
            return None
        self.layout = None
        hidden = output.last_hidden_state[0]
        rows, width = self.shape
        if len(hidden) == rows < len(self.places):  # first tokens only
            output.last_hidden_state = hidden[:, None]
            return output
        hidden = hidden[: len(self.places)]
        padded = hidden.new_zeros(rows * width, hidden.shape[-1]).index_copy(0, self.places, hidden)
        output.last_hidden_state = padded.view(rows, width, -1)
        return output

    @staticmethod
    def _rows(asked: dict[str, Any]) -> FlatRows | None:
        """The rows of a plain call (token ids, at most a mask over them, nothing else wanted); None for another."""
        ids, mask = asked.get("input_ids"), asked.get("attention_mask")
        if (
            set(asked) - {"input_ids", "attention_mask", "token_type_ids", "return_dict"}
            or ids is None
            or ids.ndim != 2
        ):
            return None
        half = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") in _HALF
        if not _flattens(ids.device, half=half):
            return None
        rows = _rows.get()
        if rows is None and (mask is None or mask.shape == ids.shape):
            rows = FlatRows.of(torch.ones(ids.shape) if mask is None else mask.cpu())
        return rows if rows is not None and len(rows.lengths) == len(ids) else None
