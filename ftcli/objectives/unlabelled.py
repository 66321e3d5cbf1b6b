"""What every objective leaves undone: there are no labels to learn, to check or to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ftcli.contract import Claim, Prediction, Problem, Row, Rows, Table


class Unlabelled:
    """The part of the contract of tasks that an objective has no use for: the data is its own answer."""

    main_metric = "loss"
    first_only = False
    gathers: str | None = None
    settles = False
    long_hint = ""
    notes: Sequence[str] = ()

    @staticmethod
    def row_fault(row: Row) -> str | None:
        return None

    @staticmethod
    def gather(rows: Sequence[Row]) -> Row:
        """The one of each."""
        return rows[0]

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """None: what is pretrained on is never guessed."""
        return None

    def settle(self, model: nn.Module, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        return None

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Nothing to learn."""

    def adopt(self, config: Any) -> None:
        """Nothing to take over from a trained model."""

    def align(self, names: Sequence[str] | None) -> str | None:
        return None

    def check_rows(self, rows: Rows) -> list[Problem]:
        return []

    def deployed(self, model: nn.Module) -> nn.Module:
        """What of the trained model is saved for use: all of it."""
        return model
