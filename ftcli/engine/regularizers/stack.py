"""The regularisers of a run as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ftcli.engine.regularizers.base import Regularizer


@dataclass(frozen=True)
class Stack:
    """Those a recipe asks for, by key."""

    parts: Mapping[str, Regularizer] = field(default_factory=dict)

    def begin(self, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Training is about to begin, or to go on."""
        for part in self.parts.values():
            part.begin(total, optimizer)

    @contextmanager
    def scored(self) -> Iterator[None]:
        """Inside, the model has the weights that are validated and kept."""
        with ExitStack() as inside:
            for part in self.parts.values():
                inside.enter_context(part.scored())
            yield

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep, under ``key/name``."""
        return {f"{key}/{name}": t for key, part in self.parts.items() for name, t in part.tensors().items()}

    @property
    def bytes_kept(self) -> int:
        """What `tensors` comes to, at most."""
        return sum(part.bytes_kept() for part in self.parts.values())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        for key, part in self.parts.items():
            part.restore({n.removeprefix(f"{key}/"): t for n, t in tensors.items() if n.startswith(f"{key}/")})
