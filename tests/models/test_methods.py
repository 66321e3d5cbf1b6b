"""What methods find in the architectures, and what they compute."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ftcli.errors import UsageError
from ftcli.models.methods import METHODS
from ftcli.models.methods.adalora import orthogonality
from ftcli.models.methods.adapter import Bottleneck
from ftcli.models.methods.base import Method
from ftcli.models.methods.based import head_modules
from ftcli.models.methods.targets import ROLES, chosen, projections
from ftcli.recipe.method import MethodRecipe
from tests.tiny import KINDS, SMALL

FUSED = ("modernbert", "gpt2")
"""One projection for query, key and value."""
OTHERS: dict[str, dict[str, Any]] = {
    "vit": {**SMALL, "image_size": 16, "patch_size": 8},
    "deberta-v2": dict(SMALL),
    "mpnet": dict(SMALL),
    "xlm-roberta": {**SMALL, "max_position_embeddings": 66},
    "qwen2": {**SMALL, "num_key_value_heads": 1},
    "wav2vec2": {**SMALL, "conv_dim": (8,), "conv_kernel": (4,), "conv_stride": (4,), "num_conv_pos_embeddings": 4,
                 "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 1},
    "hubert": {**SMALL, "conv_dim": (8,), "conv_kernel": (4,), "conv_stride": (4,), "num_conv_pos_embeddings": 4,
               "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 1},
    "whisper": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
                "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60},
}  # fmt: skip


def make(kind: str) -> Any:
    settings = {**KINDS, **OTHERS}[kind]
    return AutoModel.from_config(AutoConfig.for_model(kind, **{"vocab_size": 60, "pad_token_id": 0, **settings}))


@pytest.mark.parametrize("kind", sorted({*KINDS, *OTHERS}))
def test_every_projection_of_every_layer_is_found(kind: str) -> None:
    """As many of each role as there are layers (of attention, where a decoder looks at an encoder too)."""
    model = make(kind)
    found = Counter(projections(model).values())
    layers = 1 if kind == "albert" else 4 if kind in ("t5", "bart", "whisper") else 2
    attentions = 6 if kind in ("t5", "bart", "whisper") else layers
    assert found["query"] == found["attention_out"] == attentions
    for role in ("key", "value"):
        assert found[role] == (0 if kind in FUSED else attentions)
    assert found["ffn_out"] == layers
    assert found["ffn_in"] == layers * (2 if kind in ("llama", "qwen2") else 1)
    inside = {name for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".0." in name}
    assert inside - set(projections(model)) == set(), "a linear module of a layer has no role"


def test_modules_are_asked_for_by_role_or_by_name() -> None:
    model = make("bert")
    assert len(chosen(model, None, ("query", "value"))) == 4
    assert len(chosen(model, "all", ())) == 12
    assert len(chosen(model, "attention", ())) == 8
    assert len(chosen(model, "ffn_in, ffn_out", ())) == 4
    assert chosen(model, "layer.1.output.dense", ()) == ["encoder.layer.1.output.dense"]
    with pytest.raises(UsageError, match="ends in 'qkv'"):
        chosen(model, "qkv", ())
    model.config.model_type = "unheard-of"
    with pytest.raises(UsageError, match="unheard-of"):
        chosen(model, None, ROLES)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "modernbert", "albert", "llama"])
def test_heads_are_trained_whole(kind: str) -> None:
    settings = {"vocab_size": 60, "pad_token_id": 0, "num_labels": 3, **KINDS[kind]}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **settings))
    modules = head_modules(model, ())
    last = next(name for name, p in reversed(list(model.named_parameters())) if len(p) == 3)
    assert any(last.startswith(f"{module}.") for module in modules)
    assert not any(".layer." in module or "embeddings" in module for module in modules)


def test_a_bottleneck_is_its_formula_and_begins_as_nothing() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 8)
    adapter, x = Bottleneck(layer, 2), torch.randn(5, 6)
    assert (adapter(x) - layer(x)).abs().max() < 1e-4
    nn.init.normal_(adapter.down.weight)
    nn.init.normal_(adapter.up.weight)
    h = layer(x)
    inner = h @ adapter.down.weight.T
    gelu = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    assert torch.allclose(adapter(x), h + gelu @ adapter.up.weight.T, atol=1e-6)


def test_orthogonality_is_zero_for_orthonormal_vectors() -> None:
    model: Any = nn.Module()
    model.lora_A = nn.ParameterDict({"default": torch.eye(3, 7)})
    model.lora_B = nn.ParameterDict({"default": torch.eye(5, 3)})
    whole = nn.Module()
    whole.layer = model
    assert float(orthogonality(whole)) == 0
    with torch.no_grad():
        model.lora_A["default"].mul_(2)  # Q Q^T - I = 3 I, of norm 3 sqrt(3); P's is 0
    assert float(orthogonality(whole)) == pytest.approx(3 * math.sqrt(3) / 2)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "albert", "distilbert", "modernbert", "llama"])
@pytest.mark.parametrize("name", ["lora", "adalora", "ia3", "vera", "oft", "adapter"])
def test_a_method_begins_where_the_model_is(name: str, kind: str) -> None:
    """The same logits as before, and only few weights to train: none of the base's."""
    settings = {"vocab_size": 60, "pad_token_id": 0, "num_labels": 3, **KINDS[kind]}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **settings)).eval()
    ids = torch.arange(1, 21).reshape(2, 10)
    before = model(input_ids=ids).logits
    base = {n for n, p in model.named_parameters()}
    method: Method = METHODS.part(name)(MethodRecipe(name=name, rank=4, block_size=8))
    if (name, kind) == ("oft", "gpt2"):
        with pytest.raises(UsageError, match="layers of its own"):
            method.adapt(model, ())
        return
    adapted: Any = method.adapt(model, ())
    assert torch.allclose(adapted.eval()(input_ids=ids).logits, before, atol=2e-3 if name == "adapter" else 1e-5)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    touched = {n for n in trained if n in base}
    heads = tuple(f"{module}." for module in head_modules(model, ()))
    assert all(n.startswith(heads) or "norm" in n.lower() or "ln_" in n for n in touched)
