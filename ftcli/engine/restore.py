"""Complete training state read back from disk into a loop, by one process or several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ftcli.engine.checkpoint import BESIDE, BEST, MODEL, OPTIMIZER, RANDOM, SHARES, STATE, trained_tensors
from ftcli.engine.loop import Loop
from ftcli.engine.row_adamw import RowAdamW, spread
from ftcli.engine.seeding import restore_own_random_state
from ftcli.engine.shares import load_shares, shapes
from ftcli.models.whole import is_shared, like, load_into


def load_checkpoint(path: Path, loop: Loop) -> dict[str, Any]:
    """Put the state of the whole checkpoint `path` into `loop`; returns the run's own `progress`."""
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    for file in (MODEL, BEST):
        check_weights(path / file, loop.model)
    model, moments = _shares(path / SHARES, loop) if (path / SHARES).is_dir() else _files(path)
    load_into(loop.model, model)
    _restore_optimizer(loop, moments, state["optimizer"])
    restore_own_random_state(load_file(path / RANDOM), state["random"], loop.precision.device)
    if state["scaler"]:
        loop.precision.scaler.load_state_dict(state["scaler"])
    loop.restore(state["loop"])
    if min(loop.step, loop.epoch, loop.position) < 0:
        raise ValueError("a position before the first step")
    loop.rows_at(loop.epoch, loop.position)  # LookupError where there is no such step
    progress: dict[str, Any] = state["progress"]
    return progress


def kept_beside(path: Path) -> dict[str, Tensor]:
    """What regularisers kept in the whole checkpoint `path`."""
    return load_file(path / BESIDE) if (path / BESIDE).exists() else {}


def _files(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the model, and of the optimiser, whole."""
    return load_file(path / MODEL), load_file(path / OPTIMIZER)


def _shares(path: Path, loop: Loop) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same as this process holds them: of a sharded model its shares, else whole. ValueError where they are not
    those of the loop's model."""
    named = trained_tensors(loop.model, lambda tensor: tensor.detach())
    found = {name.removeprefix("model/"): size for name, size in shapes(path).items() if name.startswith("model/")}
    _compare(found, {name: list(tensor.shape) for name, tensor in named.items()})

    def template(place: str, size: list[int], dtype: torch.dtype) -> Tensor:
        name = place.removeprefix("model/") if place.startswith("model/") else place.split("/", 1)[1].rsplit("/", 1)[0]
        of_weight = named.get(name)
        if of_weight is not None and is_shared(of_weight) and list(of_weight.shape) == size:
            return torch.empty_like(of_weight, dtype=dtype)
        return torch.empty(size, dtype=dtype)

    tensors = load_shares(path, template)
    kinds = ("model/", "optimizer/")
    model, moments = ({n.removeprefix(k): t for n, t in tensors.items() if n.startswith(k)} for k in kinds)
    return model, moments


def check_weights(path: Path, model: nn.Module) -> None:
    """ValueError (or safetensors' own error) where the weights in `path`, if it is there, are not those of `model`."""
    if not path.exists():
        return
    expected = {name: list(tensor.shape) for name, tensor in trained_tensors(model).items()}
    with safe_open(path, "pt") as weights:
        found = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    _compare(found, expected)


def _compare(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> None:
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ValueError(f"'{name}' has the shape {found.get(name)}, not {expected.get(name)}")


def _restore_optimizer(loop: Loop, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
    parameters = dict(loop.model.named_parameters())
    loop.optimizer.state.clear()
    loop.optimizer.zero_grad(set_to_none=True)
    for place, value in [*tensors.items(), *numbers.items()]:
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        if isinstance(value, Tensor) and (value.ndim or parameter.is_cuda):
            # AdamW keeps its step counter on the host unless it is fused on a GPU; moments follow their parameter.
            value = like(value, parameter) if value.ndim else value.to(parameter.device)
        loop.optimizer.state[parameter][key] = value
    if not isinstance(loop.optimizer, RowAdamW):  # the run went on from a CPU to a GPU
        for weight, state in loop.optimizer.state.items():
            if "rows" in state:
                spread(weight, state)
