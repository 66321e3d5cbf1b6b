"""One label per row, whatever the row holds: the label set, the model with a head for it, loss, answers, report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Column, Evaluation, Outputs, Prediction, Problem, Rows
from ftcli.contract_options import Verdict
from ftcli.errors import DataError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.load import Source
from ftcli.models.transfer import label_names
from ftcli.recipe.schema import Recipe
from ftcli.tasks.soft import SoftOutputs
from ftcli.tasks.task import BaseTask, with_head

LABEL = Column(
    "label",
    "label",
    ("label", "labels", "sentiment", "class", "category", "target", "intent", "polarity", "topic", "label_text",
     "coarse_label", "rating", "stars", "score", "y", "output"),
    required=False,
    answer=True,
)  # fmt: skip


class Classification(SoftOutputs, BaseTask):
    """Softmax and cross-entropy over a fitted label set; the head is the architecture's own.

    Subclasses give `name`, `columns`, `main_metric`, `auto_class`, and the way from rows to the model's inputs.
    """

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.labels: list[str] = []
        self._ids: dict[str, int] = {}
        self._positions: dict[int, int] | None = None

    # Labels ---------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The label set of the training split: the source's own names in their order, else the values sorted."""
        values = set(rows.column("label"))
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        if names is not None:
            beyond = sorted(v for v in values if whole and not 0 <= v < len(names))
            if beyond:
                raise DataError(
                    f"labels {beyond} have no name; {len(names)} names are given: {', '.join(names)}",
                    hint="--set data.label_names=... with one name for each of 0, 1, ...",
                )
            self._set_labels(list(names))
        elif whole:
            self._set_labels([str(v) for v in sorted(values)])
        else:
            self._set_labels(sorted({_name(v) for v in values}))
        if len({self._id(v) for v in values}) < 2:
            raise DataError(
                f"the training split has one class only: '{_name(next(iter(values)))}'",
                hint="a classifier needs rows of at least two labels; is --label-column right?",
            )

    def adopt(self, config: Any) -> None:
        """Take the labels of a saved model."""
        self._set_labels(label_names(config))

    def align(self, names: Sequence[str] | None) -> str | None:
        """Read whole-number labels of other data by `names`, its own names for 0, 1, ...; a note where they differ."""
        if names is None or list(names) == self.labels:
            return None
        own = {name.casefold(): i for i, name in enumerate(self.labels)}
        if all(name.casefold() in own for name in names):
            self._positions = {i: own[name.casefold()] for i, name in enumerate(names)}
            return None
        if len(names) != len(self.labels):
            raise DataError(
                f"the data's labels ({', '.join(names[:10])}) are not the model's ({', '.join(self.labels[:10])})",
                hint="--set data.label_names=... names the data's 0, 1, ... in the model's words",
            )
        return (
            f"the data's labels ({', '.join(names[:10])}) are taken in their order for the model's "
            f"({', '.join(self.labels[:10])}); --set data.label_names=... says otherwise"
        )

    def label_counts(self, rows: Rows) -> list[int]:
        """(classes,) rows of each label."""
        found = [0] * len(self.labels)
        for value in rows.column("label"):
            known = self._id(value)
            assert known is not None
            found[known] += 1
        return found

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows whose label the training split does not have."""
        known = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        return [
            Problem(rows.place(i), f"label '{_name(value)}' is none of the {len(self.labels)} known ones: {known}")
            for i, value in enumerate(rows.column("label"))
            if self._id(value) is None
        ]

    def _set_labels(self, names: list[str]) -> None:
        if len(set(names)) < len(names):
            raise DataError(
                f"two labels have the same name: {', '.join(sorted(n for n in names if names.count(n) > 1))}"
            )
        self.labels = names
        self._ids = {name: i for i, name in enumerate(names)}

    def _id(self, value: Any) -> int | None:
        """A label's id: by name, or, for whole numbers that are no names, by position (0, 1, ...)."""
        if self._positions is not None and isinstance(value, int) and not isinstance(value, bool):
            return self._positions.get(value)
        found = self._ids.get(_name(value))
        # Names such as "2" mean the number itself, not the third label.
        numbered = any(name.lstrip("-").isdigit() for name in self.labels)
        if found is None and not numbered and isinstance(value, int) and not isinstance(value, bool):
            return value if 0 <= value < len(self.labels) else None
        return found

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head for this label set, and the parameters that start fresh."""
        problem, facts = "single_label_classification", {"task": self.name}
        model, fresh, self.head_note = with_head(source, self.auto_class, self.labels, problem, facts)
        self.prepare(model)
        return model, fresh

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(outputs, batch["labels"])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        rows = torch.softmax(outputs.to(torch.float32), dim=-1).cpu().tolist()
        found: list[Prediction] = []
        for scores in rows:
            best = max(range(len(scores)), key=scores.__getitem__)
            found.append(
                {
                    "prediction": self.labels[best],
                    "score": scores[best],
                    "scores": dict(zip(self.labels, scores, strict=True)),
                }
            )
        return found

    def all_labels(self) -> Sequence[str]:
        return self.labels

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        return (prediction["prediction"],)

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """The classification report of `predictions`; `check_rows` comes first."""
        from ftcli.metrics.report import classification  # scikit-learn loads only where something is scored

        known, answers = self._answers(rows, predictions)
        return Evaluation(**classification(known, answers, self.labels, bootstrap=bootstrap, seed=seed))

    def _answers(self, rows: Rows, predictions: Sequence[Prediction]) -> tuple[list[int], list[int]]:
        """Label ids of the rows and of the predictions."""
        references = [self._id(value) for value in rows.column("label")]
        known = [i for i in references if i is not None]
        assert len(known) == len(predictions), "every row has a known label and a prediction"
        return known, [self._ids[p["prediction"]] for p in predictions]

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is the row's own label."""
        pairs = zip(*self._answers(rows, predictions), strict=True)
        return [Verdict(true == said, self.labels[true], self.labels[said]) for true, said in pairs]

    def score_resamples(self, rows: Rows, predictions: Sequence[Prediction], counts: Any) -> dict[str, Any]:
        """The averages of the report, and the loss."""
        from ftcli.metrics.bootstrap import on_resamples

        true, said = (np.array(ids, dtype=np.int64) for ids in self._answers(rows, predictions))
        found = dict(on_resamples(true, said, len(self.labels), counts))
        chances = np.array([p["scores"][self.labels[i]] for i, p in zip(true, predictions, strict=True)])
        if chances.min() > 0:
            found["loss"] = counts @ -np.log(chances) / counts.sum(axis=1)
        return found

    def metric_names(self) -> list[str]:
        from ftcli.metrics.report import classification

        return ["loss", *classification([0], [0], self.labels, bootstrap=0, seed=0)["metrics"]]


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
