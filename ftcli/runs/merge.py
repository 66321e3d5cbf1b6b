"""One model made of a base and what was learnt beside it, checked against the two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ftcli.contract import Example
from ftcli.engine.device import to_device
from ftcli.errors import FtcliError
from ftcli.runs.folder import RunFolder
from ftcli.runs.parts import Parts
from ftcli.trackers.console import Console

MERGED_ROWS = 16
MERGED_WITHIN = 1e-3
"""Largest difference of an answer before and after merging, as a share of the largest answer."""


def merge(parts: Parts, folder: RunFolder, examples: Sequence[Example], console: Console) -> None:
    """Write the model with what was learnt put into its weights, if it still answers the same."""
    examples = examples[:MERGED_ROWS]
    before = answers(parts, parts.model, examples)
    merged: Any = parts.method.merged(parts.model)
    after = answers(parts, merged, examples)
    apart, size = float((after - before).abs().max()), float(before.abs().max())
    if not apart <= MERGED_WITHIN * max(size, 1.0):
        raise FtcliError(
            f"the merged model answers differently (by {apart:.2g}); what was learnt is in {folder.path / 'adapter'}",
            hint="go on without --merge",
        )
    console.note(f"merged into one model; its answers are the same to {apart:.1g}")
    merged.save_pretrained(folder.model)


def answers(parts: Parts, model: nn.Module, examples: Sequence[Example]) -> Tensor:
    """All numbers that the model gives for some examples, end to end."""
    model.eval()
    batch = to_device(parts.task.collate(examples), parts.scoring.device)
    with torch.inference_mode(), parts.scoring.autocast():
        outputs = parts.task.forward(model, batch)
    found = [leaf.float().reshape(-1) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return torch.cat(found).cpu()
