"""Disk: what there is of it, and what a run needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from ftcli.engine.checkpoint import trained_tensors


def free_bytes(folder: Path) -> int:
    """Room left where `folder` is."""
    return shutil.disk_usage(folder).free


def training_bytes(model: nn.Module, keep: int, beside: int = 0) -> int:
    """Disk a run of `model` needs: `keep` checkpoints and one being written, the best weights and the saved model.

    `beside` bytes of each checkpoint are regularisers'.
    """
    weights = sum(t.numel() * t.element_size() for t in trained_tensors(model).values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return (keep + 1) * (weights + 2 * trained + beside) + (keep + 3) * weights
