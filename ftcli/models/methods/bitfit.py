"""Biases alone."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ftcli.errors import UsageError
from ftcli.models.methods.base import Selected


class BitFit(Selected):
    """All biases, and the head. Ben Zaken et al. 2022, "BitFit" (arXiv:2106.10199)."""

    def selected(self, model: nn.Module) -> Collection[str]:
        """The biases; UsageError where the architecture has none to speak of."""
        found = [name for name, _ in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"]
        if not set(found) - {name for name in found if "norm" in name.lower()}:
            raise UsageError(
                "method bitfit trains biases, and this architecture has none",
                hint="--method ln trains its norms",
            )
        return found
