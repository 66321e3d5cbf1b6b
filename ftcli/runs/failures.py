"""What can go wrong below a run, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ftcli.errors import OutOfMemoryError, system_error
from ftcli.recipe.schema import TrainRecipe
from ftcli.runs.folder import cannot_write


@contextmanager
def translated(recipe: TrainRecipe, place: Path) -> Iterator[None]:
    """Turns a device out of memory and a `place` that cannot be written into errors a user can act on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"out of memory on {recipe.device} with {recipe.batch_size} rows a batch",
            hint=f"--batch-size {max(1, recipe.batch_size // 2)} --set train.gradient_accumulation="
            f"{2 * recipe.gradient_accumulation} gives the same result in less memory",
        ) from error
    except Exception as error:
        failure = system_error(error)
        if failure is None:
            raise
        raise cannot_write(place, failure) from error
