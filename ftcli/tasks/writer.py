"""Tasks whose answers are texts that the model writes."""

from __future__ import annotations

from ftcli.contract import Row
from ftcli.tasks.task import BaseTask


class Writer(BaseTask):
    """No token that such a model reads is hidden unless that is asked for; some answers are shown as it learns."""

    rehearsal = False
    """Set while the validation split is scored to choose the best state, and for nothing else."""

    def asked(self, row: Row) -> tuple[str, Row] | None:
        """What of a row to show an answer to: in words, and as a row to predict; None where there is nothing."""
        raise NotImplementedError
