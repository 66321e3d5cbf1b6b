"""`evaluate.Metric`, tamed: no network, no folders left behind, no silent conversions, a quick import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


def import_evaluate() -> ModuleType | None:
    """The `evaluate` library in 1 s instead of 8, or None where it is not installed.

    Importing it pulls in all of `transformers.pipelines` for its Evaluator classes, which nothing here uses. It
    copes with transformers missing, so transformers is made to look missing for that moment.
    """
    if "evaluate" in sys.modules or "transformers.pipelines" in sys.modules:
        return _import_if_installed("evaluate")
    if _import_if_installed("datasets") is None:  # first, so that it sees the world as it is
        return None
    hidden = sys.modules.get("transformers")
    sys.modules["transformers"] = None  # type: ignore[assignment]
    try:
        return _import_if_installed("evaluate")
    finally:
        if hidden is None:
            sys.modules.pop("transformers", None)
        else:
            sys.modules["transformers"] = hidden


def _import_if_installed(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def as_labels(values: Any, what: str) -> Labels:
    """`values` as label ids; None, floats, strings and nested lists are refused, where evaluate truncates them."""
    array = np.asarray(values)
    if array.ndim == 1 and array.size == 0:
        raise ValueError(f"nothing to score: {what} is empty")
    if array.ndim == 1 and array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.ndim != 1:
        raise ValueError(f"{what} must be one label id per row, not an array of shape {array.shape}")
    for place, value in enumerate(values):
        if not isinstance(value, (int, np.integer)):
            raise ValueError(f"{what}[{place}] is {value!r} ({type(value).__name__}); label ids are whole numbers")
    raise ValueError(f"{what} holds numbers too large for a label id")


def as_numbers(values: Any, what: str) -> npt.NDArray[np.float64]:
    """`values` as finite numbers, one a row."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be numbers") from None
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{what} must be one finite number per row")
    if not array.size:
        raise ValueError(f"nothing to score: {what} is empty")
    return array


class _Plain:
    """What is needed of `evaluate.Metric` where evaluate is not installed (some GPU machines): `compute` alone."""

    def compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        scores: dict[str, float] = self._compute(predictions=predictions, references=references, **options)  # type: ignore[attr-defined]
        return scores


_EVALUATE = import_evaluate()
_Parent: Any = _EVALUATE.Metric if _EVALUATE is not None else _Plain


class PairMetric(_Parent):  # type: ignore[misc]
    """A metric over one answer per row, predicted and true. Subclasses give `_compute`, `feature` and `convert`; their
    docstring is the description.

    Score everything in one `compute(predictions=..., references=...)`: a batch costs half a millisecond.
    """

    def feature(self, datasets: Any) -> Any:
        """What the datasets library is to keep of a row."""
        raise NotImplementedError

    def convert(self, values: Any, what: str) -> Any:
        """`values` as the metric takes them; a ValueError that names `what` where they are of another kind."""
        raise NotImplementedError

    def __init__(self, **options: Any) -> None:
        if _EVALUATE is None:
            return
        # evaluate makes a folder for its cache even where it keeps all in memory; nothing reads it after this.
        with TemporaryDirectory(prefix="ftcli-metric-") as folder:
            super().__init__(**{"seed": 0, **options, "keep_in_memory": True, "cache_dir": folder})

    def _info(self) -> Any:
        datasets, evaluate = import_module("datasets"), import_module("evaluate")
        row = self.feature(datasets)
        features = datasets.Features({"predictions": row, "references": row})
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description="",
            features=features,
            format="numpy" if getattr(row, "dtype", None) == "int64" else None,  # of floats that makes float32
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, float]:
        """Scores by name over the rows given here, or over those added before."""
        if predictions is not None or references is not None:
            predictions, references = self._pair(predictions, references)
        elif len(self) == 0:
            raise ValueError("nothing to score: no predictions and references were given")
        scores: dict[str, float] = super().compute(predictions=predictions, references=references, **options)
        return scores

    def add_batch(self, *, predictions: Any = None, references: Any = None, **options: Any) -> None:
        """Put rows aside for a later `compute`."""
        predictions, references = self._pair(predictions, references)
        super().add_batch(predictions=predictions, references=references, **options)

    def add(self, *, prediction: Any = None, reference: Any = None, **options: Any) -> None:
        """Put one row aside for a later `compute`."""
        self.add_batch(predictions=[prediction], references=[reference], **options)

    def __len__(self) -> int:
        return int(super().__len__()) if _EVALUATE is not None else 0

    def _pair(self, predictions: Any, references: Any) -> tuple[Any, Any]:
        for values, what in ((predictions, "predictions"), (references, "references")):
            if values is None:
                raise ValueError(f"{what} are missing")
        predicted, true = self.convert(predictions, "predictions"), self.convert(references, "references")
        if len(predicted) != len(true):
            raise ValueError(f"{len(predicted)} predictions for {len(true)} references")
        return predicted, true


class LabelMetric(PairMetric):
    """A metric over one label id per row, with `labels` as an option of `compute`."""

    def feature(self, datasets: Any) -> Any:
        return datasets.Value("int64")

    def convert(self, values: Any, what: str) -> Labels:
        return as_labels(values, what)


class NumberMetric(PairMetric):
    """A metric over one number per row."""

    def feature(self, datasets: Any) -> Any:
        return datasets.Value("float64")

    def convert(self, values: Any, what: str) -> npt.NDArray[np.float64]:
        return as_numbers(values, what)


class TagMetric(PairMetric):
    """A metric over one list of tags per row."""

    def feature(self, datasets: Any) -> Any:
        return datasets.List(datasets.Value("string"))

    def convert(self, values: Any, what: str) -> list[list[str]]:
        rows = [list(row) for row in values]
        for place, row in enumerate(rows):
            if not all(isinstance(tag, str) for tag in row):
                raise ValueError(f"{what}[{place}] holds what is no tag: {row!r:.80}")
        if not rows:
            raise ValueError(f"nothing to score: {what} is empty")
        return rows


class TextMetric(PairMetric):
    """A metric over one text per row."""

    def feature(self, datasets: Any) -> Any:
        return datasets.Value("string")

    def convert(self, values: Any, what: str) -> list[str]:
        rows = list(values)
        for place, row in enumerate(rows):
            if not isinstance(row, str):
                raise ValueError(f"{what}[{place}] is {row!r:.80} ({type(row).__name__}), no text")
        if not rows:
            raise ValueError(f"nothing to score: {what} is empty")
        return rows


class SetMetric(PairMetric):
    """A metric over one row of 0 and 1 (or of shares between them) per row of data, a column for each label."""

    def feature(self, datasets: Any) -> Any:
        return datasets.List(datasets.Value("float64"))

    def convert(self, values: Any, what: str) -> npt.NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{what} must be a row of numbers for each row, not of shape {array.shape}")
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"{what} must be from 0 to 1")
        return array


def as_label_set(labels: Sequence[int] | None) -> list[int] | None:
    """`labels` in the form scikit-learn takes (None: those that occur)."""
    return None if labels is None else [int(label) for label in labels]
