"""`student.*`: the model a run starts from, cut smaller as the recipe says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from torch import nn

from ftcli.contract import Rows
from ftcli.data.texts import documents
from ftcli.distillation.layer_map import evenly
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.models.shrink import check_config, keep_ffn, keep_heads, keep_layers
from ftcli.models.states import layers_of
from ftcli.models.trim import trim_embeddings, trim_tokenizer
from ftcli.recipe.distill_schema import StudentRecipe
from ftcli.recipe.schema import Recipe
from ftcli.trackers.console import Console

_AT_A_TIME = 1000


def is_cut(recipe: StudentRecipe) -> bool:
    """Whether the recipe asks for less than the whole model."""
    return recipe.trim_vocabulary or any(part is not None for part in (recipe.layers, recipe.heads, recipe.ffn))


def cut_student(source: Source, rows: Sequence[Rows], recipe: Recipe, console: Console) -> Source:
    """The model with what `student.*` takes away; `rows` are those whose texts a trimmed vocabulary has to write."""
    if not is_cut(recipe.student):
        return source
    if recipe.method.quantize != "none":
        raise UsageError(
            "method.quantize keeps a base as its files have it, and student.* cuts one smaller", hint="leave one out"
        )
    steps: list[Callable[[nn.Module], None]] = [_Shrink(recipe.student, source.name, console)]
    if recipe.student.trim_vocabulary:
        if source.tokenizer is None or source.from_scratch or source.added:
            raise UsageError(
                "student.trim_vocabulary is for a model that comes with a vocabulary, as it is",
                hint="leave it out, or model.add_tokens",
            )
        tokenizer = copy.deepcopy(source.tokenizer)
        used = used_tokens(tokenizer, _texts(rows))
        kept = trim_tokenizer(tokenizer, used, source.name)
        console.note(f"vocabulary trimmed from {len(source.tokenizer):,} to {len(kept):,} entries")
        source = replace(source, tokenizer=tokenizer)
        steps.append(partial(trim_embeddings, kept=kept))
    return replace(source, cut=partial(_each, steps))


def _texts(rows: Sequence[Rows]) -> Iterator[str]:
    return (str(value) for part in rows for row in part for role, value in row.items() if role != "label")


def used_tokens(tokenizer: Any, texts: Iterable[str]) -> set[int]:
    """Ids that occur in `texts`."""
    found: set[int] = set()
    waiting = iter(texts)
    while chunk := list(islice(waiting, _AT_A_TIME)):
        ids = [example["input_ids"] for example in documents(tokenizer, chunk)]
        found.update(np.unique(np.concatenate(ids)).tolist() if ids else ())
    return found


def _each(steps: Sequence[Callable[[nn.Module], None]], model: nn.Module) -> None:
    for step in steps:
        step(model)


@dataclass
class _Shrink:
    """Takes away layers, units and heads, and says so the first time."""

    recipe: StudentRecipe
    name: str
    console: Console
    said: bool = False

    def __call__(self, model: nn.Module) -> None:
        recipe, name, told = self.recipe, self.name, []
        before = sum(p.numel() for p in model.parameters())
        if recipe.layers is not None:
            depth = len(layers_of(model, name))
            numbers = recipe.layers if isinstance(recipe.layers, list) else _spread(recipe.layers, depth, name)
            keep_layers(model, numbers, name)
            told.append(f"layers {', '.join(map(str, numbers))} of {depth}")
        if recipe.heads is not None:
            keep_heads(model, recipe.heads, name)
            told.append(f"{recipe.heads} heads a layer")
        if recipe.ffn is not None and recipe.ffn < 1:
            keep_ffn(model, recipe.ffn, name)
            told.append(f"{100 * recipe.ffn:.3g} % of the feed-forward units")
        check_config(model, name)
        if told and not self.said:
            after = sum(p.numel() for p in model.parameters())
            self.console.note(f"student: {', '.join(told)}; {after:,} of {before:,} parameters")
        self.said = True


def _spread(count: int, depth: int, name: str) -> list[int]:
    if not 1 <= count <= depth:
        raise UsageError(
            f"student.layers is {count}; {name} has {depth}", hint=f"--set student.layers={depth // 2 or 1}"
        )
    return evenly(count, depth)


RUNG_KEYS = ("layers", "heads", "ffn", "trim_vocabulary")


def rung(text: str) -> tuple[str | None, dict[str, Any]]:
    """A student of `student.ladder`: the model it starts from (None for the recipe's), and its `student.*` settings.

    ``preset:bert-tiny``, ``layers=3 ffn=0.5``, ``some/model layers=2``, ``layers=0+2+5``. UsageError for another key.
    """
    name: str | None = None
    found: dict[str, Any] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals and name is None:
            name = word
        elif not equals or key not in RUNG_KEYS:
            raise UsageError(
                f"student.ladder: '{word}' in '{text}' is no setting of a student",
                hint=f"a model's name, and {', '.join(f'{k}=...' for k in RUNG_KEYS)}",
            )
        else:
            found[f"student.{key}"] = _value(key, value, text)
    return name, found


def _value(key: str, value: str, text: str) -> Any:
    try:
        if key == "trim_vocabulary":
            return {"true": True, "false": False}[value]
        if key == "ffn":
            return float(value)
        numbers = [int(part) for part in value.split("+")]
        return numbers if "+" in value and key == "layers" else numbers[0]
    except (ValueError, KeyError):
        raise UsageError(f"student.ladder: '{value}' in '{text}' is nothing that {key} can be") from None


def rungs(recipe: Recipe) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Each student of the ladder: as written, and as `rung` reads it."""
    for text in recipe.student.ladder or ():
        yield text, *rung(text)
