"""Bytes behind each token, and which tokens begin a word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ftcli.models.tokenizers import begins_word, token_bytes, train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe

TEXTS = ["the running man is singing", "the man runs on and on", "彼は歌う。世界の歌", "naïve café 😀"] * 3


def fast(model: Any, pre_tokenizer: Any, decoder: Any, trainer: Any) -> PreTrainedTokenizerBase:
    core = Tokenizer(model)
    core.pre_tokenizer, core.decoder = pre_tokenizer, decoder
    core.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


BYTE_LEVEL = fast(
    models.BPE(),
    pre_tokenizers.ByteLevel(add_prefix_space=False),
    decoders.ByteLevel(),
    trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)


def facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[int, bool]]:
    sizes, begins = token_bytes(tokenizer), begins_word(tokenizer)
    assert sizes.shape == begins.shape == (len(tokenizer),)
    return {token: (int(sizes[i]), bool(begins[i])) for token, i in tokenizer.get_vocab().items()}


def test_wordpiece() -> None:
    known = facts(train_wordpiece(TEXTS, TokenizerRecipe(vocab_size=200), 64))
    expected = {"[MASK]": (0, True), "the": (3, True), "##ing": (3, False), "世": (3, True), "。": (3, True)}
    assert {token: known[token] for token in expected} == expected


def test_byte_level() -> None:
    known = facts(BYTE_LEVEL)
    expected = {"<unk>": (0, True), "Ġman": (4, True), "ing": (3, False), "Ċ": (1, True), "ï": (1, False)}
    assert {token: known[token] for token in expected} == expected
    # First byte of a Chinese character or a kana; of 😀, which is neither; one from inside a character.
    assert [known[letter][1] for letter in ("ä", "ã", "ð", "¸")] == [True, True, False, False]


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_byte_level_tokens_add_up_to_the_bytes_of_the_text(text: str) -> None:
    text = text.replace("<unk>", "")
    ids = BYTE_LEVEL(text, add_special_tokens=False)["input_ids"]
    assert token_bytes(BYTE_LEVEL)[ids].sum() == len(text.encode())


def test_sentencepiece_marks_spaces_and_may_fall_back_on_bytes() -> None:
    core = Tokenizer(
        models.BPE({"<unk>": 0, "<0x0A>": 1, "▁": 2, "t": 3, "▁t": 4, "世": 5}, [("▁", "t")], byte_fallback=True)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    known = facts(PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"))
    assert known == {
        "<unk>": (0, True), "<0x0A>": (1, True), "▁": (1, True), "t": (1, False), "▁t": (2, True), "世": (3, True),
    }  # fmt: skip


@pytest.mark.parametrize("special", [True, False])
def test_tokens_added_later(special: bool) -> None:
    tokenizer = fast(
        models.BPE(), pre_tokenizers.ByteLevel(), decoders.ByteLevel(), trainers.BpeTrainer(show_progress=False)
    )
    tokenizer.add_tokens(["größe"], special_tokens=special)
    assert facts(tokenizer)["größe"] == ((0, True) if special else (7, True))
