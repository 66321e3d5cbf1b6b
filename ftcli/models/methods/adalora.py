"""Low-rank updates whose ranks are dealt out by importance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.models.methods.pefted import Pefted, common


class AdaLoRA(Pefted):
    """W + P diag(e) Q, the ranks of all projections pruned to a common budget while training.

    Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning" (arXiv:2303.10512). It begins
    with `method.init_rank` (by default half as much again as `method.rank`, the mean rank it ends with), prunes after
    `method.warmup_share` of the steps by smoothed sensitivity, and leaves the ranks alone for the last
    `method.final_share`. Only states of the final budget are kept as best.
    """

    def config(self, model: nn.Module) -> Any:
        from peft import AdaLoraConfig

        recipe, rank = self.recipe, self.recipe.rank or 8
        return AdaLoraConfig(
            **common(self, model),
            target_r=rank,
            init_r=recipe.init_rank or rank + (rank + 1) // 2,
            lora_alpha=recipe.alpha or 2 * rank,
            lora_dropout=recipe.dropout,
            orth_reg_weight=recipe.orthogonality,
            total_step=2,  # not known yet; `begin` says
            tinit=0,
            tfinal=0,
            fan_in_fan_out=type(model).__name__.startswith("GPT2"),
        )

    def extend(self, model: nn.Module) -> nn.Module:
        adapted = super().extend(model)
        self._importance = Importance(adapted)
        adapted.add_module("rank_importance", self._importance)
        return adapted

    def begin(self, model: nn.Module, total: int) -> None:
        """The schedule of the budget, in steps."""
        super().begin(model, total)
        config = self.peft.peft_config["default"]
        config.total_step = total
        config.tfinal = min(max(1, round(self.recipe.final_share * total)), total - 1)
        config.tinit = min(round(self.recipe.warmup_share * total), max(0, total - config.tfinal - 1))
        config.deltaT = max(1, total // 100)

    def penalty(self) -> Tensor | None:
        """How far P and Q are from having orthonormal vectors: what makes e their importance."""
        return self.recipe.orthogonality * orthogonality(self.model) if self.recipe.orthogonality else None

    def after_step(self, step: int) -> None:
        """Importance learnt from the step, and the budget of the step kept to."""
        tuner, config = self.peft.base_model, self.peft.peft_config["default"]
        if any(p.grad is None for n, p in self.model.named_parameters() if ".lora_" in n):
            return
        self._importance.put_into(tuner.rankallocator)
        if step > config.total_step - config.tfinal:
            config.rank_pattern = self._importance.pattern()
        tuner.update_and_allocate(step)
        self._importance.take_from(tuner.rankallocator, config.rank_pattern)

    def settled(self, step: int) -> bool:
        """True once the ranks are the final ones."""
        config = self.peft.peft_config["default"]
        return step > config.total_step - config.tfinal or step >= self.total

    def write(self, model: Any, folder: Path) -> None:
        """Without what was pruned."""
        self.peft.peft_config["default"].rank_pattern = {
            name: (values.detach() != 0).view(-1).tolist()
            for name, values in model.named_parameters()
            if ".lora_E." in name
        }
        super().write(model, folder)

    def outcome(self, model: nn.Module) -> str | None:
        ranks = [int((p.detach() != 0).sum()) for name, p in model.named_parameters() if ".lora_E." in name]
        budget = (self.recipe.rank or 8) * len(ranks)
        return f"ranks {min(ranks)} to {max(ranks)} of {len(ranks)} projections, {sum(ranks)} in all (budget {budget})"


class Importance(nn.Module):
    """What the allocation remembers from step to step, as buffers: a checkpoint keeps them with the weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        learnt = [(name, p) for name, p in model.named_parameters() if ".lora_" in name]
        self.names = [name for name, _ in learnt]
        for place, (name, parameter) in enumerate(learnt):
            self.register_buffer(f"sensitivity_{place}", torch.zeros_like(parameter, requires_grad=False))
            self.register_buffer(f"uncertainty_{place}", torch.zeros_like(parameter, requires_grad=False))
            if ".lora_E." in name:
                self.register_buffer(f"kept_{place}", torch.ones(len(parameter), dtype=torch.bool))

    def put_into(self, allocator: Any) -> None:
        """Have peft's allocator go on from here."""
        allocator.exp_avg_ipt = {name: getattr(self, f"sensitivity_{i}") for i, name in enumerate(self.names)}
        allocator.exp_avg_unc = {name: getattr(self, f"uncertainty_{i}") for i, name in enumerate(self.names)}
        allocator.ipt = dict(allocator.exp_avg_ipt)

    def take_from(self, allocator: Any, pattern: dict[str, list[bool]] | None) -> None:
        """Remember what it has come to."""
        for place, name in enumerate(self.names):
            if name in allocator.exp_avg_ipt:
                getattr(self, f"sensitivity_{place}").copy_(allocator.exp_avg_ipt[name])
                getattr(self, f"uncertainty_{place}").copy_(allocator.exp_avg_unc[name])
            if pattern is not None and name in pattern:
                kept = getattr(self, f"kept_{place}")
                kept.copy_(torch.tensor(pattern[name], dtype=torch.bool))

    def pattern(self) -> dict[str, list[bool]]:
        """Which ranks are kept, by the name of each projection's values."""
        return {name: getattr(self, f"kept_{i}").tolist() for i, name in enumerate(self.names) if ".lora_E." in name}


def orthogonality(model: nn.Module) -> Tensor:
    """Mean over all P and Q of the Frobenius norm of P^T P - I and Q Q^T - I; a scalar."""
    norms = []
    for name, matrix in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            product = matrix @ matrix.T if ".lora_A." in name else matrix.T @ matrix
            norms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
    return torch.stack(norms).mean()
