"""What goes on inside a model, taken as it runs: hidden states, queries, keys and values of its layers.

Hooks on the layers see the same numbers whether a batch runs padded or not, so that nothing has to run otherwise for
them (attention maps, by contrast, exist only where attention is computed the slow way).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.contract import Batch
from ftcli.errors import UsageError
from ftcli.models.layout import moved
from ftcli.models.unpadded import DECODERS, FlatRows

_NAMES = {
    "query": ("query", "q_lin", "q_proj"),
    "key": ("key", "k_lin", "k_proj"),
    "value": ("value", "v_lin", "v_proj"),
}
PLAIN_ATTENTION = frozenset(
    {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "vit", "deit", "vit_mae"}
)
"""Architectures whose attention is the softmax of query key^T / sqrt(size) of what these layers give, nothing more."""


@dataclass(frozen=True)
class Real:
    """Where the real tokens of a batch lie."""

    lengths: list[int]
    places: Tensor | None
    """(tokens,) into the rows laid end to end; None where all are real."""

    @classmethod
    def of(cls, batch: Batch, tokens_per_row: int) -> Real:
        """From a batch still on the host; `tokens_per_row` counts where rows are not sequences (images)."""
        mask = batch.get("attention_mask")
        if mask is None:
            images = len(next(value for value in batch.values() if isinstance(value, Tensor)))
            return cls([tokens_per_row] * images, None)
        rows: FlatRows | None = batch.get("rows") or FlatRows.of(mask)
        if rows is not None:
            return cls(rows.lengths, rows.places)
        return cls(mask.sum(1).tolist(), mask.flatten().nonzero().squeeze(1))

    def ends(self, *, last: bool) -> Tensor:
        """(rows,) the place of each row's first token, or its last, among the real ones."""
        ends = torch.tensor(self.lengths).cumsum(0)
        return ends - 1 if last else ends - torch.tensor(self.lengths)

    def flat(self, x: Tensor) -> Tensor:
        """(tokens, width) of what a layer gave: (rows, width of the batch, width), or (1, tokens and filler, width)."""
        if self.places is None:
            return x.reshape(-1, x.shape[-1])
        if x.shape[0] == 1:  # without padding, or a single row with its padding on the right
            start = 0 if len(self.lengths) > 1 else int(self.places[0])
            return x[0, start : start + sum(self.lengths)]
        return x.reshape(-1, x.shape[-1]).index_select(0, moved(self.places, x.device))


class Capture:
    """Takes the states in `wanted` out of a model's forward pass.

    ``hidden.I`` are all tokens' states after layer I (0: of the embeddings), ``first.I`` those of the token that stands
    for its row, ``query.I key.I value.I`` what layer I compares and passes on, all heads side by side.
    """

    def __init__(self, model: nn.Module, wanted: Collection[str], name: str) -> None:
        self.wanted = sorted(set(wanted))
        self.config: Any = getattr(model, "config")  # noqa: B009
        self._taken: dict[str, Tensor] | None = None
        self._last = self.config.model_type in DECODERS
        if self.wanted:
            layers = layers_of(model, name)
            for one in sorted({_source(entry) for entry in self.wanted}):
                self._hook(layers, one, name)

    def _hook(self, layers: nn.ModuleList, wanted: str, name: str) -> None:
        kind, _, text = wanted.partition(".")
        number = int(text)
        if kind != "hidden":
            part = _projection(layers[number - 1], kind)
            if part is None:
                raise UsageError(
                    f"{name} ({self.config.model_type}) computes its {kind} in a way that cannot be looked into",
                    hint="leave out distill.attention and distill.relations",
                )
            part.register_forward_hook(lambda module, given, output: self._take(wanted, output))
        elif number == 0:
            layers[0].register_forward_pre_hook(
                lambda module, given, named: self._take(wanted, given[0] if given else named["hidden_states"]),
                with_kwargs=True,
            )
        else:
            layers[number - 1].register_forward_hook(lambda module, given, output: self._take(wanted, output))

    def _take(self, name: str, output: Any) -> None:
        if self._taken is not None:
            self._taken[name] = output[0] if isinstance(output, tuple) else output

    @contextmanager
    def taking(self) -> Iterator[dict[str, Tensor]]:
        """Inside, a forward pass leaves its states in the mapping, as the layers gave them."""
        found: dict[str, Tensor] = {}
        self._taken = found
        try:
            yield found
        finally:
            self._taken = None

    def states(self, taken: dict[str, Tensor], real: Real) -> dict[str, Tensor]:
        """The wanted states of real tokens, (tokens, width), or of rows, (rows, width)."""
        found = {}
        for entry in self.wanted:
            tokens = real.flat(taken[_source(entry)])
            rows = real.ends(last=self._last) if entry.startswith("first.") else None
            found[entry] = tokens if rows is None else tokens.index_select(0, moved(rows, tokens.device))
        return found


def _source(entry: str) -> str:
    """The state that an entry is read off."""
    return f"hidden.{entry.removeprefix('first.')}" if entry.startswith("first.") else entry


def layers_of(model: nn.Module, name: str) -> nn.ModuleList:
    """The stack of layers of an encoder or a decoder; UsageError where there is none, or more than one."""
    config: Any = getattr(model, "config")  # noqa: B009
    count = getattr(config, "num_hidden_layers", None)
    base = getattr(model, str(getattr(model, "base_model_prefix", "")), model)
    stacks = [part for part in base.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if getattr(config, "is_encoder_decoder", False) or len(stacks) != 1:
        raise UsageError(
            f"{name} ({config.model_type}) is no single stack of layers, whose layers could be told apart",
            hint="distill.soft and distill.labels ask for nothing but its answers",
        )
    return stacks[0]


def _projection(layer: nn.Module, kind: str) -> nn.Module | None:
    """The linear map of a layer that makes its queries, keys or values."""
    found = [part for name, part in layer.named_modules() if name.split(".")[-1] in _NAMES[kind]]
    return found[0] if len(found) == 1 else None


def width_of(model: nn.Module) -> int:
    """Numbers per token between layers."""
    return int(getattr(model, "config").hidden_size)  # noqa: B009


def heads_of(model: nn.Module) -> int:
    """Attention heads of a layer."""
    return int(getattr(model, "config").num_attention_heads)  # noqa: B009


def depth_of(model: nn.Module) -> int:
    """Layers."""
    return int(getattr(model, "config").num_hidden_layers)  # noqa: B009
