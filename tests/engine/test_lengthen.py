"""Length warm-up: texts cut to what their step allows, by seed, epoch and row alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.contract import Example
from ftcli.data.pieces import Pieces
from ftcli.data.sampler import Sampler, grown
from ftcli.data.texts import Frame
from ftcli.engine.lengthen import Lengthening

SIZES = [3, 40, 17, 64, 64, 1, 25, 64] * 9
FRAME = Frame((101,), (102,), (102,), 1)


def pieces(sizes: list[int], pairs: bool = False) -> Pieces:
    documents = [{"input_ids": np.arange(1000 * i, 1000 * i + size, dtype=np.int32)} for i, size in enumerate(sizes)]
    runs = np.array([[i, 0, size] for i, size in enumerate(sizes)])
    if not pairs:
        return Pieces(documents, FRAME, runs)
    middle = np.array([size // 3 for size in sizes])
    first, second = runs.copy(), runs.copy()
    first[:, 2] = second[:, 1] = middle
    return Pieces(documents, FRAME, first, second, {"pair": np.arange(len(sizes)) % 2}, with_types=True)


def whole(example: Example, epoch: int, row: int) -> Example:
    return example


@given(sizes=st.lists(st.integers(3, 70), min_size=1, max_size=12), longest=st.integers(1, 80), pairs=st.booleans())
def test_shortened_examples_are_their_beginnings(sizes: list[int], longest: int, pairs: bool) -> None:
    examples = pieces(sizes, pairs)
    for row in range(len(sizes)):
        full, cut = examples[row], examples.shortened(row, longest)
        ids = cut["input_ids"]
        assert len(ids) <= max(longest, 5 if pairs else 3)
        if len(full["input_ids"]) <= longest:
            assert ids.tolist() == full["input_ids"].tolist()
        assert (ids[0], ids[-1]) == (101, 102)
        if not pairs:
            assert ids[:-1].tolist() == full["input_ids"][: len(ids) - 1].tolist()
            continue
        end = ids.tolist().index(102)
        assert 1 < end < len(ids) - 2, "something of each text is left"
        assert ids[:end].tolist() == full["input_ids"][:end].tolist()
        other = full["input_ids"].tolist().index(102) + 1
        assert ids[end + 1 : -1].tolist() == full["input_ids"][other : other + len(ids) - end - 2].tolist()
        assert cut["token_type_ids"].tolist() == [0] * (end + 1) + [1] * (len(ids) - end - 1)
        assert cut["pair"] == row % 2


@pytest.mark.parametrize("batch_warmup", [0, 25])
@pytest.mark.parametrize("tokens", [None, 300])
def test_each_step_has_its_length(batch_warmup: int, tokens: int | None) -> None:
    examples = pieces(SIZES)
    sampler = Sampler(examples.lengths(), 4, 7, tokens_per_step=tokens)
    sampler.warm_up(batch_warmup)
    draw = Lengthening(whole, examples, sampler, warmup=30, longest=66)
    step, seen = 0, set()
    for epoch in range(5):
        for rows in sampler.plan(epoch):
            room = max(8, round(66 * grown(step, 30)))
            for row in rows:
                size = len(draw(examples[int(row)], epoch, int(row))["input_ids"])
                assert size == min(len(examples[int(row)]["input_ids"]), room)
            seen.add(room)
            step += 1
    assert step > 40
    assert min(seen) == 8
    assert max(seen) == 66
    assert len(seen) >= 25
    assert draw.limits(4) is None


def test_any_row_of_any_epoch_alone() -> None:
    examples = pieces(SIZES)

    def fresh() -> Lengthening:
        return Lengthening(whole, examples, Sampler(examples.lengths(), 4, 7), warmup=30, longest=66)

    one = fresh()
    sizes = {(e, r): len(one(examples[r], e, r)["input_ids"]) for e in range(3) for r in range(len(SIZES))}
    for epoch, row in ((1, 5), (2, 3), (0, 40), (1, 12)):
        assert len(fresh()(examples[row], epoch, row)["input_ids"]) == sizes[epoch, row]
