"""What is drawn for a row is the same whatever rows lie beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.models.attention import attend, attend_from_first
from ftcli.models.dropout import FastDropout, keep_mask_by_row
from ftcli.models.layout import Layout
from ftcli.models.row_random import bits, by_row, mixed, row_streams, scrambled


def splitmix(seed: int, count: int) -> list[int]:
    """SplitMix64 one number after the other, in plain integers."""
    found, mask = [], 2**64 - 1
    for step in range(count):
        z = (seed + step * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


@given(
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5),
    counts=st.lists(st.integers(0, 40), min_size=5, max_size=5),
)
def test_bits_are_those_of_each_key_alone(keys: list[int], counts: list[int]) -> None:
    sizes = counts[: len(keys)]
    found = bits(np.array(keys, dtype=np.uint64), sizes)
    assert len(found) == sum(sizes)
    for key, part in zip(keys, found.split(sizes), strict=True):
        words = np.array(splitmix(key, (len(part) + 3) // 4), dtype=np.uint64).view(np.int16)
        assert part.tolist() == words[: len(part)].tolist()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4), st.integers(0, 2**64 - 1))
def test_keys_differ(numbers: list[int], other: int) -> None:
    assert 0 <= mixed(*numbers) < 2**63
    assert (mixed(*numbers, other) == mixed(*numbers)) is False
    assert scrambled(np.array([7], dtype=np.uint64))[0] != scrambled(np.array([8], dtype=np.uint64))[0]


def dropped(rows: list[int], x: torch.Tensor, key: int = 3) -> torch.Tensor:
    layer = FastDropout(0.3).train()
    with by_row(rows, key):
        layer(x)  # the second call draws other numbers than the first
        return layer(x)


def test_dropout_of_a_row_is_the_same_in_any_batch() -> None:
    x = torch.rand(6, 5, 10) + 0.1
    rows = [4, 9, 2, 17, 8, 1]
    whole = dropped(rows, x)
    assert 0.2 < (whole == 0).float().mean() < 0.4
    for part in ([0, 1, 2], [5], [3, 1]):
        assert torch.equal(dropped([rows[i] for i in part], x[part]), whole[part])
    padded = torch.cat([x, torch.rand(6, 3, 10)], dim=1)
    assert torch.equal(dropped(rows, padded)[:, :5], whole), "padding on the right changes nothing"
    assert not torch.equal(dropped(rows, x, key=4), whole), "another step"
    assert not torch.equal(whole[0] == 0, whole[1] == 0), "another row"


def test_one_long_row_of_sequences_is_dropped_as_rows_are() -> None:
    lengths, x = [3, 5, 2], torch.rand(1, 12, 8)
    with by_row([6, 5, 4], 1):
        streams = row_streams()
        assert streams is not None
        streams.layouts[12] = lengths
        flat = keep_mask_by_row(x.shape, 0.4)[0, :10].split(lengths)
    for row, length, mask in zip([6, 5, 4], lengths, flat, strict=True):
        with by_row([row], 1):
            assert torch.equal(keep_mask_by_row((1, length, 8), 0.4)[0], mask)


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5), first=st.booleans())
def test_attention_of_a_sequence_is_the_same_in_any_batch(lengths: list[int], *, first: bool) -> None:
    torch.manual_seed(sum(lengths))
    rows = list(range(10, 10 + len(lengths)))
    query, key, value = (torch.randn(sum(lengths), 2, 4) for _ in range(3))

    def attended(chosen: list[int]) -> list[torch.Tensor]:
        parts = [torch.cat([x.split(lengths)[i] for i in chosen]) for x in (query, key, value)]
        sizes = [lengths[i] for i in chosen]
        layout = Layout(sizes, torch.device("cpu"))
        with by_row([rows[i] for i in chosen], 5):
            if first:
                parts[0] = parts[0][layout.first_tokens]
                return list(attend_from_first(*parts, layout, scale=0.5, dropout=0.5))
            return list(attend(*parts, layout, scale=0.5, dropout=0.5).split(sizes))

    together = attended(list(range(len(lengths))))
    for i, whole in enumerate(together):
        torch.testing.assert_close(attended([i])[0], whole, rtol=1e-5, atol=1e-6)


def test_dropping_half_keeps_the_mean_of_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(8, 1, 4), torch.randn(8, 1, 4), torch.ones(8, 1, 4)
    layout = Layout([8], torch.device("cpu"))
    found = []
    for row in range(400):
        with by_row([row], 9):
            found.append(attend_from_first(query[:1], key, value, layout, scale=1.0, dropout=0.5))
    assert float(torch.stack(found).mean()) == pytest.approx(1.0, abs=0.1)
