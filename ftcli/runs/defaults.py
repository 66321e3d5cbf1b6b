"""What is chosen by the size of a model where a recipe leaves it open."""

from __future__ import annotations

EPOCHS_PRETRAINING = 1.0
_EPOCHS_PRETRAINED = ((10e6, 10.0),)
_EPOCHS_FROM_SCRATCH = 15.0
TOKEN_DROPOUT_FROM_SCRATCH = 0.2
_LR_PRETRAINED = ((10e6, 2e-4), (50e6, 5e-5), (200e6, 2e-5))
_LR_FROM_SCRATCH = ((10e6, 5e-4), (50e6, 3e-4), (200e6, 1e-4))


def default_epochs(parameters: int, *, from_scratch: bool) -> float:
    """Passes over the training split by size: large pretrained models need few, small ones know less to begin with."""
    if from_scratch:
        return _EPOCHS_FROM_SCRATCH
    return next((epochs for size, epochs in _EPOCHS_PRETRAINED if parameters < size), 3.0)


def default_lr(parameters: int, *, from_scratch: bool) -> float:
    """A peak learning rate by size: smaller models take larger steps, and so do fresh ones."""
    table = _LR_FROM_SCRATCH if from_scratch else _LR_PRETRAINED
    return next((lr for size, lr in table if parameters < size), 1e-5 if not from_scratch else 5e-5)
