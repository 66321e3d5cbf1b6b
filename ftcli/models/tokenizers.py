"""A tokenizer learnt from the training texts, for models that bring none; a standard file set comes out."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase

from ftcli.recipe.schema import TokenizerRecipe

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_wordpiece(texts: Iterable[str], recipe: TokenizerRecipe, max_length: int) -> PreTrainedTokenizerBase:
    """A BERT tokenizer (WordPiece) of at most `recipe.vocab_size` entries; the same texts give the same one."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=recipe.lowercase)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=recipe.vocab_size, min_frequency=2, special_tokens=SPECIAL_TOKENS, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    vocabulary = core.get_vocab()
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=recipe.lowercase, model_max_length=max_length)
