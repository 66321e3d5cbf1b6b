"""What a task may have, for a student to learn it from another model: its answers before anything is decided.

Soft answers are (targets, choices), the targets of all rows end to end: one for a row that has one label, one for each
word that has a tag. Choices that a target does not have are -inf. A task with one target and one text a row says what
they are (`Distillable`); the rest is for those with more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SoftForm:
    """What the numbers of soft answers are."""

    kind: Literal["softmax", "sigmoid", "number"]
    """Logits of choices of which one is right; logits of choices each of which may be; numbers as they are told."""
    unit: float = 1.0
    """Of numbers: what differences are measured in, as the task's own loss does."""
    ragged: bool = False
    """True where targets may have different numbers of choices, or none."""
    of_tokens: bool = False
    """True where choices or targets are tokens: the teacher has to cut texts as the student does."""


@runtime_checkable
class Distillable(Protocol):
    """A task that can be learnt from a teacher's answers."""

    @property
    def soft_form(self) -> SoftForm | None:
        """What the numbers are; None where they cannot be learnt as the recipe has the task."""

    def soft(self, outputs: Any, batch: dict[str, Any]) -> Tensor:
        """Soft answers of a forward pass, with gradients where that has them."""


@runtime_checkable
class SeveralTargets(Protocol):
    """A task whose rows have other numbers of targets than one."""

    def targets_per_row(self, batch: dict[str, Any]) -> list[int]:
        """How many are each row's, known before the forward pass."""


@runtime_checkable
class SeveralTexts(Protocol):
    """A task whose rows may go through the model in several pieces: windows, choices, candidates."""

    def texts_per_row(self, batch: dict[str, Any]) -> list[int]:
        """How many are each row's."""


@runtime_checkable
class Reversible(Protocol):
    """A task whose outputs can be had back from soft answers: those of several teachers mixed, those read from disk,
    those of some rows of a batch."""

    def outputs_of(self, soft: Tensor, batch: dict[str, Any]) -> Any:
        """What `forward` would have given, for `losses` and `decode`."""


@runtime_checkable
class Telling(Protocol):
    """A task whose forward pass does more than its soft answers need (it writes whole texts)."""

    def tell(self, model: Any, batch: dict[str, Any]) -> Any:
        """Outputs that `soft` and `losses` take, and no more work than these need."""


def targets_of(task: Any, batch: dict[str, Any], rows: int) -> list[int]:
    """Targets of each of `rows` rows."""
    return task.targets_per_row(batch) if isinstance(task, SeveralTargets) else [1] * rows


def texts_of(task: Any, batch: dict[str, Any], rows: int) -> list[int]:
    """Texts (or images, or sounds) of each of `rows` rows."""
    return task.texts_per_row(batch) if isinstance(task, SeveralTexts) else [1] * rows


def told(task: Any, model: Any, batch: dict[str, Any]) -> Any:
    """The forward pass that soft answers are of."""
    return task.tell(model, batch) if isinstance(task, Telling) else task.forward(model, batch)
