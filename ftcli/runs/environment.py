"""What a run ran on: versions, hardware, seeds, fingerprints, the command line; and the libraries kept quiet."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ftcli.engine import host
from ftcli.engine.checkpoint import own_tensors
from ftcli.engine.precision import Precision
from ftcli.recipe.schema import Recipe
from ftcli.text import without_secrets

PACKAGES = (
    "ftcli",
    "torch",
    "transformers",
    "datasets",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "evaluate",
    "numpy",
)


def prepare_process() -> None:
    """What every run does first: the host's threads and memory settled, the libraries quiet."""
    host.settle()
    quiet_libraries()


def quiet_libraries() -> None:
    """Keep warnings, load reports and progress bars of the libraries off the user's screen."""
    import transformers
    from huggingface_hub.utils.tqdm import disable_progress_bars

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
    for name in ("huggingface_hub", "datasets", "transformers", "filelock", "fsspec", "httpx", "evaluate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def model_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over names and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(own_tensors(model).items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def describe(precision: Precision, *, recipe: Recipe, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """The content of environment.json."""
    device = precision.device
    return {
        "command_line": [without_secrets(a) for a in sys.argv],
        "seed": recipe.seed,
        "trust_remote_code": recipe.model.trust_remote_code,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "hardware": {
            "device": device.type,
            "device_name": torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "precision": precision.name,
        "fingerprints": dict(fingerprints),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
