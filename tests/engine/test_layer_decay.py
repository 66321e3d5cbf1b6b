"""Layer-wise learning rates: which layer a weight belongs to, and what its rate is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftcli.engine.layer_decay import depths
from ftcli.engine.muon import muon
from ftcli.engine.optim import adamw
from ftcli.errors import UsageError
from ftcli.recipe.schema import OptimizerRecipe
from tests.tiny import KINDS

LAYERS = 2


def make(kind: str) -> nn.Module:
    config = AutoConfig.for_model(kind, **{**KINDS[kind], "vocab_size": 50, "pad_token_id": 0})
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "electra", "distilbert", "modernbert", "gpt2", "llama", "t5", "bart"]
)
def test_every_weight_has_a_layer(kind: str) -> None:
    model = make(kind)
    depth, top = depths(model)
    assert top == LAYERS + 1
    assert set(depth) == {id(p) for p in model.parameters()}
    assert set(depth.values()) == {0, 1, 2, 3}
    for name, parameter in model.named_parameters():
        if name.startswith(("classifier", "score", "classification_head")):
            assert depth[id(parameter)] == top, name
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if numbers and not name.startswith(("classifier", "score", "classification_head")):
            assert depth[id(parameter)] == numbers[0] + 1, name
    embeddings = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and len(m.weight) == 50]
    assert embeddings
    assert all(depth[id(weight)] == 0 for weight in embeddings)


def test_each_step_is_as_long_as_its_layer_s_rate() -> None:
    """AdamW's first step moves a weight by its rate, whatever the gradient."""
    model = make("bert")
    depth, top = depths(model)
    optimizer = adamw(model, OptimizerRecipe(lr=1e-2, weight_decay=0.0, layer_decay=0.5))
    assert optimizer.param_groups[0]["lr"] == 1e-2
    before = {id(p): p.detach().clone() for p in model.parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter in model.parameters():
        moved = (before[id(parameter)] - parameter).detach()
        assert torch.allclose(moved, torch.full_like(moved, 1e-2 * 0.5 ** (top - depth[id(parameter)])), rtol=1e-3)


def test_what_has_no_layers_or_another_optimiser_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a stack of layers"):
        adamw(nn.Linear(2, 2), OptimizerRecipe(lr=1e-2, layer_decay=0.5))
    with pytest.raises(UsageError, match="layer_decay goes with adamw"):
        muon(make("bert"), OptimizerRecipe(name="muon", lr=1e-2, layer_decay=0.5))
