"""What a task may have beside the contract: small protocols that runs ask for by `isinstance`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from ftcli.contract import Prediction


@runtime_checkable
class Labelling(Protocol):
    """A task whose predictions, as they are shown, give a row labels out of a known set: one, some or none."""

    def all_labels(self) -> Sequence[str]:
        """The set."""

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        """Those of a prediction."""
