"""The fast dropout is dropout: its rate, its scale, its independence, its seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ftcli.models.dropout import FastDropout, dropped_share, keep_mask, speed_up_dropout

COUNT = 2_000_000


@pytest.mark.parametrize("rate", [0.0, 1e-5, 0.1, 0.5, 0.9, 1.0])
def test_rate(rate: float) -> None:
    torch.manual_seed(0)
    mask = keep_mask(COUNT, rate)
    assert set(mask.unique().tolist()) <= {0, 1}
    assert abs(dropped_share(rate) - rate) <= 1 / 65536
    deviation = (rate * (1 - rate) / COUNT) ** 0.5
    assert abs(1 - mask.double().mean().item() - rate) <= 4.5 * deviation + 1 / 65536


def test_neighbours_of_one_word_are_independent() -> None:
    torch.manual_seed(1)
    mask = keep_mask(COUNT, 0.5).double() * 2 - 1
    for distance in (1, 2, 3, 4, 5):
        together = (mask[:-distance] * mask[distance:]).mean().item()
        assert abs(together) < 4.5 / COUNT**0.5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1023])
def test_any_count(count: int) -> None:
    assert keep_mask(count, 0.5).shape == (count,)


def test_module_scales_masks_its_gradient_alike_and_repeats_by_seed() -> None:
    drop = FastDropout(0.25)
    x = torch.randn(200, 50, requires_grad=True)
    torch.manual_seed(2)
    first = drop(x)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    kept = first != 0
    assert torch.allclose(first[kept], x[kept] / 0.75)
    assert torch.equal(gradient != 0, kept)
    assert torch.allclose(gradient[kept], torch.tensor(1 / 0.75))
    torch.manual_seed(2)
    assert torch.equal(drop(x), first)
    assert torch.equal(drop.eval()(x), x)


def test_all_or_nothing() -> None:
    x = torch.randn(100)
    assert torch.equal(FastDropout(0.0)(x), x)
    assert torch.equal(FastDropout(1.0)(x), torch.zeros(100))


def test_half_precision_stays_half() -> None:
    assert FastDropout(0.1)(torch.randn(8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_models_are_changed_in_place_and_only_plain_dropout() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Dropout1d(0.1))
    before = list(model.state_dict())
    assert speed_up_dropout(model) == 1
    assert type(model[1]) is FastDropout
    assert type(model[2]) is nn.Dropout1d
    assert list(model.state_dict()) == before


def test_compiled_masks_of_changing_sizes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: keep_mask(x.numel(), 0.3).view(x.shape) * x, backend="aot_eager")
    for count in (64, 1024, 4096, 30):
        torch.manual_seed(4)
        masked = compiled(torch.ones(count))
        torch.manual_seed(4)
        assert torch.equal(masked, keep_mask(count, 0.3).float())
