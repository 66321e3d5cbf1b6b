"""Settings of runs in several processes. None of them changes what is computed, but for rounding (`gather`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DistributedRecipe:
    """How the processes of a run share the work, where there are several."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """ddp: each process has the whole model; fsdp: each has a share of weights, gradients and moments (FSDP2). auto:
    fsdp where a whole model with its optimiser does not fit on a device."""
    cpu_offload: bool = False
    """fsdp: keep the shares in the host's memory, and on the device only the layer under way."""
    gather: Literal["auto", "fp32", "bf16"] = "auto"
    """fsdp: what a layer's weights travel in when they are put together; gradients are summed in fp32. auto: bf16, half
    the bytes, on GPUs that train in it."""
    timeout: str = "10m"
    """How long a process waits for the others before it takes them for lost and ends the run."""
