"""TensorBoard event files under ``RUN/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError

_NOT_CURVES = {"step", "epoch"}


class TensorBoard:
    """Each number of a record becomes a point of the curve ``split/name`` at the record's step."""

    def __init__(self, folder: Path) -> None:
        try:
            writer = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise UsageError(
                "the tracker 'tensorboard' needs a package that is not installed", hint="pip install tensorboard"
            ) from None
        self._writer: Any = writer(log_dir=str(Path(folder) / "tensorboard"))

    def log(self, record: Mapping[str, Any]) -> None:
        """Add the record's numbers to their curves."""
        split, step = record.get("split", "train"), int(record.get("step", 0))
        for name, value in record.items():
            if name not in _NOT_CURVES and isinstance(value, (int, float)) and not isinstance(value, bool):
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def flush(self) -> None:
        """Write what is held back."""
        self._writer.flush()

    def truncate_after(self, step: int) -> None:
        """A resumed run starts over at `step`: TensorBoard hides the older points beyond it."""
        self._writer.close()
        folder = self._writer.log_dir
        self._writer = type(self._writer)(log_dir=folder, purge_step=step + 1)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()
