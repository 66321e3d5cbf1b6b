"""One of several answers to a question: exams, how a story goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMultipleChoice

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Problem, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.choices import BEFORE, BEGIN, CHOICES, LABEL, QUESTION, choices_of, place_of
from ftcli.distillable import SoftForm
from ftcli.errors import DataError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.load import Source
from ftcli.recipe.schema import Recipe
from ftcli.tasks.listed import in_rows, joined, parted, refuse_windows
from ftcli.tasks.soft import SoftOutputs
from ftcli.tasks.tables import choosing
from ftcli.tasks.task import BaseTask, saved_facts, with_head
from ftcli.tasks.text_inputs import TextInputs


class MultipleChoice(TextInputs, SoftOutputs, BaseTask):
    """The architecture's own head, one number for each choice read together with the question; a softmax over those of
    a row, which may be of any number."""

    name = "multiple-choice"
    columns: tuple[Column, ...] = (QUESTION, BEFORE, BEGIN, CHOICES, LABEL)
    main_metric = "accuracy"
    auto_class = AutoModelForMultipleChoice
    soft_form = SoftForm("softmax", ragged=True)
    long_hint = ""

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.take(tokenizer, max_length)
        self.first = 0
        """What the data calls the first choice, where it numbers them."""

    @staticmethod
    def row_fault(row: Row) -> str | None:
        try:
            texts, names = choices_of(row["choices"])
        except ValueError as error:
            return f"choices {error}"
        label = row.get("label")
        if label is None or label == "" or any(place_of(label, texts, names, first) is not None for first in (0, 1)):
            return None
        return f"label '{str(label)[:40]}' is none of the {len(texts)} choices"

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A question, its choices, and a class that says which one is right."""
        choices, labels = choosing(table), table.named(LABEL.names)
        if choices is None or not labels or not table.named(QUESTION.names):
            return None
        listed = f"'{choices[0]}' holds" if len(choices) == 1 else f"'{choices[0]}' to '{choices[-1]}' are"
        return Claim(3, f"{listed} choices, of which '{labels[0]}' names one")

    # Answers --------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Whether the data numbers its choices from 0 or from 1."""
        refuse_windows(self.recipe)
        faults = [self._unknown(rows, first) for first in (0, 1)]
        if faults[0] and faults[1]:
            place = faults[0][0]
            raise DataError(f"{place.place}: {place.what}", hint="labels count from 0, or from 1 in all rows")
        self.first = 1 if faults[0] else 0
        if self.first:
            self.notes = ["choices are numbered from 1"]

    def _unknown(self, rows: Rows, first: int) -> list[Problem]:
        found = []
        for i, row in enumerate(rows):
            texts, names = choices_of(row["choices"])
            if place_of(row["label"], texts, names, first) is None:
                found.append(Problem(rows.place(i), f"label '{row['label']}' is none of the {len(texts)} choices"))
        return found

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows whose label names none of their choices."""
        return self._unknown(rows, self.first)

    def _right(self, row: Row) -> int:
        place = place_of(row["label"], *choices_of(row["choices"]), self.first)
        assert place is not None, "rows were checked"
        return place

    def adopt(self, config: Any) -> None:
        """Take over how choices are numbered."""
        refuse_windows(self.recipe)
        self.first = int(saved_facts(config).get("first", 0))

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head of one output, and the parameters that start fresh."""
        model, fresh, self.head_note = with_head(
            source, self.auto_class, ["LABEL_0"], None, {"task": self.name, "first": self.first}
        )
        config: Any = model.config
        config.problem_type = None
        self.prepare(model)
        return model, fresh

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        choices = [choices_of(row["choices"])[0] for row in rows]
        pairs = [
            {"text": _together(row, "context", "question"), "text_b": " ".join(filter(None, (row.get("begin"), text)))}
            for row, texts in zip(rows, choices, strict=True)
            for text in texts
        ]
        examples = joined(self.inputs(pairs), [len(texts) for texts in choices])
        for row, texts, example in zip(rows, choices, examples, strict=True):
            if row.get("label") is not None:
                example["label"] = self._right(row)
            else:
                example["choices"] = texts
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_inputs = self.inputs_from()
        return None if of_inputs is None else {**of_inputs, "first": self.first}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.batch(list(chain.from_iterable(map(parted, examples))))
        batch["per_row"] = per_row = [len(e["lengths"]) for e in examples]
        batch["slots"] = torch.from_numpy(
            np.concatenate([row * max(per_row) + np.arange(count) for row, count in enumerate(per_row)])
        )
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([e["label"] for e in examples], dtype=torch.int64)
        else:
            batch["choices"] = [e["choices"] for e in examples]
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["per_row"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """(rows, most choices of one) fp32; -inf where a row has fewer."""
        each = super().forward(model, {k: v[:, None] if k in self._model_inputs else v for k, v in batch.items()})
        return in_rows(each.squeeze(-1), batch["slots"], batch["per_row"])

    def texts_per_row(self, batch: Batch) -> list[int]:
        """Choices of each row."""
        found: list[int] = batch["per_row"]
        return found

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(outputs, batch["labels"])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        found: list[Prediction] = []
        for row, scores in enumerate(torch.softmax(outputs, -1).cpu().tolist()):
            scores = scores[: batch["per_row"][row]]
            best = max(range(len(scores)), key=scores.__getitem__)
            answer: Prediction = {"index": best, "score": scores[best], "scores": scores}
            if "choices" in batch:
                answer = {"prediction": batch["choices"][row][best], **answer}
            found.append(answer)
        return found

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """The share of rows whose right choice scores highest."""
        from ftcli.metrics.choices import accuracy

        true = [self._right(row) for row in rows]
        return Evaluation(**accuracy([p["index"] for p in predictions], true, bootstrap=bootstrap, seed=seed))

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is the choice that is."""
        found = []
        for row, prediction in zip(rows, predictions, strict=True):
            texts, right = choices_of(row["choices"])[0], self._right(row)
            found.append(Verdict(prediction["index"] == right, texts[right], texts[prediction["index"]]))
        return found

    def metric_names(self) -> list[str]:
        return ["loss", "accuracy"]


def _together(row: Row, *roles: str) -> str:
    return " ".join(row[role] for role in roles if row.get(role))
