"""What a task or an objective leaves undone unless it says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftcli.contract import Claim, Prediction, Problem, Row, Rows, Table


class Undone:
    """The parts of `contract.Task` that many have no use for."""

    first_only = False
    rows_meet = False
    gathers: str | None = None
    settles = False
    long_hint = ""
    notes: Sequence[str] = ()
    head_note: str | None = None

    @staticmethod
    def row_fault(row: Row) -> str | None:
        return None

    @staticmethod
    def gather(rows: Sequence[Row]) -> Row:
        """The one of each."""
        return rows[0]

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        return None

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Nothing to learn of the training split."""

    def adopt(self, config: Any) -> None:
        """Nothing to take over from a saved model."""

    def align(self, names: Sequence[str] | None) -> str | None:
        return None

    def check_rows(self, rows: Rows) -> list[Problem]:
        return []

    def settle(self, model: Any, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        return None
