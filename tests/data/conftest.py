"""Reading data as a task does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftcli.contract import Data
from ftcli.data.load import load
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.text_classification import LABEL, TEXT

Loader = Callable[..., Data]


@pytest.fixture
def read() -> Loader:
    """`read(path, splits, key=value, ...)`: the data set, for text classification."""

    def load_it(path: Path | str, splits: Sequence[str] = ("train",), seed: int = 7, **keys: Any) -> Data:
        return load(DataRecipe(name=str(path), **keys), (TEXT, LABEL), seed=seed, splits=splits)

    return load_it
