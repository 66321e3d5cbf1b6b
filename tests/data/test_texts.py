"""Texts to tokens: the short way to the Rust tokenizer gives what the library's front door gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from ftcli.data.texts import _tokenize_by_call, tokenize
from tests.tiny import tiny_model, tiny_reviews

TEXTS = [*(row["text"] for row in tiny_reviews(20)), "", " ", "[SEP] a [MASK] b </s>", "é漢 😀 \u200d", "a" * 500]


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "modernbert"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_short_way_gives_the_same(tmp_path: Path, kind: str, side: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    tokenizer.truncation_side = side
    for length in (3, 12, 200):
        found, expected = (way(tokenizer, TEXTS, length) for way in (tokenize, _tokenize_by_call))
        assert [list(example) for example in found] == [list(example) for example in expected]
        for one, other in zip(found, expected, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)
        assert length == 200 or any(example["truncated"] for example in found)
