"""A split tokenized: once for each content, tokenizer and length, then from the cache; for objectives, arranged too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

import ftcli
from ftcli.contract import Example, Objective, Rows, Task
from ftcli.contract_options import Remarking
from ftcli.data.pieces import Pieces
from ftcli.data.token_cache import TokenCache, key_of, user_folder
from ftcli.data.tokens import Tokens
from ftcli.data.windows import in_several, share_cut
from ftcli.engine import world
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.evaluate import Encode, encode_rows
from ftcli.engine.interrupt import StopRequest
from ftcli.recipe.schema import DataRecipe
from ftcli.runs.parts import Parts
from ftcli.trackers.console import Console

WORTH_KEEPING = 1 << 20
"""Bytes of text below which tokenizing is as quick as looking up."""


def encode(
    parts: Parts, split: str, console: Console, stop: StopRequest | None = None, by: Encode | None = None
) -> Sequence[Example]:
    """The split encoded by the task (or by another function of its own), with the share of rows that were cut said.

    Raises Leave where `stop` asks to end.
    """
    rows = parts.data.splits[split]
    cache = open_cache(parts.recipe.data)
    key = _key(parts.task, rows) if cache is not None else None

    def encoded() -> Sequence[Example]:
        found: Sequence[Example] | None = cache.load(key) if cache is not None and key is not None else None
        if found is not None:
            console.info(f"{_doing(parts)} {split}: from the cache")
            return found
        with console.progress(f"{_doing(parts)} {split}", len(rows), "rows") as bar:
            found = _encode(by or parts.task.encode, rows, bar, stop)
        if cache is not None and key is not None and isinstance(found, Tokens):
            cache.save(key, found)
        return found

    examples = encoded() if key is None else world.first_of_host(encoded)
    if parts.source.takes == "text":
        cut, several = round(len(rows) * (share_cut(examples) or 0)), in_several(examples)
        for longer, what in ((cut, f"were cut{parts.task.long_hint}"), (several, "are read in windows")):
            if longer:
                said = f"{split}: {longer:,} of {len(rows):,} texts ({longer / len(rows):.1%}) are longer than"
                length = parts.source.max_length(parts.recipe.train.max_length)
                console.note(f"{said} {length} tokens and {what}")
    if isinstance(parts.task, Remarking):
        for remark in parts.task.remarks(split, examples):
            console.note(remark)
    return examples


def arranged(parts: Parts, split: str, console: Console, stop: StopRequest | None = None) -> Sequence[Example]:
    """The split as examples without answers, with their number said."""
    objective = cast(Objective, parts.task)
    documents = encode(parts, split, console, stop, by=objective.documents)
    examples = objective.arrange(documents, parts.recipe.seed)
    if isinstance(examples, Pieces):
        tokens, left = int(examples.lengths().sum()), len(documents) - len(np.unique(examples.first[:, 0]))
        said = f"; {left:,} documents too short to learn from" if left else ""
        console.note(f"{split}: {len(documents):,} documents, {len(examples):,} examples, {tokens:,} tokens{said}")
    return examples


def held_out(parts: Parts, split: str, console: Console, stop: StopRequest | None = None) -> Corrupted:
    """The split as examples whose answers are drawn once and for all."""
    objective = cast(Objective, parts.task)
    return Corrupted(arranged(parts, split, console, stop), drawing(objective.corrupt, parts.recipe.seed))


def open_cache(recipe: DataRecipe) -> TokenCache | None:
    """The cache a recipe asks for."""
    if recipe.token_cache == "none":
        return None
    return TokenCache(Path(recipe.token_cache).expanduser() if recipe.token_cache else user_folder() / "tokens")


def _key(task: Task, rows: Rows) -> str | None:
    """Name of the entry of these rows; None where they are too few or the task cannot tell what it depends on."""
    encoding = task.encoding()
    if encoding is None or rows.text_bytes() < WORTH_KEEPING:
        return None
    facts = {"ftcli": ftcli.__version__, "task": task.name, "rows": rows.fingerprint(), "encoding": encoding}
    return key_of(facts)


def _doing(parts: Parts) -> str:
    return "tokenize" if parts.source.takes == "text" else "decode"


def _encode(by: Encode, rows: Rows, bar: Any, stop: StopRequest | None) -> Sequence[Example]:
    def encoded(count: int) -> None:
        bar.advance(count)
        if stop is not None:
            stop.leave_if_due()

    return encode_rows(by, rows, on_rows=encoded)
