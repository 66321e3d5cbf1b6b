"""Label smoothing, focal loss and weights of classes: another loss of each row."""

from __future__ import annotations

from ftcli.engine.regularizers.base import Regularizer


class Targets(Regularizer):
    """Nothing of its own: `Regularized.losses` gives `losses.regularize.regularized_cross_entropy` the settings."""

    scope = "classification"
