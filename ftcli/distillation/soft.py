"""Soft answers of any form: of several teachers, compared with a student's, and as the rows of a store."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ftcli.distillable import SoftForm
from ftcli.errors import UsageError
from ftcli.losses import distill as losses


def mixed(form: SoftForm, given: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """(targets, choices) what several teachers say together, in the form of one: probabilities averaged by `shares`."""
    given = as_wide(given)
    if form.kind == "softmax":
        return given[0] if len(given) == 1 else losses.mixed_log_probabilities(given, shares, 1.0)
    return (losses.mixed_flags if form.kind == "sigmoid" else losses.mixed_numbers)(given, shares)


def apart(
    form: SoftForm, student: Tensor, given: Sequence[Tensor], shares: Sequence[float], temperature: float, how: str
) -> Tensor:
    """How far `student` (targets, choices) is from its teachers: a sum, to be divided by targets.

    Of a softmax `losses.soft_targets` with the divergence `how`; of sigmoids the same for yes and no, averaged over a
    target's labels; of numbers the squared difference in the task's unit.
    """
    if any(len(one) != len(student) for one in given):
        raise UsageError(
            f"the student reads {len(student):,} tokens of the answers in a batch, its teacher another number",
            hint="the same --max-length and teacher.max_length; seq2seq.max_target_length as the teacher has it",
        )
    if form.kind == "number":
        return losses.squared(student, losses.mixed_numbers(given, shares), form.unit)
    own, *others = as_wide([student, *given])
    has = torch.full((len(own),), own.shape[1], device=own.device)
    if form.ragged:
        has = (~torch.isneginf(own)).sum(-1).clamp(min=1)
        pairs = [losses.without_gaps(own, other) for other in others]
        own, others = pairs[0][0], [other for _, other in pairs]
    if form.kind == "softmax":
        taught = losses.mixed_log_probabilities(others, shares, temperature)
        return losses.soft_targets(own, taught, temperature, how)
    taught = losses.mixed_log_probabilities([losses.as_choices(other) for other in others], shares, temperature)
    of_each = (1 / has).repeat_interleave(own.shape[1], output_size=own.numel())
    return losses.soft_targets(losses.as_choices(own), taught, temperature, how, of_each)


def as_wide(given: Sequence[Tensor]) -> list[Tensor]:
    """Soft answers with as many choices each, those that there were not being -inf."""
    most = max(x.shape[1] for x in given)
    return [functional.pad(x, (0, most - x.shape[1]), value=-torch.inf) if x.shape[1] < most else x for x in given]


def stacked(given: Sequence[Tensor]) -> Tensor:
    """Soft answers one after the other."""
    return given[0] if len(given) == 1 else torch.cat(as_wide(given))


def by_row(soft: Tensor, per_row: Sequence[int]) -> list[Tensor]:
    """Soft answers of each row, without the choices that none of its targets has."""
    parts = torch.split(soft, list(per_row))
    if not torch.isneginf(soft).any():
        return list(parts)
    return [part[:, : _width(part)] for part in parts]


def _width(part: Tensor) -> int:
    has = (~torch.isneginf(part)).any(0).nonzero()
    return int(has[-1]) + 1 if len(has) else 0
