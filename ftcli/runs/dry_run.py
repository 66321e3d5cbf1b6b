"""`--dry-run`: everything a run needs, seen once, with what it will cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ftcli.contract import Example, Rows
from ftcli.data.examples import lengths
from ftcli.data.streamed import Streamed
from ftcli.engine.device import to_device
from ftcli.engine.disk import training_bytes
from ftcli.engine.evaluate import encode_rows
from ftcli.engine.loop import count_steps
from ftcli.engine.regularized import passes
from ftcli.runs import batch_size
from ftcli.runs.parts import Parts
from ftcli.text import amount
from ftcli.trackers.console import Console

SAMPLE_ROWS = 2000
ADAM_COPIES = 4
"""Weights, gradients and two moments."""


def check(parts: Parts, console: Console, made: Callable[[Rows], Sequence[Example]] | None = None) -> dict[str, Any]:
    """Put a long batch through the model, forward and backward, and estimate memory, disk and time.

    `made` gives the examples, answers and all, that training would make of some rows; by default one each.
    """
    task, data = parts.task, parts.data
    train = data.splits["train"]
    stride = max(1, len(train) // SAMPLE_ROWS)
    rows = train.select(range(0, len(train), stride))
    sample = made(rows) if made is not None else encode_rows(task.encode, rows)
    examples = len(train) * len(sample) / len(rows)
    sizes = lengths(sample)
    parts = batch_size.settle(parts, sample, console, remember=False)
    recipe = parts.recipe
    size, tokens_per_step = recipe.train.rows_per_pass, recipe.train.tokens_per_step
    mean_tokens = float(sum(sizes) / len(sizes))
    rows_per_step: float = recipe.train.rows_per_step
    if tokens_per_step is not None:
        rows_per_step = max(1.0, tokens_per_step / mean_tokens)
        size = max(1, round(rows_per_step / recipe.train.gradient_accumulation))
    total = count_steps(recipe.train, lambda epoch: math.ceil(examples / rows_per_step))
    if isinstance(data, Streamed):
        total = recipe.train.max_steps or total
    tokens, seconds, peak = _measure(parts, sample[:size])
    parameters = sum(p.numel() * p.element_size() for p in parts.model.parameters())
    per_step = seconds * mean_tokens * rows_per_step / max(1, tokens)
    facts: dict[str, Any] = {
        "task": task.name,
        "model": parts.source.name,
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "rows": {name: len(rows) for name, rows in data.splits.items()},
        "labels": list(getattr(task, "labels", [])),
        "columns": dict(data.columns),
        "skipped_rows": len(data.skipped),
        "mean_tokens": round(mean_tokens, 1),
        "truncated_share": sum(bool(e.get("truncated")) for e in sample) / len(sample),
        "steps": total,
        "batch_size": size,
        "gradient_accumulation": recipe.train.gradient_accumulation,
        "lr": recipe.optimizer.lr,
        "epochs": recipe.train.epochs,
        "max_length": recipe.train.max_length,
        "device": parts.precision.device.type,
        "precision": parts.precision.name,
        "estimated_memory_bytes": peak + ADAM_COPIES * parameters,
        "estimated_disk_bytes": training_bytes(parts.model, recipe.checkpoint.keep, parts.regularizers.bytes_kept),
        "estimated_seconds": round(per_step * total, 1),
    }
    for name, value in facts.items() if parts.source.tokenizer is not None else _of_files(facts).items():
        console.info(f"{name.replace('_', ' ')}: {_words(name, value)}")
    return facts


def _of_files(facts: dict[str, Any]) -> dict[str, Any]:
    """What has a meaning where there are no texts."""
    return {name: value for name, value in facts.items() if name not in ("truncated_share", "max_length")}


def _measure(parts: Parts, examples: Sequence[Any]) -> tuple[int, float, int]:
    """Tokens, seconds and activation bytes of one forward and backward pass (the second of two)."""
    task, model, device = parts.learner, parts.model, parts.precision.device
    batch = to_device(task.collate(examples), device)
    counts = task.counts(batch)
    held = most = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal held
        held += tensor.numel() * tensor.element_size()
        return tensor

    seconds = 0.0
    for _ in range(2):
        held, most, began = 0, 0, time.perf_counter()
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            for sums in passes(task, model, batch, parts.precision):
                loss = torch.stack([value / max(1, counts[term]) for term, value in sums.items()]).sum()
                torch.autograd.backward(loss)
                held, most = 0, max(most, held)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    model.zero_grad(set_to_none=True)
    return sum(lengths(examples)), seconds, most


def _words(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return amount(value)
    if name == "estimated_seconds":
        hours, rest = divmod(int(value), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d} of training"
    if name == "truncated_share":
        return f"{value:.1%}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k}={v}" for k, v in value.items())
    if isinstance(value, list):
        return f"{len(value)} ({', '.join(map(str, value[:10]))}{', ...' if len(value) > 10 else ''})"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
