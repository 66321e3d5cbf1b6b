"""The tokenizer of a run's model: its own, that of another model, or one trained from the training texts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ftcli.contract import Column, Data
from ftcli.errors import UsageError
from ftcli.models.added_tokens import read_tokens
from ftcli.models.families import family
from ftcli.models.load import Source, open_source
from ftcli.models.tokenizers import train_tokenizer
from ftcli.recipe.schema import ModelRecipe, Recipe, TokenizerRecipe
from ftcli.runs.split_texts import SplitTexts
from ftcli.trackers.console import Console


def with_tokenizer(source: Source, data: Data, recipe: Recipe, columns: Sequence[Column], console: Console) -> Source:
    """The model with a tokenizer, and the words to be added in it. One of images or sounds needs none."""
    asked = recipe.model.tokenizer
    length = source.max_length(recipe.train.max_length)
    if asked.name is not None and source.processor is not None:
        # Said, not refused: in a chain of stages it is meant for the first one.
        console.note(f"{source.name} has what it reads with: the tokenizer of {asked.name} is not taken")
    elif asked.name is not None:
        source = source.with_tokenizer(_of_another(source, asked, asked.name, length))
        console.note(f"tokenizer of {asked.name}: {source.config.vocab_size:,} entries")
    elif source.processor is None:
        texts = SplitTexts(data.splits["train"], columns)
        source = source.with_tokenizer(train_tokenizer(texts, asked, source.config.model_type, length))
        console.note(f"tokenizer trained on the training texts: {source.config.vocab_size:,} entries")
    if recipe.model.add_tokens is not None:
        tokens, before = read_tokens(recipe.model.add_tokens), len(source.tokenizer or ())
        source = source.with_tokens(tokens)
        new = len(source.tokenizer or ()) - before
        left = f"; {len(tokens) - new:,} are single tokens already" if new < len(tokens) else ""
        console.note(f"{new:,} words added to the vocabulary{left}")
    return source


def _of_another(source: Source, asked: TokenizerRecipe, name: str, length: int) -> PreTrainedTokenizerBase:
    """The tokenizer of another model, for texts of `length` tokens; UsageError where the model cannot do with it."""
    key = f"model.tokenizer.name is {name}"
    if asked != TokenizerRecipe(name=name):
        raise UsageError(f"{key}, whose tokenizer is taken as it is", hint="leave out the rest of model.tokenizer")
    expected = family(source.config.model_type)
    tokenizer: Any = copy.deepcopy(open_source(ModelRecipe(name=name)).tokenizer)
    if tokenizer is None:
        raise UsageError(f"{key}, which has no tokenizer", hint="a model that reads texts")
    missing = [token for role, token in expected.tokens(unknown=False).items() if getattr(tokenizer, role) is None]
    missing += expected.sentinels[: 1 - (set(expected.sentinels) <= set(tokenizer.get_vocab()))]
    if missing:
        raise UsageError(
            f"{key}, whose tokenizer has nothing for {', '.join(dict.fromkeys(missing))} of {source.name}",
            hint=f"the tokenizer of a model such as {source.config.model_type}, or leave it out to train one",
        )
    tokenizer.model_max_length = min(length, tokenizer.model_max_length)
    tokenizer.model_input_names = list(expected.inputs)
    made: PreTrainedTokenizerBase = tokenizer
    return made
