"""Architectures to train from scratch, by name: the sizes of the published BERT miniatures and BERT-base.

Source: Turc et al. 2019, "Well-Read Students Learn Better" (arXiv:1908.08962), table of miniatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftcli.errors import UsageError, did_you_mean


def _bert(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 512,
    }


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "bert-tiny": _bert(2, 128),
    "bert-mini": _bert(4, 256),
    "bert-small": _bert(4, 512),
    "bert-medium": _bert(8, 512),
    "bert-base": _bert(12, 768),
}


def preset(name: str) -> dict[str, Any]:
    """The configuration values of a preset, `model_type` among them."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset '{name}'", hint=did_you_mean(name, PRESETS))
    return dict(PRESETS[name])
