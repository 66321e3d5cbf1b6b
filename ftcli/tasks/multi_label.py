"""Any number of labels per text: topics, findings, kinds of abuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Problem, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.texts import TEXT
from ftcli.distillable import SoftForm
from ftcli.errors import DataError
from ftcli.losses.supervised import binary_cross_entropy
from ftcli.models.load import Source
from ftcli.recipe.schema import Recipe
from ftcli.tasks.soft import SoftOutputs
from ftcli.tasks.tables import class_columns, label_lists, named_pair, one_text, told_apart
from ftcli.tasks.task import BaseTask, saved_facts, with_head
from ftcli.tasks.text_inputs import TextInputs

LABELS = Column(
    "labels",
    "labels",
    ("labels", "tags", "topics", "genres", "categories", "codes", "emotions", "intents", "classes", "label", "findings",
     "targets", "genre", "keywords"),
    required=False,
    answer=True,
)  # fmt: skip
HALF = 0.5


class MultiLabel(TextInputs, SoftOutputs, BaseTask):
    """A sigmoid and binary cross-entropy per label; each has the threshold that serves its F1 best."""

    name = "multi-label"
    columns: tuple[Column, ...] = (TEXT, LABELS)
    main_metric = "average_precision"
    settles = True
    soft_form = SoftForm("sigmoid")

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.take(tokenizer, max_length)
        self.labels: list[str] = []
        self.thresholds: list[float] = []
        self._ids: dict[str, int] = {}
        self._names: Sequence[str] | None = None

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of text and one of lists of labels, or several of nothing but 0 and 1."""
        text = one_text(table)
        if named_pair(table) or told_apart(table) or (text is None and not table.looking("text")):
            return None
        field, by_name = text or (table.looking("text")[0], False)
        lists = [name for name in label_lists(table) if name != field]
        named = [name for name in table.named(LABELS.names) if name in lists]
        if named:
            plain = class_columns(table, ("label", "class", "category"))
            return Claim(3 if by_name and not (plain[1] and named[0] not in plain[0]) else 2,
                         f"'{named[0]}' holds several labels a row")  # fmt: skip
        if lists:
            return Claim(2, f"'{lists[0]}' holds several labels a row")
        flags = [name for name in table.looking("flag") if name != field]
        if len(flags) < 2:
            return None
        said = f"{', '.join(repr(name) for name in flags[:3])}{', ...' if len(flags) > 3 else ''} are 0 or 1"
        return Claim(3 if by_name and len(flags) > 2 else 2, said)

    # Labels ---------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The label set of the training split: the source's own names in their order, else the values sorted."""
        values = {value for row in rows.column("labels") for value in row}
        whole = bool(values) and all(isinstance(value, int) for value in values)
        if whole and names is not None:
            beyond = sorted(v for v in values if not 0 <= v < len(names))
            if beyond:
                raise DataError(
                    f"labels {beyond[:10]} have no name; {len(names)} names are given",
                    hint="--set data.label_names=... with one name for each of 0, 1, ...",
                )
            self._set_labels(list(names))
            self._names = list(names)
        else:
            self._set_labels([str(v) for v in sorted(values)] if whole else sorted(map(str, values)))
        if not values:
            raise DataError("no row of the training split has a label", hint="is --label-column right?")
        self.thresholds = [HALF] * len(self.labels)

    def adopt(self, config: Any) -> None:
        """Take the labels of a saved model, and their thresholds."""
        by_id = {int(i): str(n) for i, n in (config.id2label or {}).items()}
        self._set_labels([by_id[i] for i in sorted(by_id)])
        saved = saved_facts(config).get("thresholds") or {}
        self.thresholds = [float(saved.get(name, HALF)) for name in self.labels]

    def align(self, names: Sequence[str] | None) -> str | None:
        """Read whole-number labels of other data by `names`."""
        self._names = names
        return None

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows with a label that the training split does not have."""
        found = []
        for i, row in enumerate(rows.column("labels")):
            unknown = [value for value in row if self._id(value) is None]
            if unknown:
                what = f"label '{unknown[0]}' is none of the {len(self.labels)} known ones"
                found.append(Problem(rows.place(i), f"{what}: {', '.join(self.labels[:10])}"))
        return found

    def _set_labels(self, names: list[str]) -> None:
        self.labels = names
        self._ids = {name: i for i, name in enumerate(names)}

    def _id(self, value: Any) -> int | None:
        if isinstance(value, int) and self._names is not None:
            value = self._names[value] if 0 <= value < len(self._names) else value
        return self._ids.get(str(value))

    def _flags(self, values: Sequence[Any]) -> np.ndarray:
        """(labels,) 1 for each of `values`."""
        flags = np.zeros(len(self.labels), dtype=np.int8)
        flags[[i for i in map(self._id, values) if i is not None]] = 1
        return flags

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with an output for each label, and the parameters that start fresh."""
        problem = "multi_label_classification"
        model, fresh, self.head_note = with_head(source, self.auto_class, self.labels, problem, {"task": self.name})
        self.prepare(model)
        return model, fresh

    def settle(self, model: nn.Module, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        """The thresholds that serve each label's F1 on the validation split best, saved with the model."""
        if self.recipe.multi_label.thresholds == "tuned":
            from ftcli.metrics.multi_label import best_thresholds

            self.thresholds = best_thresholds(*self._scored(rows, predictions))
        by_label = dict(zip(self.labels, self.thresholds, strict=True))
        model.config.ftcli = {"task": self.name, "thresholds": by_label}  # type: ignore[union-attr]
        if self.recipe.multi_label.thresholds != "tuned":
            return None
        return f"thresholds from {min(self.thresholds):.2f} to {max(self.thresholds):.2f}, tuned on validation"

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.inputs(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("labels") is not None:
                example["flags"] = self._flags(row["labels"])
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_inputs = self.inputs_from()
        names = None if self._names is None else list(self._names)
        return None if of_inputs is None else {**of_inputs, "labels": self.labels, "names": names}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.batch(examples)
        if "flags" in examples[0]:
            batch["labels"] = torch.from_numpy(np.stack([e["flags"] for e in examples]).astype(np.float32))
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": batch["labels"].numel()}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": binary_cross_entropy(outputs, batch["labels"])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        found: list[Prediction] = []
        for scores in torch.sigmoid(outputs.to(torch.float32)).cpu().tolist():
            given = [n for n, s, t in zip(self.labels, scores, self.thresholds, strict=True) if s >= t]
            found.append({"prediction": given, "scores": dict(zip(self.labels, scores, strict=True))})
        return found

    def all_labels(self) -> Sequence[str]:
        return self.labels

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        return tuple(prediction["prediction"])

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """The report of `predictions` at this task's thresholds."""
        from ftcli.metrics.multi_label import multi_label

        scores, true = self._scored(rows, predictions)
        found = multi_label(scores, true, self.labels, self.thresholds, bootstrap=bootstrap, seed=seed)
        return Evaluation(**found, details={"thresholds": dict(zip(self.labels, self.thresholds, strict=True))})

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is a row all of whose labels are, and no others."""
        found = []
        for values, prediction in zip(rows.column("labels"), predictions, strict=True):
            true = [self.labels[i] for i in np.flatnonzero(self._flags(values))]
            said = [name for name in self.labels if name in prediction["prediction"]]
            found.append(Verdict(true == said, ", ".join(true) or "none", ", ".join(said) or "none"))
        return found

    def _scored(self, rows: Rows, predictions: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
        """(rows, labels) each: probabilities, and the true labels as 0 and 1."""
        scores = np.array([[p["scores"][name] for name in self.labels] for p in predictions])
        return scores, np.stack([self._flags(values) for values in rows.column("labels")])

    def metric_names(self) -> list[str]:
        from ftcli.metrics.multi_label import multi_label

        none = np.zeros((1, len(self.labels)))
        return ["loss", *multi_label(none, none, self.labels, self.thresholds, bootstrap=0, seed=0)["metrics"]]
