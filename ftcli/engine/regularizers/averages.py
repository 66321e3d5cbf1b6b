"""Averages of the weights over the steps: they are what is validated and kept, the steps themselves go on without."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ftcli.engine.optim import flush
from ftcli.engine.regularizers.base import Ground, Regularizer

COUNT = "count"


class Average(Regularizer):
    """Running averages of what is trained; subclasses say when and how much of the new weights is taken in.

    AdaLoRA prunes ranks as it goes, and a mean over steps would still have all of them.
    """

    methods_refused = ("adalora",)

    def attach(self, ground: Ground) -> None:
        self._own: dict[str, Tensor] = dict(ground.trained())
        for name, module in ground.model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # of the activations, by weights that change
                self._own |= {f"{name}.{n}": b for n, b in module.named_buffers() if b.is_floating_point()}
        self._average: dict[str, Tensor] = {}
        self.count = 0
        """States taken in."""

    def begin(self, total: int, optimizer: torch.optim.Optimizer) -> None:
        self.total, self._optimizer = total, optimizer

    def weight(self, step: int) -> float | None:
        """What share of the average the weights after `step` become; None leaves it as it is."""
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        weight = self.weight(step)
        if weight is None:
            return
        flush(self._optimizer)
        own = [tensor.detach() for tensor in self._own.values()]
        if not self._average:
            self._average = {name: tensor.clone() for name, tensor in zip(self._own, own, strict=True)}
        else:
            torch._foreach_lerp_(list(self._average.values()), own, weight)
        self.count += 1

    @contextmanager
    def scored(self) -> Iterator[None]:
        """Inside, the model has the averages, once there are any."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, average in self._average.items():
            own = self._own[name]
            self._average[name], own.data = own.data, average

    def tensors(self) -> Mapping[str, Tensor]:
        return {**self._average, COUNT: torch.tensor(self.count)} if self._average else {}

    def bytes_kept(self) -> int:
        return sum(own.numel() * own.element_size() for own in self._own.values())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.count = int(tensors.get(COUNT, 0))
        self._average = {name: tensors[name].to(own.device) for name, own in self._own.items()} if tensors else {}


class Ema(Average):
    """An exponential moving average, decay d: d of the average and 1 - d of the weights after each step.

    Polyak & Juditsky 1992; as in Tarvainen & Valpola 2017 (arXiv:1703.01780) d grows to its value, by
    (1 + t) / (10 + t) after t steps, so that where training began is soon forgotten.
    """

    apart_from = ("swa",)

    def weight(self, step: int) -> float:
        return 1 - min(self.recipe.ema, (1 + step) / (10 + step))


class Swa(Average):
    """The plain mean of the weights at the last steps: stochastic weight averaging (Izmailov et al. 2018,
    arXiv:1803.05407). `regularize.swa` of the steps come before it."""

    apart_from = ("ema",)

    def weight(self, step: int) -> float | None:
        since = step + 1 - math.ceil(self.recipe.swa * self.total)
        if since < 0 or since % self.recipe.swa_every:
            return None
        return 1 / (self.count + 1)
