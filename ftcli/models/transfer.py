"""A trained head meets another set of labels: what of it stays, and what starts over."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from ftcli.models.backbone import outside_backbone
from ftcli.models.fresh import start_over
from ftcli.models.load import Source, load_weights


@dataclass(frozen=True)
class Carried:
    """What became of a head."""

    fresh: list[str]
    """Parameters that start over."""
    note: str | None
    """What to say of it."""


def label_names(config: PretrainedConfig) -> list[str]:
    """The labels of a configuration, by id."""
    by_id = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    return [by_id[i] for i in sorted(by_id)]


def generic(names: Collection[str]) -> bool:
    """True for the names that transformers makes up: they mean nothing."""
    return all(name.startswith("LABEL_") for name in names)


def carry_head(
    source: Source, auto_class: Any, before: PretrainedConfig, model: Any, labels: Sequence[str], fresh: Sequence[str]
) -> Carried:
    """Give `model`, made for `labels`, of the head in its checkpoint what still holds.

    `before` is the checkpoint's own configuration, `fresh` what was missing or of another shape when `model` was
    loaded. The output layer keeps the rows of labels that agree by name, in any order and number, and its other rows
    start over; with none that agree all of the head does, as a head trained for something else would be a silent
    wrong start.
    """
    old, head = label_names(before), outside_backbone(model)
    same_kind = not before.architectures or type(model).__name__ in before.architectures
    if same_kind and (old == list(labels) or generic(old)):
        return Carried(list(fresh), None)  # nameless labels are taken in their order where they are as many
    if not same_kind and set(head) & set(fresh):
        return Carried(list(fresh), None)  # a model without this kind of head
    rows = label_dimensions(model)
    if not same_kind:  # the head of another task, that happens to have this one's shape
        last = list(rows) or head
        start_over(model, last)
        return Carried(sorted({*fresh, *last}), None)
    shared = matched(old, labels)
    trained = _old_values(source, auto_class, before, model, rows, fresh) if shared else {}
    if trained is None:
        return Carried(list(fresh), None)
    if not shared:
        start_over(model, head)
        note = f"none of the model's labels ({_listed(old)}) is among these: its head starts fresh"
        return Carried(sorted({*fresh, *head}), note)
    start_over(model, rows)
    to, of = torch.tensor(list(shared)), torch.tensor(list(shared.values()))
    for name, dimension in rows.items():
        with torch.no_grad():
            model.get_parameter(name).index_copy_(dimension, to, trained[name].index_select(dimension, of))
    return Carried([name for name in fresh if name not in rows], _told(old, labels, shared))


def _told(old: Sequence[str], labels: Sequence[str], shared: Mapping[int, int]) -> str:
    """Which rows of a head were kept, which start fresh and which have no use any more."""
    kept = [labels[i] for i in shared]
    left = [name for i, name in enumerate(labels) if i not in shared]
    dropped = [name for i, name in enumerate(old) if i not in shared.values()]
    said = f"the head keeps its rows for {_listed(kept)}"
    if left:
        said += f"; fresh for {_listed(left)}"
    if dropped:
        said += f"; without {_listed(dropped)}"
    return said


def matched(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Place in `new` -> place in `old` of the same name; in other case too, where that leaves no doubt."""
    exact = {name: i for i, name in enumerate(old)}
    folded = {name.casefold(): i for i, name in enumerate(old)}
    clear = len(folded) == len(old) and len({name.casefold() for name in new}) == len(new)
    found = {i: exact.get(name, folded.get(name.casefold()) if clear else None) for i, name in enumerate(new)}
    return {i: place for i, place in found.items() if place is not None}


def label_dimensions(model: Any) -> dict[str, int]:
    """Parameters with an entry per label -> the dimension it is in.

    Seen by what grows where the same architecture is made, without memory, for one label more; a head of several
    layers has them in its last one only.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = config.num_labels + 1
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        larger = dict(type(model)(config).named_parameters())
    found = {}
    for name, parameter in model.named_parameters():
        grown = [i for i, (a, b) in enumerate(zip(parameter.shape, larger[name].shape, strict=True)) if a != b]
        if grown:
            found[name] = grown[0]
    return found


def _old_values(
    source: Source,
    auto_class: Any,
    before: PretrainedConfig,
    model: Any,
    rows: Mapping[str, int],
    fresh: Collection[str],
) -> dict[str, Tensor] | None:
    """The checkpoint's own values of the parameters `rows`; None where it has no trained head."""
    if not set(rows) & set(fresh):  # of the same shapes, so they are in the model as they were
        return {name: model.get_parameter(name).detach().clone() for name in rows}
    with torch.random.fork_rng(devices=[]):
        own, missing = load_weights(source, auto_class, before)
    if set(rows) & set(missing):
        return None
    return {name: own.get_parameter(name).detach() for name in rows}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
