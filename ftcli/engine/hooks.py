"""What takes part in each optimiser step beside the loop itself: methods of adaptation, regularisers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Hook(Protocol):
    """Called by the loop at every step that is not passed over; `step` counts from 0. After a checkpoint was loaded
    it may be any step: what a hook has to remember lies in the model or follows from the step."""

    def before_step(self, step: int) -> None:
        """Nothing of the step is computed yet."""

    def penalty(self) -> Tensor | None:
        """A scalar to be added to the step's loss, once however many passes the step has; None for nothing."""

    def after_step(self, step: int) -> None:
        """The weights are updated; the gradients of the update are still there."""
