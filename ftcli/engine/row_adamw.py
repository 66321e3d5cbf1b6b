"""AdamW for a large embedding, at the cost of the rows that batches have held so far: the same updates.

A row that no batch has held yet has no gradient and no moments: all AdamW does to it is to decay it, and as nothing
reads it, that can wait. One number holds the decay that all such rows are behind; a row takes it before the first
forward pass that reads it, all of them take it by `flush`. Rows once held have moments and are updated at every step,
packed together, by torch's own fused kernel. The weight's state is

    rows        their numbers in the order they came, which is the order of
    exp_avg, exp_avg_sq
    step        as AdamW has it
    decay       what all other rows have to be multiplied with

and a checkpoint keeps it as it is: nothing is flushed for it, so that a resumed run equals one that never stopped.
Once many rows were held the weight becomes an ordinary one of AdamW's, with an ordinary state, for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_update

ENOUGH = 2**20
"""Numbers in an embedding below which nothing is gained."""
MANY = 1 / 3
"""Share of rows from which on packing them costs about what it saves."""
MOMENTS = ("exp_avg", "exp_avg_sq")


def row_embedding(model: nn.Module) -> nn.Embedding | None:
    """The largest embedding of `model` on the CPU whose gradient may be sparse; None where none is large enough."""
    modules = list(model.modules())
    owners: dict[int, int] = {}
    for module in modules:
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found = [
        module
        for module in modules
        if type(module) is nn.Embedding
        and module.weight.requires_grad
        and module.weight.device.type == "cpu"
        and module.weight.dtype in {torch.float32, torch.float64}
        and module.weight.numel() >= ENOUGH
        and module.max_norm is None
        and not module.scale_grad_by_freq
        and owners[id(module.weight)] == 1  # an output layer tied to it has a gradient for every row
    ]
    return max(found, key=lambda module: module.weight.numel(), default=None)


class RowAdamW(torch.optim.AdamW):
    """torch's AdamW, with `embedding`'s weight updated by rows."""

    def __init__(self, groups: Iterable[dict[str, Any]], embedding: nn.Embedding, **settings: Any) -> None:
        super().__init__(groups, **{**settings, "fused": True})
        self._embedding = embedding
        self._places = torch.full((embedding.num_embeddings,), -1, dtype=torch.int64)
        """Of each row among those held, or -1."""
        self._rows: Tensor | None = None
        """The state's own rows that the places are of; a checkpoint puts others there."""
        self._room: dict[str, Tensor] = {}
        """Packed moments, weights and gradients, with room for more rows; the gradients are zero between steps."""
        embedding.register_forward_pre_hook(self._before_forward, with_kwargs=True)

    @torch.no_grad()
    def flush(self) -> None:
        """Bring all rows of the weight up to date."""
        weight = self._embedding.weight
        state = self.state[weight]
        if state.get("decay", 1.0) != 1.0:
            _decay_others(weight, state["rows"], state["decay"])
            state["decay"] = 1.0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of AdamW on all parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        weight = self._embedding.weight
        state, gradient = self.state[weight], weight.grad
        if gradient is not None and "rows" in state:
            # A gradient that is not sparse comes from a use of the weight outside the embedding.
            if gradient.is_sparse and len(state["rows"]) <= MANY * len(weight):
                weight.grad = None
                self._step_rows(gradient.coalesce(), state)
            else:
                spread(weight, state)
                weight.grad = gradient.to_dense()
        super().step()
        return loss

    def _before_forward(self, embedding: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Rows that are read for the first time are brought up to date and get moments."""
        if not (embedding.training or torch.is_grad_enabled()):
            return
        state = self.state[self._embedding.weight]
        self._embedding.sparse = not state or "rows" in state
        if not self._embedding.sparse:
            return
        with torch.no_grad():
            self._take_up(state)
            ids = (args[0] if args else kwargs["input"]).reshape(-1)
            new = ids[self._places[ids] < 0].unique()
            if len(new):
                self._add(new, state)

    def _take_up(self, state: dict[str, Any]) -> None:
        """Fit what is kept here to the weight's state, where that is new or a checkpoint's."""
        weight = self._embedding.weight
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["rows"] = torch.zeros(0, dtype=torch.int64)
            state |= {name: weight.new_zeros((0, weight.shape[1])) for name in MOMENTS}
            state["decay"] = 1.0
        if state["rows"] is not self._rows:
            self._rows = rows = state["rows"]
            self._places.fill_(-1)
            self._places[rows] = torch.arange(len(rows))
            self._room = {}
            self._reserve(len(rows), state)

    def _add(self, new: Tensor, state: dict[str, Any]) -> None:
        weight, before = self._embedding.weight, len(state["rows"])
        weight.index_copy_(0, new, weight[new] * state["decay"])
        state["rows"] = self._rows = torch.cat([state["rows"], new])
        self._places[new] = torch.arange(before, before + len(new))
        self._reserve(before + len(new), state)

    def _reserve(self, count: int, state: dict[str, Any]) -> None:
        """Make the moments in `state` those of `count` rows, the added ones' zero."""
        if not self._room or count > len(self._room["gradient"]):
            weight = self._embedding.weight
            self._room = {
                name: weight.new_zeros((min(2 * count, len(weight)), weight.shape[1]))
                for name in (*MOMENTS, "weight", "gradient")
            }
            for name in MOMENTS:
                self._room[name][: len(state[name])] = state[name]
        for name in MOMENTS:
            state[name] = self._room[name][:count]

    @torch.no_grad()
    def _step_rows(self, gradient: Tensor, state: dict[str, Any]) -> None:
        read = gradient.indices()[0]
        if len(new := read[self._places[read] < 0]):  # by another process of the run
            self._add(new, state)
        whole, rows = self._embedding.weight, state["rows"]
        group = next(group for group in self.param_groups if any(p is whole for p in group["params"]))
        beta1, beta2 = group["betas"]
        weight, packed = self._room["weight"][: len(rows)], self._room["gradient"][: len(rows)]
        torch.index_select(whole, 0, rows, out=weight)
        places = self._places[gradient.indices()[0]]
        packed.index_copy_(0, places, gradient.values())
        adamw_update(
            [weight], [packed], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
            fused=True, amsgrad=False, maximize=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"],
        )  # fmt: skip
        packed.index_fill_(0, places, 0.0)
        whole.index_copy_(0, rows, weight)
        state["decay"] *= 1.0 - group["lr"] * group["weight_decay"]
        if not 0.5 < state["decay"] < 2.0:  # a number far from 1 would run out of its range some day
            self.flush()


@torch.no_grad()
def spread(weight: Tensor, state: dict[str, Any]) -> None:
    """Turn the state of a weight updated by rows into AdamW's own, and bring the weight up to date."""
    rows = state.pop("rows")
    _decay_others(weight, rows, state.pop("decay"))
    for name in MOMENTS:
        state[name] = torch.zeros_like(weight).index_copy_(0, rows, state[name])


def _decay_others(weight: Tensor, rows: Tensor, decay: float) -> None:
    factors = torch.full((len(weight), 1), decay, dtype=weight.dtype, device=weight.device)
    weight.mul_(factors.index_fill_(0, rows, 1.0))
