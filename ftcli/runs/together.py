"""Runs in several processes: finding the others, and sharing out what there is to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from ftcli.distillation.distilled import HOME
from ftcli.engine import world
from ftcli.engine.memory import room
from ftcli.engine.ranks import Ranks, Replicated, Sharded
from ftcli.engine.seeding import apart
from ftcli.errors import UsageError
from ftcli.models.unpadded import ATTENTION
from ftcli.places import export, recognise
from ftcli.recipe.distributed import DistributedRecipe
from ftcli.recipe.duration import parse_duration
from ftcli.runs.learner import rows_meet
from ftcli.runs.lost import lost_workers_named
from ftcli.runs.parts import Parts
from ftcli.trackers.console import Console

BYTES_PER_WEIGHT = 16
"""Of one that is trained in fp32 by AdamW: itself, its gradient, two moments."""
_SHARED_METHODS = ("full", "head", "bitfit", "ln", "lora", "adapter", "ia3")
"""Methods that do with a share of each weight."""
_SHARED_REGULARIZERS = (
    "label_smoothing", "focal", "class_weights", "r_drop", "mixup", "cutmix", "neftune", "freeze",
)  # fmt: skip
"""Regularisers that look at no weights."""

_BY_BATCH = ("mixup", "cutmix", "neftune", "freelb", "smart")
"""Regularisers that draw for a batch as a whole; dropout is drawn by row, of an unpadded model on a CPU."""


@contextmanager
def together(recipe: DistributedRecipe, console: Console) -> Iterator[None]:
    """The run inside has the processes that a launcher started beside this one, if any."""
    place = recognise(os.environ)
    if place is None or place.size == 1:
        yield
        return
    export(place)
    seconds = parse_duration(recipe.timeout, "distributed.timeout")
    # On several hosts each launcher counts its own starts.
    attempt = f"attempt-{place.restarts}" if place.local_size == place.size else ""
    with lost_workers_named(place), world.joined(place.rank, place.size, place.local_rank, seconds, attempt):
        hosts = len(set(world.gathered(os.uname().nodename)))
        on = "1 host" if hosts == 1 else f"{hosts} hosts"
        console.note(f"{place.size} processes on {on} ({place})")
        yield


def shared_out(parts: Parts, console: Console) -> Parts:
    """`parts` with the way its processes work together, the model shared out where it says so."""
    if not world.several():
        return parts
    device = parts.precision.device
    strategy: str = parts.recipe.distributed.strategy
    if strategy == "auto":
        strategy = _fitting(parts)
    if strategy == "fsdp":
        _check_shared(parts)
        offload = parts.recipe.distributed.cpu_offload
        ranks: Ranks = Sharded(parts.model, parts.method, device, cpu_offload=offload, gather=_gathered_in(parts))
        what = "weights, gradients and moments in shares (fsdp)"
    else:
        ranks = Replicated(parts.model)
        what = "each with the whole model (ddp)"
    apart(world.rank())
    rows = parts.recipe.train.step_in_words
    console.note(f"a step of {rows} is shared by {ranks.size} processes, {what}")
    if drawn := _drawn_by_process(parts):
        console.note(
            f"drawn by each process for its own rows: {', '.join(drawn)}; so losses are not those of one process"
        )
    if rows_meet(parts.task, parts.recipe):
        console.warn("rows are compared with others of the same process only: the results differ from one process'")
    return replace(parts, ranks=ranks)


def _drawn_by_process(parts: Parts) -> list[str]:
    """What is random in training and depends on which rows lie together."""
    found = [f"regularize.{name}" for name in parts.regularizers.parts if name in _BY_BATCH]
    rates = (module.p for module in parts.model.modules() if isinstance(module, nn.Dropout))
    padded = any(_attention(part) not in (None, ATTENTION) for part in parts.model.modules())
    return ["dropout", *found] if (padded or parts.precision.device.type != "cpu") and any(rates) else found


def _attention(module: nn.Module) -> str | None:
    """How a model of the transformers library attends; None of what is none."""
    found: str | None = getattr(getattr(module, "config", None), "_attn_implementation", None)
    return found


def _fitting(parts: Parts) -> str:
    """Which fits: ddp where a whole model that is trained fits into what a device has left, else fsdp."""
    if parts.precision.device.type != "cuda":
        return "ddp"
    trained = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    left = room(parts.model, parts.precision.device)
    return world.from_lead("ddp" if left is None or trained * BYTES_PER_WEIGHT < left + 4 * trained else "fsdp")


def _gathered_in(parts: Parts) -> torch.dtype:
    """What weights travel in; UsageError for half precision where training or scoring computes in fp32."""
    asked: str = parts.recipe.distributed.gather
    half = parts.precision.name == parts.scoring.name == "bf16"
    if asked == "bf16" and not half:
        raise UsageError(
            "distributed.gather is bf16, and the model computes in fp32 or fp16",
            hint="--precision bf16, or leave it out",
        )
    on_gpu = parts.precision.device.type == "cuda"
    return torch.bfloat16 if asked == "bf16" or (asked == "auto" and half and on_gpu) else torch.float32


def _check_shared(parts: Parts) -> None:
    """UsageError for what looks at whole weights."""
    recipe = parts.recipe
    wrong = None
    if recipe.method.name not in _SHARED_METHODS:
        wrong = f"method {recipe.method.name}"
    elif recipe.optimizer.name != "adamw":
        wrong = f"optimizer.name {recipe.optimizer.name}"
    elif recipe.objective == "rtd":
        wrong = "objective rtd, whose model is put together from two,"
    elif hasattr(parts.model, HOME):
        wrong = "a student with projections or an average of itself"
    else:
        looking = [name for name in parts.regularizers.parts if name not in _SHARED_REGULARIZERS]
        wrong = f"regularize.{looking[0]}" if looking else None
    if wrong is not None:
        raise UsageError(f"fsdp keeps shares of weights, and {wrong} needs whole ones",
                         hint="--set distributed.strategy=ddp")  # fmt: skip
