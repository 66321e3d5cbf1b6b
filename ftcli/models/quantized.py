"""Base models in few bits, for methods that leave the base as it is (QLoRA, Dettmers et al. 2023, arXiv:2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from ftcli.errors import UsageError


def settings(kind: str) -> dict[str, Any]:
    """What `from_pretrained` is told, for ``int8`` or ``nf4``; nothing for ``none``.

    UsageError where there is no GPU or the library that quantises is not installed.
    """
    if kind == "none":
        return {}
    if not torch.cuda.is_available():
        raise UsageError(f"method.quantize {kind} needs a GPU, and there is none", hint="--set method.quantize=none")
    if find_spec("bitsandbytes") is None:
        raise UsageError(
            f"method.quantize {kind} needs bitsandbytes, which is not installed", hint="pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    four = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
    }
    config = BitsAndBytesConfig(**(four if kind == "nf4" else {"load_in_8bit": True}))
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}
