"""The tokenizer trained for models that have none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe
from tests.tiny import tiny_reviews


@given(st.lists(st.text("abcäé中 .,-!'", min_size=1, max_size=30), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_same_texts_give_the_same_vocabulary(texts: list[str]) -> None:
    first, second = (train_wordpiece(texts, TokenizerRecipe(vocab_size=60), 64).get_vocab() for _ in range(2))
    assert first == second
    assert sorted(first.values()) == list(range(len(first)))


def test_words_seen_in_training_are_known_and_the_size_is_kept() -> None:
    texts = [row["text"] for row in tiny_reviews(100)]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=120), 64)
    assert len(tokenizer) <= 120
    for text in texts:
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
