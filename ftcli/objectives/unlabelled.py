"""What every objective leaves undone: there are no labels to learn, to check or to name."""

from __future__ import annotations

from torch import nn

from ftcli.contract_defaults import Undone


class Unlabelled(Undone):
    """An objective's data is its own answer; what it is pretrained on is never guessed."""

    main_metric = "loss"

    def deployed(self, model: nn.Module) -> nn.Module:
        """What of the trained model is saved for use: all of it."""
        return model
