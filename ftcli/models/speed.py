"""What makes a model faster and leaves its answers and its saved form as they are."""

from __future__ import annotations

import torch
from torch import nn

from ftcli.models.dropout import speed_up_dropout
from ftcli.models.unpadded import run_unpadded


def speed_up(model: nn.Module, device: torch.device, *, unpadded: bool, first_only: bool) -> None:
    """Prepare `model`, once, for running on `device`; `first_only` as in `run_unpadded`."""
    if unpadded:
        run_unpadded(model, first_only=first_only)
    if device.type == "cpu":
        speed_up_dropout(model)
