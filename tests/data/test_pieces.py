"""Documents in pieces: nothing lost, nothing twice, nothing too long."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.examples import lengths
from ftcli.data.pieces import Pieces, cut, token_counts
from ftcli.data.texts import Frame

DOCUMENTS = st.lists(st.integers(0, 90), min_size=1, max_size=12)


@given(sizes=DOCUMENTS, longest=st.integers(1, 40), shortest=st.integers(1, 10))
def test_every_token_is_in_one_piece(sizes: list[int], longest: int, shortest: int) -> None:
    pieces = cut(np.array(sizes), longest, shortest=shortest)
    for document, size in enumerate(sizes):
        runs = pieces[pieces[:, 0] == document]
        if size < shortest:
            assert not len(runs)
            continue
        assert runs[0, 1] == 0
        assert runs[-1, 2] == size
        assert (runs[1:, 1] == runs[:-1, 2]).all()
        lengths = runs[:, 2] - runs[:, 1]
        assert lengths.max() <= longest
        assert len(runs) == -(-size // longest), "as few as can be"
        assert lengths.max() - lengths.min() <= 1, "of equal size"


@given(sizes=DOCUMENTS, longest=st.integers(1, 40))
def test_special_tokens_stand_around_each_piece(sizes: list[int], longest: int) -> None:
    documents = [{"input_ids": np.arange(100, 100 + size, dtype=np.int32)} for size in sizes]
    assert lengths(documents).tolist() == sizes
    pieces = Pieces(documents, Frame((1,), (2,), (2,), 1), cut(np.array(sizes), longest))
    found = [example["input_ids"] for example in pieces]
    assert [len(ids) for ids in found] == pieces.lengths().tolist()
    assert all(ids[0] == 1 and ids[-1] == 2 for ids in found)
    together = np.concatenate([ids[1:-1] for ids in found]) if found else np.zeros(0)
    assert together.tolist() == [token for document in documents for token in document["input_ids"]]


def test_two_texts_in_one_example() -> None:
    documents = [{"input_ids": np.arange(10, 20, dtype=np.int32)}, {"input_ids": np.arange(30, 40, dtype=np.int32)}]
    first, second = np.array([[0, 0, 3]]), np.array([[1, 4, 6]])
    pieces = Pieces(documents, Frame((1,), (2,), (2,), 1), first, second, {"pair": np.array([1])}, with_types=True)
    [example] = list(pieces)
    assert example["input_ids"].tolist() == [1, 10, 11, 12, 2, 34, 35, 2]
    assert example["token_type_ids"].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert example["pair"] == 1
    assert pieces.lengths().tolist() == [8]


def test_tokens_are_counted_over_all_documents() -> None:
    documents = [{"input_ids": np.array([1, 1, 3], dtype=np.int32)}] * 2500
    assert token_counts(documents, 5).tolist() == [0, 5000, 0, 2500, 0]
