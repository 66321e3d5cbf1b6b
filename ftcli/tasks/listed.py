"""What tasks share whose rows hold several texts: their tokens in one example, and a number for each back in rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ftcli.contract import Example
from ftcli.errors import UsageError
from ftcli.recipe.schema import Recipe


def refuse_windows(recipe: Recipe) -> None:
    """UsageError where a recipe asks for long texts in windows: the texts of these rows are seen whole, or cut."""
    if recipe.long.name == "windows":
        raise UsageError("long: windows are of rows of one text, and these have several", hint="--long cut")


def joined(texts: Sequence[Example], per_row: Sequence[int]) -> list[Example]:
    """An example for each row out of those of its texts: their tokens one after the other, ``lengths`` of each."""
    found = []
    end = 0
    for count in per_row:
        start, end = end, end + count
        own = texts[start:end]
        example: Example = {
            name: np.concatenate([text[name] for text in own])
            for name in ("input_ids", "token_type_ids")
            if name in own[0]
        }
        example["lengths"] = np.array([len(text["input_ids"]) for text in own], dtype=np.int32)
        example["truncated"] = any(text["truncated"] for text in own)
        found.append(example)
    return found


def parted(example: Example) -> list[Example]:
    """The texts that `joined` was given."""
    ends = np.cumsum(example["lengths"])[:-1]
    columns = {name: np.split(example[name], ends) for name in ("input_ids", "token_type_ids") if name in example}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def in_rows(numbers: Tensor, slots: Tensor, per_row: Sequence[int]) -> Tensor:
    """(texts,) to (rows, most texts of one) fp32, -inf where a row has fewer; `slots` (texts,) are their places there
    laid end to end."""
    most = max(per_row)
    empty = torch.full((len(per_row) * most,), -torch.inf, device=numbers.device)
    return empty.index_copy(0, slots, numbers.to(torch.float32)).view(len(per_row), most)
