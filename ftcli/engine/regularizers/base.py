"""What every regulariser answers; the base itself does nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Outputs
from ftcli.engine.layer_decay import depths
from ftcli.engine.regularizers.embeddings import Edit
from ftcli.recipe.regularize import RegularizeRecipe

if TYPE_CHECKING:
    from ftcli.engine.regularized import Pass

Sums = dict[str, Tensor]
"""Loss sums by term, as `Learner.losses` gives them."""


@dataclass(frozen=True)
class Ground:
    """The model that a regulariser works on, adapted by its method and on its device."""

    model: nn.Module
    pretrained: frozenset[str]
    """Names of parameters that came with the model, as they were before the method."""
    adapts: str
    """What is adapted how, for messages: "method lora"."""

    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters that are trained, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def held(self) -> dict[str, nn.Parameter]:
        """Those of the trained ones that came with the model."""
        return {name: p for name, p in self.trained().items() if is_among(name, self.pretrained)}

    def layers(self, asked: str) -> tuple[dict[int, int], int]:
        """`depths` of the parameters, where what a method puts before the first layer belongs to the task."""
        found, top = depths(self.model, asked)
        for name, parameter in self.model.named_parameters():
            if found[id(parameter)] == 0 and not is_among(name, self.pretrained):
                found[id(parameter)] = top
        return found, top


def is_among(name: str, names: Collection[str]) -> bool:
    """Whether a parameter is one of `names`, which it had before a method wrapped the model or a part of it."""
    inner = re.sub(r"\.(base_layer|original_module|modules_to_save\.[^.]+)(?=\.)", "", name)
    return any(inner.removeprefix(prefix) in names for prefix in ("", "base_model.", "base_model.model."))


class Regularizer:
    """One key of `regularize` at work. It is a hook of the loop; what else it may answer is below."""

    scope: Literal["classification", "task", "any"] = "any"
    """What it can be trained with: one label per row, any task with labels, objectives of pretraining as well."""
    inputs: Literal["any", "images"] = "any"
    apart_from: tuple[str, ...] = ()
    """Keys it does not go with."""
    methods_refused: tuple[str, ...] = ()
    """Methods it does not go with."""
    from_pretrained = False
    """True where it means nothing without pretrained weights."""
    compiles = True
    """False where the forward pass is other code at each step."""
    passes_per_batch = 1
    """Passes under different dropout whose outputs are looked at together."""

    def __init__(self, recipe: RegularizeRecipe) -> None:
        self.recipe = recipe

    def embeds(self, *, images: bool) -> bool:
        """True where it reaches between the embeddings and the first layer."""
        return False

    # Once -------------------------------------------------------------------------------------------------------

    def start_over(self, model: nn.Module) -> list[str]:
        """Names of parameters it has initialised anew, before the method adapts the model."""
        return []

    def attach(self, ground: Ground) -> None:
        """The model is as it will be trained, pretrained weights and all. UsageError where it has no use there."""

    def begin(self, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Training of `total` steps is about to begin, or to go on."""

    # Each batch -------------------------------------------------------------------------------------------------

    def mix(self, batch: Batch, classes: int) -> Batch:
        """The batch to train on in the place of `batch`; its ``targets``, (rows, classes), if not `one_hot`."""
        return batch

    def edit(self, batch: Batch) -> Edit | None:
        """What becomes of embedded tokens in each pass of a batch."""
        return None

    def outputs(self, outputs: Outputs, batch: Batch) -> Outputs:
        """Logits to train on in the place of `outputs`."""
        return outputs

    def counts(self, rows: int) -> dict[str, int]:
        """Of each term of `terms` and of `passes`, what it is a sum over."""
        return {}

    def terms(self, outputs: list[Outputs]) -> Sums:
        """Terms of the loss from the logits of the `passes_per_batch`."""
        return {}

    def passes(self, one: Pass) -> Iterator[Sums]:
        """Loss sums, one set after the other; whoever takes them goes backward before asking for the next."""
        yield one.losses()

    # Each step --------------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """See `engine.hooks.Hook`."""

    def penalty(self) -> Tensor | None:
        """See `engine.hooks.Hook`."""
        return None

    def after_step(self, step: int) -> None:
        """See `engine.hooks.Hook`."""

    # Now and then -----------------------------------------------------------------------------------------------

    @contextmanager
    def scored(self) -> Iterator[None]:
        """Inside, the model has the weights that are validated and kept."""
        yield

    def tensors(self) -> Mapping[str, Tensor]:
        """What a checkpoint has to keep of it."""
        return {}

    def bytes_kept(self) -> int:
        """Bytes of `tensors` at most."""
        return 0

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""


def one_hot(batch: Batch, classes: int) -> Tensor:
    """(rows, classes) fp32: the targets of a batch, mixed ones where it has them."""
    mixed = batch.get("targets")
    if mixed is not None:
        assert isinstance(mixed, Tensor)
        return mixed
    return nn.functional.one_hot(batch["labels"], classes).to(torch.float32)
