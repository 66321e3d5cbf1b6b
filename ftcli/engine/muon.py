"""Muon: updates of hidden matrices with all singular values alike, beside AdamW for everything else.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". A hidden matrix moves along its momentum
made orthogonal by a few Newton-Schulz iterations. Embeddings and heads, whose rows are used one by one, and vectors
(norms, biases) have no use for that and stay with AdamW.

One learning rate and one decay serve both: an orthogonal (m, n) matrix has entries of root mean square
1 / sqrt(max(m, n)), and times 0.2 sqrt(max(m, n)) they are as large as those of AdamW's updates usually are, so that
what is right for AdamW is right for Muon (Liu et al. 2025, "Muon is scalable for LLM training", arXiv:2502.16982).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.engine.optim import adamw_settings, decay_groups
from ftcli.engine.precision import cpu_is_fast_at_bf16
from ftcli.errors import UsageError
from ftcli.recipe.schema import OptimizerRecipe

MOMENTUM = 0.95
"""As published; beta1 and beta2 are AdamW's."""
LIKE_ADAMW = 0.2
"""Root mean square of an update per unit of learning rate."""


def muon(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Muon for the `hidden_matrices` of `model`, AdamW for the rest; UsageError where there are none to train."""
    assert recipe.lr is not None
    matrices = hidden_matrices(model)
    if not matrices:
        raise UsageError("optimizer muon: no hidden matrix of the model is trained", hint="--set optimizer.name=adamw")
    slow = matrices[0].device.type == "cpu" and not cpu_is_fast_at_bf16()
    kind = Fp32Muon if slow else torch.optim.Muon
    if recipe.layer_decay < 1:
        raise UsageError(
            "optimizer.layer_decay goes with adamw, and the optimizer is muon", hint="leave one of them out"
        )
    decay = recipe.weight_decay
    hidden = kind(matrices, recipe.lr, decay, MOMENTUM, nesterov=True, adjust_lr_fn="match_rms_adamw")
    taken = {id(matrix) for matrix in matrices}
    rest = [
        {**group, "params": [p for p in group["params"] if id(p) not in taken]} for group in decay_groups(model, decay)
    ]
    rest = [group for group in rest if group["params"]]
    return Together(hidden, *([torch.optim.AdamW(rest, **adamw_settings(model, recipe))] if rest else []))


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Trainable weights of linear layers in the model's body: not embeddings, not heads, nor what is tied to them."""
    modules = list(model.modules())
    bodies = [m for m in modules if getattr(m, "base_model", None) is m] or [model]
    apart = {id(m.weight) for m in modules if isinstance(m, nn.Embedding)}
    for module in modules:  # where a model and its body are one, the output layer is inside
        ask = getattr(module, "get_output_embeddings", None)
        head = ask() if callable(ask) else None
        apart |= {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
    found: dict[int, nn.Parameter] = {}
    for body in bodies:
        for name, parameter in body.named_parameters():
            is_matrix = name.rsplit(".", 1)[-1] == "weight" and parameter.ndim == 2 and min(parameter.shape) > 1
            if is_matrix and parameter.requires_grad and id(parameter) not in apart:
                found[id(parameter)] = parameter
    return list(found.values())


class Together(torch.optim.Optimizer):
    """Optimisers of different parameters as one: the groups are their own, the state is shared."""

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        super().__init__([group for member in members for group in member.param_groups], {})
        self.members = members
        for member in members:
            member.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member in self.members:
            member.step()
        return loss


class Fp32Muon(torch.optim.Muon):
    """torch's Muon with its iterations in fp32, for CPUs without bf16 instructions: torch's take 20 to 50 times as long
    there. Settings and state are the same, and updates but for the rounding."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on all matrices that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                averaged = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                ahead = matrix.grad.lerp(averaged, momentum)
                update = orthogonal(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
                matrix.mul_(1 - lr * group["weight_decay"])
                matrix.add_(update, alpha=-lr * LIKE_ADAMW * math.sqrt(max(matrix.shape)))
        return loss


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """`matrix` (m, n) with its singular values brought near 1, its singular vectors kept.

    Each step takes every singular value s to a s + b s^3 + c s^5, which needs products of matrices alone; the published
    coefficients bring small ones up fast and end between about 0.7 and 1.2.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
