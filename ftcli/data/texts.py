"""What tasks and objectives of text share: their column, texts to token ids, token ids to padded tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy

from ftcli.contract import Column, Example

TEXT = Column(
    "text",
    "text",
    ("text", "sentence", "review", "content", "document", "comment", "body", "tweet", "utterance", "question",
     "query", "title", "headline", "description", "message", "input", "prompt"),
)  # fmt: skip
FIRST = Column(
    "text",
    "text",
    ("text_a", "sentence1", "premise", "question1", "text1", "claim", "query", "question", "first", "s1", "text",
     "sentence"),
)  # fmt: skip
SECOND = Column(
    "text_b",
    "text",
    ("text_b", "sentence2", "hypothesis", "question2", "text2", "evidence", "sentence", "passage", "document",
     "context", "answer", "response", "reply", "second", "s2", "text_pair", "pair"),
)  # fmt: skip
"""The texts of a pair."""
PAD_TO_MULTIPLE = 8
TOKENIZE_VERSION = 1
"""To be raised whenever `tokenize` gives other answers than before: what was cached then no longer counts."""


def set_up(tokenizer: Any, max_length: int) -> None:
    """Put a fast tokenizer into the state that `tokenize` leaves it in, so that it is saved alike whether it was used
    or its answers came from a cache."""
    if is_plain_fast(tokenizer):
        tokenizer.set_truncation_and_padding(
            padding_strategy=PaddingStrategy.DO_NOT_PAD,
            truncation_strategy=TruncationStrategy.LONGEST_FIRST,
            max_length=max_length,
            stride=0,
            pad_to_multiple_of=None,
            padding_side=None,
        )
        tokenizer.backend_tokenizer.encode_special_tokens = tokenizer.split_special_tokens


def settings(tokenizer: Any) -> dict[str, Any] | None:
    """All that `tokenize` depends on beside the texts; None for a tokenizer whose workings cannot be seen."""
    if not is_plain_fast(tokenizer):
        return None
    core = tokenizer.backend_tokenizer
    return {
        "version": TOKENIZE_VERSION,
        "tokenizers": tokenizers.__version__,
        "tokenizer": hashlib.sha256(core.to_str().encode()).hexdigest(),
        "split_special_tokens": core.encode_special_tokens,
        "inputs": list(tokenizer.model_input_names),
    }


def is_plain_fast(tokenizer: Any) -> bool:
    """True where the library would do no more with a text than hand it to the Rust tokenizer."""
    kind = type(tokenizer)
    return (
        isinstance(tokenizer, PreTrainedTokenizerFast)
        and kind._encode_plus is PreTrainedTokenizerFast._encode_plus
        and kind.__call__ is PreTrainedTokenizerFast.__call__
        and not hasattr(kind, "_switch_to_input_mode")
    )


def tokenize(
    tokenizer: Any, texts: Sequence[str], max_length: int, seconds: Sequence[str] | None = None
) -> list[Example]:
    """Token ids of each text, or of each pair with the text at the same place in `seconds`, cut at `max_length` (of a
    pair always the longer text); ``truncated`` says where something was cut."""
    if not is_plain_fast(tokenizer):
        return _tokenize_by_call(tokenizer, texts, max_length, seconds)
    set_up(tokenizer, max_length)
    with_types = "token_type_ids" in tokenizer.model_input_names
    examples: list[Example] = []
    # Without offsets, and in threads of Rust; what is done here for each row is little beside it.
    given: list[Any] = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
    for encoding in tokenizer.backend_tokenizer.encode_batch_fast(given):
        ids = encoding.ids
        example: Example = {"input_ids": np.array(ids, dtype=np.int32)}
        if with_types:
            example["token_type_ids"] = np.array(encoding.type_ids, dtype=np.int32)
        example["truncated"] = len(ids) >= max_length and bool(encoding.overflowing)
        examples.append(example)
    return examples


def documents(tokenizer: Any, texts: Sequence[str]) -> list[Example]:
    """Token ids of each whole text, without special tokens."""
    if not is_plain_fast(tokenizer):
        found = tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return [{"input_ids": np.asarray(ids, dtype=np.int32)} for ids in found]
    core = tokenizer.backend_tokenizer
    kept = core.truncation
    core.no_truncation()
    core.no_padding()
    try:
        encodings = core.encode_batch_fast(list(texts), add_special_tokens=False)
    finally:
        if kept is not None:
            core.enable_truncation(**kept)
    return [{"input_ids": np.array(encoding.ids, dtype=np.int32)} for encoding in encodings]


@dataclass(frozen=True)
class Frame:
    """The special tokens a tokenizer puts around one text, and around and between two."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    between: tuple[int, ...]
    second: int
    """Segment id of the second text and of what follows it."""

    @property
    def size(self) -> int:
        """Tokens around one text."""
        return len(self.before) + len(self.after)

    @classmethod
    def of(cls, tokenizer: Any) -> Frame:
        """Read off the ids of a word with and without them."""
        word = "a"
        bare = tokenizer(word, add_special_tokens=False)["input_ids"]
        before, after = _around(tokenizer(word)["input_ids"], bare)
        pair = tokenizer(word, word)
        _, rest = _around(pair["input_ids"], bare)
        between, _ = _around(list(rest), bare)
        return cls(before, after, between, max(pair.get("token_type_ids") or [0]))


def _around(ids: list[int], bare: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and after the first place where `bare` is found in `ids`; all before, where it is not."""
    for start in range(len(ids) - len(bare) + 1):
        if ids[start : start + len(bare)] == bare:
            return tuple(ids[:start]), tuple(ids[start + len(bare) :])
    return tuple(ids), ()


def _tokenize_by_call(
    tokenizer: Any, texts: Sequence[str], max_length: int, seconds: Sequence[str] | None = None
) -> list[Example]:
    """The same through the library's own front door, for tokenizers that are no plain Rust ones."""
    encoded = tokenizer(
        list(texts),
        None if seconds is None else list(seconds),
        truncation=True,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        return_overflowing_tokens=False,
    )
    core = encoded.encodings
    return [
        {
            **{
                name: np.asarray(encoded[name][i], dtype=np.int32)
                for name in encoded
                if name != "overflow_to_sample_mapping"
            },
            "truncated": bool(core[i].overflowing) if core is not None else False,
        }
        for i in range(len(texts))
    ]


def pad(
    tokenizer: Any,
    examples: Sequence[Example],
    max_length: int,
    multiple: int = PAD_TO_MULTIPLE,
    side: str | None = None,
) -> dict[str, Tensor]:
    """(rows, tokens) int64 tensors, padded to the longest row, with an attention mask; `side` is left or right, by
    default the tokenizer's."""
    longest = max(len(e["input_ids"]) for e in examples)
    width = max(1, min(-(-longest // multiple) * multiple, max_length), longest)
    fills = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    left = (side or tokenizer.padding_side) == "left"
    batch = {
        name: np.full((len(examples), width), fill, dtype=np.int64)
        for name, fill in fills.items()
        if name in examples[0]
    }
    mask = np.zeros((len(examples), width), dtype=np.int64)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        place = slice(width - length, width) if left else slice(0, length)
        mask[row, place] = 1
        for name, array in batch.items():
            array[row, place] = example[name]
    return {**{n: torch.from_numpy(a) for n, a in batch.items()}, "attention_mask": torch.from_numpy(mask)}
