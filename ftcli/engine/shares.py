"""Tensors of which each process of a run has a share, on disk: torch's distributed checkpoints, as safetensors.

Each process writes its own; whoever reads them, as many processes as there are, gets shares or whole tensors. What
torch has for it is imported where it is used: runs of one process do without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftcli.engine import world

_SCALAR = "#scalar"
"""Ending of the names of tensors without a dimension, which are kept with one."""


def save_shares(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors`, shared or not, into `folder`; every process does, in a thread if it likes."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    flat = {f"{name}{_SCALAR}" if not t.ndim else name: t if t.ndim else t.reshape(1) for name, t in tensors.items()}
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    save(flat, storage_writer=writer, process_group=world.writing())


def load_shares(folder: Path, template: Callable[[str, list[int], torch.dtype], Tensor]) -> dict[str, Tensor]:
    """The tensors in `folder` by name, each put into what `template` makes of its name, shape and type.

    Where one of them is shared, every process has to read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    found: dict[str, Tensor] = {}
    for name, facts in HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata.items():
        what: Any = facts
        found[name] = template(name.removesuffix(_SCALAR), list(what.size), what.properties.dtype)
    load(found, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return {name.removesuffix(_SCALAR): t.reshape(()) if name.endswith(_SCALAR) else t for name, t in found.items()}


def shapes(folder: Path) -> dict[str, list[int]]:
    """The whole shapes of the tensors in `folder`, by name."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    found: dict[str, Any] = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name.removesuffix(_SCALAR): [] if name.endswith(_SCALAR) else list(facts.size) for name, facts in found.items()
    }
