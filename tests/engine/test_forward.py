"""Activations computed again give the numbers of activations kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftcli.engine.forward import recompute_activations
from ftcli.errors import UsageError
from tests.tiny import KINDS


def loss_and_gradients(kind: str, *, recompute: bool) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **KINDS[kind], vocab_size=100, pad_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config).train()
    if recompute:
        recompute_activations(model, kind)
    ids = torch.randint(1, 100, (4, 12), generator=torch.Generator().manual_seed(5))
    mask = (torch.arange(12) < torch.tensor([[12], [7], [3], [10]])).long()
    torch.manual_seed(9)
    loss = model(input_ids=ids * mask, attention_mask=mask).logits.square().sum()
    torch.autograd.backward(loss)
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "modernbert"])
def test_the_same_loss_and_gradients_under_dropout(kind: str) -> None:
    (loss, gradients), (again, recomputed) = (loss_and_gradients(kind, recompute=r) for r in (False, True))
    assert loss.equal(again)
    assert gradients.keys() == recomputed.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=0, atol=1e-6, msg=name)


def test_a_model_that_cannot_is_named() -> None:
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("albert", **KINDS["albert"]))
    with pytest.raises(UsageError, match=r"some/albert \(AlbertForSequenceClassification\)"):
        recompute_activations(model, "some/albert")
