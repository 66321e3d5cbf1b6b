"""Architectures to train from scratch, by name: published sizes, and some of our own for very small data.

BERT miniatures: Turc et al. 2019, "Well-Read Students Learn Better" (arXiv:1908.08962), and GPT-2 as wide and deep as
these, to the original's size. ModernBERT: Warner et al. 2024, "Smarter, Better, Faster, Longer" (arXiv:2412.13663) for
base and large. Llama (Touvron et al. 2023, arXiv:2302.13971) with two heads of queries to one of keys and values. T5:
Tay et al. 2021, "Scale Efficiently" (arXiv:2109.10686) for tiny and mini, Raffel et al. 2020, "Exploring the Limits of
Transfer Learning" (arXiv:1910.10683) for small and base. BART: Lewis et al. 2020 (arXiv:1910.13461) for base and large.
ELECTRA: Clark et al. 2020 (arXiv:2003.10555) for small; tiny has the size of BERT's. ViT: Dosovitskiy et al. 2021, "An
Image is Worth 16x16 Words" (arXiv:2010.11929) for base and large, Touvron et al. 2021 (DeiT, arXiv:2012.12877) for tiny
and small; He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377) for the decoder of
mae-* and the loss over normalised patches.
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


def _t5(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "num_layers": layers,
        "num_decoder_layers": layers,
        "d_model": hidden,
        "d_ff": 4 * hidden,
        "num_heads": heads,
        "d_kv": 64,
    }


def _electra(layers: int, hidden: int, embedding: int) -> dict[str, Any]:
    return {**_bert(layers, hidden), "model_type": "electra", "embedding_size": embedding}


def _modernbert(layers: int, hidden: int, intermediate: int) -> dict[str, Any]:
    return {
        "model_type": "modernbert",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "intermediate_size": intermediate,
        "max_position_embeddings": 8192,
    }


def _bart(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "model_type": "bart",
        "encoder_layers": layers,
        "decoder_layers": layers,
        "d_model": hidden,
        "encoder_attention_heads": hidden // 64,
        "decoder_attention_heads": hidden // 64,
        "encoder_ffn_dim": 4 * hidden,
        "decoder_ffn_dim": 4 * hidden,
        "max_position_embeddings": 1024,
    }


def _gpt2(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_layer": layers,
        "n_embd": hidden,
        "n_head": hidden // 64,
        "n_positions": 1024,
    }


def _llama(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 128,
        # Three matrices with two thirds of the usual width have its number of weights; in whole cache lines.
        "intermediate_size": -(-8 * hidden // (3 * 64)) * 64,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }


def _vit(layers: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "vit",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        **more,
    }


def _mae(encoder: Mapping[str, Any], layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """A ViT with the decoder that masked-image pretraining by MAE adds; its encoder makes a classifier as it is."""
    return {
        **encoder,
        "model_type": "vit_mae",
        "decoder_num_hidden_layers": layers,
        "decoder_hidden_size": hidden,
        "decoder_num_attention_heads": heads,
        "decoder_intermediate_size": 4 * hidden,
        "norm_pix_loss": True,
    }


def _ast(layers: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "audio-spectrogram-transformer",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        **more,
    }


def _whisper(layers: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "whisper",
        "encoder_layers": layers,
        "decoder_layers": layers,
        "d_model": hidden,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * hidden,
        "decoder_ffn_dim": 4 * hidden,
        **more,
    }


def _wav2vec2(layers: int, hidden: int, heads: int, convolutions: tuple[int, ...]) -> dict[str, Any]:
    """320 samples a frame (20 ms), over seven convolutions as published or over fewer, wider ones."""
    shapes = {
        7: ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)),
        5: ((10, 8, 4, 4, 2), (5, 4, 4, 2, 2)),
    }
    kernels, strides = shapes[len(convolutions)]
    return {
        "model_type": "wav2vec2",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "conv_dim": list(convolutions),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "num_feat_extract_layers": len(convolutions),
        "num_conv_pos_embeddings": 64 if layers < 12 else 128,
        "num_conv_pos_embedding_groups": 16,
        # Norms over each frame alone, and the stable order of norms: answers do not depend on what is beside a row.
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
        "apply_spec_augment": False,
    }


_VIT_DIGITS = _vit(4, 64, 4, image_size=8, patch_size=2)

_YOLOS = {"use_mid_position_embeddings": False}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "bert-tiny": _bert(2, 128),
    "bert-mini": _bert(4, 256),
    "bert-small": _bert(4, 512),
    "bert-medium": _bert(8, 512),
    "bert-base": _bert(12, 768),
    "bert-large": _bert(24, 1024),
    "modernbert-tiny": _modernbert(3, 128, 192),
    "modernbert-mini": _modernbert(6, 256, 384),
    "modernbert-base": _modernbert(22, 768, 1152),
    "modernbert-large": _modernbert(28, 1024, 2624),
    "t5-tiny": _t5(4, 256, 4),
    "t5-mini": _t5(4, 384, 8),
    "t5-small": _t5(6, 512, 8),
    "t5-base": _t5(12, 768, 12),
    "bart-tiny": _bart(2, 128),
    "bart-mini": _bart(4, 256),
    "bart-base": _bart(6, 768),
    "bart-large": _bart(12, 1024),
    "electra-tiny": _electra(2, 128, 128),
    "electra-small": _electra(12, 256, 128),
    "gpt2-tiny": _gpt2(2, 128),
    "gpt2-mini": _gpt2(4, 256),
    "gpt2-small": _gpt2(12, 768),
    "gpt2-medium": _gpt2(24, 1024),
    "llama-tiny": _llama(2, 128),
    "llama-mini": _llama(4, 256),
    "llama-small": _llama(12, 768),
    "vit-digits": {**_VIT_DIGITS, "encoder_stride": 2},
    "vit-tiny": _vit(12, 192, 3),
    "vit-small": _vit(12, 384, 6),
    "vit-base": _vit(12, 768, 12),
    "vit-large": _vit(24, 1024, 16),
    "whisper-digits": _whisper(3, 96, 4, num_mel_bins=40, max_source_positions=50, init_std=0.08),
    "ast-base": _ast(12, 768, 12),
    "whisper-tiny": _whisper(4, 384, 6, num_mel_bins=80, max_source_positions=1500),
    "wav2vec2-tiny": _wav2vec2(4, 128, 2, (64, 64, 128, 128, 128)),
    "wav2vec2-base": _wav2vec2(12, 768, 12, (512,) * 7),
    "yolos-shapes": {
        **_YOLOS,
        **_vit(4, 96, 4, image_size=[64, 64], patch_size=8, num_detection_tokens=12, initializer_range=0.08),
        "model_type": "yolos",
    },
    "yolos-tiny": {
        **_YOLOS,
        **_vit(12, 192, 3, image_size=[800, 1333], num_detection_tokens=100),
        "model_type": "yolos",
    },
    "mae-digits": _mae(_VIT_DIGITS, 2, 48, 4),
    "mae-base": _mae(_vit(12, 768, 12), 8, 512, 16),
}


def preset(name: str) -> dict[str, Any]:
    """The configuration values of a preset, `model_type` among them."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset '{name}'", hint=did_you_mean(name, PRESETS))
    return dict(PRESETS[name])
