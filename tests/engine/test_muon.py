"""Muon: who gets it, what its updates look like, that torch's and the one for slow CPUs agree."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from ftcli.engine import muon as room
from ftcli.engine.muon import Fp32Muon, Together, hidden_matrices, muon, orthogonal
from ftcli.engine.optim import decay_groups
from ftcli.errors import UsageError
from ftcli.recipe.schema import OptimizerRecipe
from tests.tiny import KINDS

RECIPE = OptimizerRecipe(name="muon", lr=1e-2, weight_decay=0.1)
PUBLISHED = {"coefficients": (3.4445, -4.7750, 2.0315), "steps": 5, "eps": 1e-7}


def make(kind: str, head: type = AutoModelForMaskedLM) -> nn.Module:
    config = AutoConfig.for_model(kind, **{**KINDS[kind], "vocab_size": 50, "pad_token_id": 0})
    torch.manual_seed(0)
    return head.from_config(config)  # type: ignore[no-any-return]


def names(model: nn.Module) -> set[str]:
    taken = {id(p) for p in hidden_matrices(model)}
    return {name for name, p in model.named_parameters() if id(p) in taken}


@pytest.mark.parametrize(
    ("kind", "head", "expected"),
    [
        ("bert", AutoModelForMaskedLM, 2 * 6),
        ("bert", AutoModelForSequenceClassification, 2 * 6 + 1),  # the pooler
        ("roberta", AutoModelForMaskedLM, 2 * 6),
        ("distilbert", AutoModelForMaskedLM, 2 * 6),
        ("modernbert", AutoModelForMaskedLM, 2 * 4),
        ("gpt2", AutoModelForCausalLM, 2 * 4),
    ],
)
def test_hidden_matrices_are_those_of_the_layers(kind: str, head: type, expected: int) -> None:
    model = make(kind, head)
    found = names(model)
    assert len(found) == expected, found
    assert all(".layer" in n or ".h." in n or "pooler" in n for n in found)
    assert all(model.get_parameter(n).ndim == 2 and min(model.get_parameter(n).shape) > 1 for n in found)


def test_every_parameter_goes_somewhere_and_nowhere_twice() -> None:
    model = make("bert")
    model.bert.encoder.layer[0].requires_grad_(False)
    optimizer = muon(model, RECIPE)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0, 0.1}
    undecayed = {id(p) for g in optimizer.param_groups if not g["weight_decay"] for p in g["params"]}
    assert undecayed == {id(p) for p in decay_groups(model, 0.1)[1]["params"]}
    assert {g["lr"] for g in optimizer.param_groups} == {1e-2}


def test_a_model_of_two_models_keeps_both_heads_out() -> None:
    pair = nn.ModuleDict({"one": make("bert"), "two": make("gpt2", AutoModelForCausalLM)})
    pair["more"] = nn.Linear(32, 32)
    assert len(names(pair)) == 12 + 8


def test_a_plain_module_and_nothing_to_do() -> None:
    plain = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))
    assert names(plain) == {"1.weight"}
    with pytest.raises(UsageError, match="no hidden matrix"):
        muon(nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4)), RECIPE)


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)])
def test_orthogonal_keeps_directions_and_levels_sizes(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape) * torch.logspace(0, -1, shape[1])
    found = orthogonal(matrix, **PUBLISHED)  # type: ignore[arg-type]
    sizes = torch.linalg.svdvals(found)
    assert 0.5 < float(sizes.min()) <= float(sizes.max()) < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ found @ v.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), atol=1e-4, rtol=0)
    assert float(turned.diagonal().min()) > 0.5


@pytest.mark.parametrize("fast", [True, False])
def test_updates_are_orthogonal_and_as_large_as_those_of_adamw(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "cpu_is_fast_at_bf16", lambda: fast)
    model = make("bert")
    optimizer = muon(model, OptimizerRecipe(lr=1e-2, weight_decay=0.0))
    assert isinstance(optimizer, Together)
    assert isinstance(optimizer.members[0], Fp32Muon) is not fast
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.randint(0, 50, (4, 12))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    matrices = names(model)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        update = (parameter.detach() - before[name]) / 1e-2
        if name in matrices:
            sizes = torch.linalg.svdvals(update) / (0.2 * max(update.shape) ** 0.5)
            assert 0.6 < float(sizes.median()) < 1.3, name
            assert float(sizes.max()) < 1.3, name
            assert float(update.pow(2).mean().sqrt()) == pytest.approx(0.2, rel=0.35), name
            assert set(optimizer.state[parameter]) == {"momentum_buffer"}
        else:
            assert set(optimizer.state[parameter]) == {"step", "exp_avg", "exp_avg_sq"}


def test_without_bf16_the_updates_are_those_of_torch() -> None:
    results = []
    for kind in (torch.optim.Muon, Fp32Muon):
        torch.manual_seed(2)
        matrix = nn.Parameter(torch.randn(24, 40))
        optimizer = kind([matrix], 0.05, 0.3, 0.95, adjust_lr_fn="match_rms_adamw")
        for _ in range(4):
            matrix.grad = torch.randn(24, 40)
            optimizer.step()
        results.append((matrix.detach(), optimizer.state[matrix]["momentum_buffer"]))
    torch.testing.assert_close(results[1][0], results[0][0], atol=2e-2, rtol=0)  # of 0.4 that they moved
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-6, rtol=0)


def test_learning_rates_set_from_outside_reach_every_part() -> None:
    model = make("bert")
    optimizer = muon(model, RECIPE)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.randint(0, 50, (2, 8))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert len(optimizer.state) > 20
    optimizer.state.clear()
    assert not any(member.state for member in optimizer.members)  # type: ignore[attr-defined]
