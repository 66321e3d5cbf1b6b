"""What a task may have beside the contract: small protocols that runs ask for by `isinstance`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ftcli.contract import Example, Prediction, Rows

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Verdict:
    """One row's prediction beside its answer, in words."""

    right: bool
    expected: str
    said: str


@runtime_checkable
class Judging(Protocol):
    """What a task may have, for runs to be compared row by row: McNemar's test and the rows that flipped."""

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Whether each prediction is right."""


@runtime_checkable
class Resampling(Protocol):
    """What a task may have, for its metrics to be computed on many resamples at once; else each is scored anew."""

    def score_resamples(self, rows: Rows, predictions: Sequence[Prediction], counts: Any) -> dict[str, Any]:
        """Metric -> (resamples,) its values where every row is there as often as `counts` (resamples, rows) says."""


@runtime_checkable
class Augmenting(Protocol):
    """A task that can vary its training examples, their answers unchanged: whether the recipe wants it (of a model that
    knows nothing yet), and an example as it is given to the model this time."""

    def augments(self, *, from_scratch: bool) -> bool: ...
    def augment(self, example: Example, random: np.random.Generator) -> Example: ...


@runtime_checkable
class Choosing(Protocol):
    """A task that tells more than people want to see: what is scored and what is shown differ."""

    def shown(self, prediction: Prediction) -> Prediction: ...


@runtime_checkable
class Labelling(Protocol):
    """A task whose predictions, as they are shown, give a row labels out of a known set: one, some or none."""

    def all_labels(self) -> Sequence[str]:
        """The set."""

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        """Those of a prediction."""


@runtime_checkable
class Counting(Protocol):
    """A task whose rows have one label each, for what weighs or mixes classes."""

    labels: list[str]

    def label_counts(self, rows: Rows) -> list[int]:
        """(classes,) rows of each label."""


@runtime_checkable
class Remarking(Protocol):
    """A task that has something to say of a split once it is encoded, beside texts that were cut."""

    def remarks(self, split: str, examples: Sequence[Example]) -> list[str]: ...


@runtime_checkable
class Offering(Protocol):
    """A task that can be given the candidates it chooses from, for every row to come."""

    def offer(self, candidates: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Each with what else is known of it."""


@runtime_checkable
class Explaining(Protocol):
    """A task whose model is used in a way of its own."""

    def usage(self) -> str | None:
        """How, in Python without ftcli; None where the library's pipeline for the task does it."""


@runtime_checkable
class Seeing(Protocol):
    """A task of images: rows to pixels, as its model takes them."""

    @property
    def pixels(self) -> Any: ...
