"""Two passes of each batch under different dropout are to agree."""

from __future__ import annotations

from ftcli.contract import Outputs
from ftcli.engine.regularizers.base import Regularizer, Sums
from ftcli.losses.regularize import symmetric_kl


class RDrop(Regularizer):
    """R-Drop (Wu et al. 2021, arXiv:2106.14448)."""

    scope = "classification"
    passes_per_batch = 2

    def counts(self, rows: int) -> dict[str, int]:
        return {"r_drop": rows}

    def terms(self, outputs: list[Outputs]) -> Sums:
        """The disagreement, weighted."""
        return {"r_drop": self.recipe.r_drop * symmetric_kl(*outputs)}
