"""A smaller model out of a larger one: layers, feed-forward units and attention heads taken away.

What stays keeps its weights, and the configuration says what is left, so that the result loads as any other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.errors import UsageError
from ftcli.models.states import layers_of

_TIED_WIDTH = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra"})
"""Architectures whose heads together are as wide as the model: fewer heads of the same size make it narrower."""
_OWN_SIZE = frozenset({"vit", "deit"})
"""Architectures whose configuration can say the size of a head."""


def keep_layers(model: nn.Module, numbers: Sequence[int], name: str) -> None:
    """Keep these layers, from 0, in this order."""
    config: Any = getattr(model, "config")  # noqa: B009
    stack = layers_of(model, name)
    if not numbers or not all(0 <= number < len(stack) for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"student.layers is {list(numbers)}; {name} has layers 0 to {len(stack) - 1}, each once at most",
            hint=f"--set student.layers={max(1, len(stack) // 2)}",
        )
    kept = nn.ModuleList(stack[number] for number in numbers)
    for number, layer in enumerate(kept):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number  # type: ignore[assignment]
    _put_in_place(model, stack, kept)
    if isinstance(types := getattr(config, "layer_types", None), list):
        config.layer_types = [types[number] for number in numbers]
    config.num_hidden_layers = len(kept)


def keep_ffn(model: nn.Module, share: float, name: str) -> None:
    """Keep this share of each layer's feed-forward units: those with the largest product of norms, in times out."""
    config: Any = getattr(model, "config")  # noqa: B009
    key = next((key for key in ("intermediate_size", "hidden_dim") if isinstance(getattr(config, key, None), int)), "")
    width = int(getattr(config, key, 0))
    count = max(1, round(share * width))
    for layer in layers_of(model, name):
        linear = [part for part in layer.modules() if isinstance(part, nn.Linear)]
        into = [part for part in linear if part.out_features == width]
        out = [part for part in linear if part.in_features == width]
        if not into or len(out) != 1 or width == config.hidden_size:
            raise UsageError(
                f"student.ffn: the feed-forward part of {name} ({config.model_type}) is not known here",
                hint="leave it out; student.layers makes a smaller model too",
            )
        worth = out[0].weight.norm(dim=0)
        for part in into:
            worth = worth * part.weight.norm(dim=1)
        kept = _largest(worth, count)
        for part in into:
            _select(part, 0, kept)
        _select(out[0], 1, kept)
    setattr(config, key, count)


def keep_heads(model: nn.Module, count: int, name: str) -> None:
    """Keep so many heads of each layer: those with the largest product of norms, of values times of what they add.

    In architectures as wide as their heads together the model becomes narrower in proportion: it keeps the numbers per
    token that weights are largest for.
    """
    config: Any = getattr(model, "config")  # noqa: B009
    kind, heads = config.model_type, config.num_attention_heads
    if kind not in _TIED_WIDTH | _OWN_SIZE:
        raise UsageError(
            f"student.heads: {name} ({kind}) has no way to say that it has fewer heads", hint="leave it out"
        )
    if not 1 <= count <= heads:
        raise UsageError(f"student.heads is {count}; {name} has {heads}")
    size = config.hidden_size // heads
    for layer in layers_of(model, name):
        query, key, value, out = _attention(layer)
        per_head = value.weight.reshape(heads, -1).norm(dim=1)
        kept = _largest(per_head * out.weight.T.reshape(heads, -1).norm(dim=1), count)
        places = (kept[:, None] * size + torch.arange(size)).flatten()
        for part in (query, key, value):
            _select(part, 0, places)
        _select(out, 1, places)
        owner: Any = next(part for part in layer.modules() if hasattr(part, "num_attention_heads"))
        owner.num_attention_heads = count
        if hasattr(owner, "all_head_size"):
            owner.all_head_size = count * size
    config.num_attention_heads = count
    if kind in _OWN_SIZE:
        config.head_dim = size
    else:
        _narrow(model, count * size, name)


def _narrow(model: nn.Module, width: int, name: str) -> None:
    """Keep `width` numbers per token everywhere; heads are cut already."""
    config: Any = getattr(model, "config")  # noqa: B009
    before = config.hidden_size
    if width == before:
        return
    if before in (config.intermediate_size, config.num_labels) or getattr(config, "embedding_size", before) != before:
        raise UsageError(f"student.heads: {name} has other parts as wide as its states", hint="leave it out")
    of_heads = set()
    for layer in layers_of(model, name):
        query, key, value, out = _attention(layer)
        of_heads |= {(id(part.weight), 0) for part in (query, key, value)} | {(id(out.weight), 1)}
        of_heads |= {(id(part.bias), 0) for part in (query, key, value)}
    worth = torch.zeros(before)
    parameters = [(p, d) for p in model.parameters() for d in range(p.ndim) if p.shape[d] == before]
    entries = {(id(part.weight), 0) for part in model.modules() if isinstance(part, nn.Embedding)}
    parameters = [(p, d) for p, d in parameters if (id(p), d) not in of_heads | entries]
    for parameter, dim in parameters:
        if parameter.ndim == 2:
            worth += parameter.detach().square().sum(1 - dim) / parameter.shape[1 - dim]
    kept = _largest(worth, width)
    for parameter, dim in parameters:
        parameter.data = parameter.data.index_select(dim, kept).contiguous()
    for part in model.modules():
        _say_sizes(part, width)
    config.hidden_size = width
    if hasattr(config, "embedding_size"):
        config.embedding_size = width


def _say_sizes(part: nn.Module, width: int) -> None:
    """Have a part's own record of its sizes be that of its weights."""
    if isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, nn.Embedding):
        part.num_embeddings, part.embedding_dim = part.weight.shape
    elif isinstance(part, nn.LayerNorm):
        part.normalized_shape = tuple(part.weight.shape)


def check_config(model: nn.Module, name: str) -> None:
    """UsageError where the configuration would not give a model of this shape again."""
    config: Any = getattr(model, "config")  # noqa: B009
    with torch.device("meta"):
        again = {key: value.shape for key, value in type(model)(config).state_dict().items()}
    own = {key: value.shape for key, value in model.state_dict().items()}
    if again != own:
        odd = next((key for key in own if again.get(key) != own[key]), "its parts")
        raise UsageError(
            f"{name} ({config.model_type}) cannot be cut this way: its configuration has no words for {odd}",
            hint="student.layers alone",
        )


def _attention(layer: nn.Module) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
    """Query, key, value and output maps of a layer."""
    by_name = {name: part for name, part in layer.named_modules() if isinstance(part, nn.Linear)}
    found = []
    for ends in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("attention.output.dense", "o_proj")):
        found.append(next(part for name, part in by_name.items() if name.endswith(ends)))
    return found[0], found[1], found[2], found[3]


def _largest(worth: Tensor, count: int) -> Tensor:
    """(count,) places of the largest, in their order."""
    return worth.detach().topk(count).indices.sort().values


def _select(part: nn.Linear, dim: int, kept: Tensor) -> None:
    """Keep these rows (dim 0) or columns (1) of a linear map."""
    part.weight = nn.Parameter(part.weight.detach().index_select(dim, kept).contiguous())
    if dim == 0 and part.bias is not None:
        part.bias = nn.Parameter(part.bias.detach().index_select(0, kept).contiguous())
    part.out_features, part.in_features = part.weight.shape


def _put_in_place(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for part in model.modules():
        for name, child in part.named_children():
            if child is old:
                setattr(part, name, new)
                return
