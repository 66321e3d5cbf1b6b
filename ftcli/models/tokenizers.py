"""A tokenizer learnt from the training texts, for models that bring none; a standard file set comes out."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase

from ftcli.models.vocabulary import begins_word, token_bytes
from ftcli.recipe.schema import TokenizerRecipe

__all__ = ["SPECIAL_TOKENS", "begins_word", "token_bytes", "train_wordpiece"]

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_wordpiece(texts: Iterable[str], recipe: TokenizerRecipe, max_length: int) -> PreTrainedTokenizerBase:
    """A BERT tokenizer (WordPiece) of at most `recipe.vocab_size` entries; the same texts give the same one.

    `texts` is gone through twice.
    """
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=recipe.lowercase)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS, *_alphabet(core, texts)],
        show_progress=False,
    )
    core.train_from_iterator(iter(texts), trainer)
    vocabulary = core.get_vocab()
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=recipe.lowercase, model_max_length=max_length)


def _alphabet(core: Tokenizer, texts: Iterable[str]) -> list[str]:
    """The pieces of one character, in order. Left to itself the trainer numbers those inside words as its hash table
    happens to hold them, and breaks ties of merges by those numbers: another vocabulary every time."""
    normalise, split = core.normalizer.normalize_str, core.pre_tokenizer.pre_tokenize_str
    seen = np.zeros(sys.maxunicode + 1, dtype=bool)
    for text in texts:
        seen[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)] = True
    found = map(chr, np.flatnonzero(seen).tolist())
    letters = sorted({letter for raw in found for letter in normalise(raw) if not letter.isspace()})
    return letters + [f"##{letter}" for letter in letters if len(split(f"a{letter}")) == 1]


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(vocabulary,) bytes of text each token stands for; 0 for special ones."""
    special = set(tokenizer.all_special_ids)
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([0 if i in special else len(w.removeprefix("##").encode()) for i, w in enumerate(words)])


def begins_word(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(vocabulary,) True for tokens that start a word."""
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([not w.startswith("##") for w in words])
