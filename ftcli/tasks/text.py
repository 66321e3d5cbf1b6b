"""What text tasks share: texts to token ids, token ids to padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Example

PAD_TO_MULTIPLE = 8


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Example]:
    """Token ids of each text, cut at `max_length`; ``truncated`` says where something was cut."""
    encoded = tokenizer(
        list(texts),
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
    tokenizer: Any, examples: Sequence[Example], max_length: int, multiple: int = PAD_TO_MULTIPLE
) -> dict[str, Tensor]:
    """(rows, tokens) int64 tensors, padded to the longest row on the tokenizer's side, with an attention mask."""
    longest = max(len(e["input_ids"]) for e in examples)
    width = max(1, min(-(-longest // multiple) * multiple, max_length), longest)
    fills = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    left = tokenizer.padding_side == "left"
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
