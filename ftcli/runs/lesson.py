"""What a student is taught from: further rows, and what it can be asked to have in common with its teacher."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from ftcli.contract import Batch, Data, Example, Outputs, Rows
from ftcli.contract_options import Seeing
from ftcli.data.changed import changed, read_ways, without
from ftcli.data.examples import lengths
from ftcli.data.load import load as load_data
from ftcli.data.texts import settings
from ftcli.distillation.distilled import Transfer
from ftcli.distillation.terms import Shape
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.models.states import depth_of, heads_of, width_of
from ftcli.recipe.schema import Recipe
from ftcli.runs.parts import Parts
from ftcli.runs.teachers import Classroom, Teacher, plain
from ftcli.trackers.console import Console


def further_rows(recipe: Recipe, data: Data, kind: Any, source: Source, console: Console) -> dict[str, Rows]:
    """Rows to learn the teacher's answers on beside the labelled ones, by name: unlabelled ones, changed copies."""
    asked, inputs = recipe.distill, tuple(column for column in kind.columns if not column.answer)
    roles = [column.role for column in inputs]
    found: dict[str, Rows] = {}
    learns = hasattr(kind, "outputs_of") or asked.sequences
    if (asked.unlabelled is not None or asked.augment) and (kind.gathers or not learns):
        key = "unlabelled" if asked.unlabelled is not None else "augment"
        raise UsageError(f"distill.{key}: {kind.name} is learnt from rows with answers alone", hint="leave it out")
    if asked.unlabelled is not None:
        named = replace(recipe.data, name=asked.unlabelled, limit_train=None, label_column=None)
        loaded = load_data(named, inputs, seed=recipe.seed, splits=("train",), row_fault=kind.row_fault)
        rows = loaded.splits["train"]
        held = [data.splits[name] for name in ("validation", "test") if name in data.splits]
        found["unlabelled"], left = without(rows, held, roles)
        said = f"; {left:,} left out that are in the validation or test split" if left else ""
        console.note(f"{len(found['unlabelled']):,} unlabelled rows from {asked.unlabelled}{said}")
    if asked.augment:
        if set(roles) - {"text", "text_b"}:
            raise UsageError(f"distill.augment changes texts, and {kind.name} has other inputs", hint="leave it out")
        hidden = getattr(source.tokenizer, "mask_token", None) or getattr(source.tokenizer, "unk_token", None) or ""
        ways = read_ways(asked.augment_how)
        for name, given in {"changed": data.splits["train"], "changed unlabelled": found.get("unlabelled")}.items():
            if given is not None:
                found[name] = changed(given, asked.augment, ways, asked.augment_rate, recipe.seed, hidden)
        console.note(f"{sum(len(rows) for name, rows in found.items() if name.startswith('changed')):,} changed copies")
    return found


def hard_loss(parts: Parts) -> Callable[[Outputs, Batch], Tensor]:
    """The sum of the task's loss against answers, or what `regularize` makes of it, of outputs and their batch."""
    task, regularized = parts.task, cast(Any, parts.learner)

    def loss(outputs: Outputs, batch: Batch) -> Tensor:
        found = task.losses(outputs, batch) if regularized is task else regularized.losses([outputs], batch)
        return cast(Tensor, found["loss"])

    return loss


def shape_of(model: nn.Module, name: str) -> Shape:
    """What of a model decides how its states can be compared."""
    config: Any = getattr(model, "config")  # noqa: B009
    try:
        depth, width, heads = depth_of(model), width_of(model), heads_of(model)
    except AttributeError:
        depth = width = heads = 0  # an architecture without one stack of layers: its answers are there all the same
    size = getattr(config, "head_dim", None) or (width // heads if heads else 0)
    kv_width = int((getattr(config, "num_key_value_heads", None) or heads) * size)
    return Shape(name, str(config.model_type), depth, width, heads, kv_width, plain(model))


def tokens_per_image(source: Source, task: Any, model: nn.Module) -> int:
    """Tokens that a model of images makes of one; 1 for texts, whose tokens are counted."""
    if source.images is None or not isinstance(task, Seeing):
        return 1
    config: Any = getattr(model, "config")  # noqa: B009
    patch = getattr(config, "patch_size", None)
    if patch is None:
        return 1
    high, wide = (patch, patch) if isinstance(patch, int) else patch
    return int((task.pixels.shape[1] // high) * (task.pixels.shape[2] // wide)) + (
        2 if config.model_type == "deit" else 1
    )


def same_tokens(parts: Parts, teacher: Teacher, tokens: int) -> bool:
    """Whether student and teacher see the same tokens, as far as can be told without the rows (see `check_tokens`)."""
    own, other = parts.source, teacher.trained.source
    if own.tokenizer is None or other.tokenizer is None:
        return tokens == tokens_per_image(other, teacher.trained.task, teacher.model)
    if own.cut is not None and own.location == other.location:
        return True  # a trimmed vocabulary cuts the training texts as the whole one did
    return alike(own.tokenizer, other.tokenizer)


def alike(one: Any, other: Any) -> bool:
    """Whether two tokenizers cut every text alike, as far as can be seen; where they end is another question."""
    cores = []
    for tokenizer in (one, other):
        if settings(tokenizer) is None:
            return False
        core = json.loads(tokenizer.backend_tokenizer.to_str())
        cores.append({key: value for key, value in core.items() if key not in ("truncation", "padding")})
    return bool(cores[0] == cores[1])


def check_tokens(classroom: Classroom, splits: Sequence[str], examples: Sequence[Example]) -> None:
    """UsageError where a text has more tokens for one than for the other."""
    theirs = Transfer([classroom.encoded(0, split) for split in splits])
    odd = int((lengths(examples) != lengths(theirs)).sum())
    if odd:
        raise UsageError(
            f"{odd:,} of {len(examples):,} texts have another number of tokens for the student than for its teacher",
            hint="the same --max-length and teacher.max_length; distill.soft, contrastive and relational_* do not mind",
        )


def rows_seen(recipe: Recipe, rows: int) -> int:
    """Rows that the student will see in all, near enough."""
    epochs = recipe.train.epochs if recipe.train.epochs is not None else 1.0
    found = round(epochs * rows)
    if recipe.train.max_steps is None or recipe.train.tokens_per_step is not None:
        return found
    return min(found, recipe.train.max_steps * recipe.train.rows_per_step)
