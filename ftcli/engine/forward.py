"""How the forward pass runs: without padding, activations kept or not, compiled. Weights keep names and values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ftcli.errors import UsageError
from ftcli.models.dropout import speed_up_dropout
from ftcli.models.unpadded import run_unpadded

COMPILED_WIDTHS = 64
"""Texts are padded to a multiple of it where the model is compiled: every new shape may be compiled anew."""


def speed_up(model: nn.Module, device: torch.device, *, unpadded: bool, first_only: bool) -> None:
    """Prepare `model`, once, for running on `device`, its answers unchanged; `first_only` as in `run_unpadded`."""
    for part in _architectures(model) if unpadded else ():
        run_unpadded(part, first_only=first_only)
    if device.type == "cpu":
        speed_up_dropout(model)


def _architectures(model: nn.Module) -> Iterator[nn.Module]:
    """`model`, or the models of the transformers library that it is put together from."""
    if isinstance(model, PreTrainedModel):
        yield model
    else:
        for part in model.children():
            yield from _architectures(part)


def recompute_activations(model: nn.Module, name: str) -> None:
    """Keep each layer's input only and compute the rest again in the backward pass: the same numbers in less memory.

    Gradient checkpointing of Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174).
    """
    parts: list[Any] = [*_architectures(model)] or [model]
    for part in parts:
        if not getattr(part, "supports_gradient_checkpointing", False):
            raise UsageError(
                f"train.activation_checkpointing: {name} ({type(part).__name__}) cannot compute activations again",
                hint="--set train.activation_checkpointing=false; a smaller --batch-size needs less memory too",
            )
        enable = getattr(part, "activation_checkpointing_enable", None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def compile_forward(model: nn.Module) -> None:
    """Have torch.compile make kernels for `model`, in place: parameters, their names and what is saved do not change.

    Nothing is compiled before the first forward pass; a failure to is raised there (see `compiler_failed`).
    """
    for part in [*_architectures(model)] or [model]:
        part.compile()


def compiler_failed(error: BaseException) -> bool:
    """True where torch.compile could not make kernels, e.g. for want of a C++ compiler or of Triton."""
    from torch._dynamo.exc import BackendCompilerFailed  # slow to import: only for runs that compile

    return isinstance(error, BackendCompilerFailed)
