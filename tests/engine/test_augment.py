"""Hiding tokens in training batches."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.engine.augment import TokenDropout
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe
from tests.tiny import tiny_reviews

TOKENIZER = train_wordpiece([row["text"] for row in tiny_reviews(50)], TokenizerRecipe(vocab_size=200), 64)


@given(st.floats(0.05, 0.9), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_share_hidden_is_the_rate_and_special_tokens_stay(rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    ids = torch.randint(0, len(TOKENIZER), (64, 100))
    batch = {"input_ids": ids, "labels": torch.zeros(64)}
    hidden = TokenDropout(TOKENIZER, rate)(batch)
    special = torch.isin(ids, torch.tensor(TOKENIZER.all_special_ids))
    assert torch.equal(hidden["input_ids"][special], ids[special])
    changed = hidden["input_ids"] != ids
    assert (hidden["input_ids"][changed] == TOKENIZER.mask_token_id).all()
    share = changed[~special].float().mean().item()
    assert abs(share - rate) < 4 * (rate * (1 - rate) / (~special).sum().item()) ** 0.5
    assert batch["input_ids"] is ids, "the batch itself is left alone"
    assert hidden["labels"] is batch["labels"]
