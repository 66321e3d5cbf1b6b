"""A number per text, or per pair of texts: ratings, similarities, any score on an ordered scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.contract import (
    Batch,
    Claim,
    Column,
    Evaluation,
    Example,
    Outputs,
    Prediction,
    Row,
    Rows,
    Strength,
    Table,
)
from ftcli.data.texts import FIRST, SECOND, TEXT
from ftcli.data.tokens import as_bits, from_bits
from ftcli.distillable import SoftForm
from ftcli.errors import DataError
from ftcli.losses.supervised import distance
from ftcli.models.load import Source
from ftcli.recipe.schema import Recipe
from ftcli.tasks.tables import named_pair, one_text, scores, told_apart, two_texts
from ftcli.tasks.task import BaseTask, saved_facts, with_head
from ftcli.tasks.text_inputs import TextInputs

_NAMES = tuple(dict.fromkeys((*FIRST.names, *TEXT.names)))
TEXT_OR_FIRST = replace(FIRST, names=_NAMES)
MAYBE_SECOND = replace(SECOND, required=False)
SCORE = Column(
    "score",
    "number",
    ("score", "similarity", "similarity_score", "relatedness_score", "rating", "stars", "value", "label", "target",
     "points", "grade", "price", "y", "labels"),
    required=False,
    answer=True,
)  # fmt: skip


class Regression(TextInputs, BaseTask):
    """One output of the architecture's classification head, in units of the training numbers' standard deviation from
    their mean while it is trained, in the numbers' own once it is settled."""

    name = "regression"
    columns: tuple[Column, ...] = (TEXT_OR_FIRST, MAYBE_SECOND, SCORE)
    main_metric = "mse"
    settles = True

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.take(tokenizer, max_length)
        self.mean, self.std = 0.0, 1.0
        self.pair = False

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of numbers that are no classes, and one or two of text."""
        named, others = scores(table, SCORE.names)
        text = one_text(table)
        texts = named_pair(table) or ((text[0],) if text else two_texts(table))
        if texts is None or not (named or others) or told_apart(table):
            return None
        certain = named_pair(table) is not None or (text is not None and text[1])
        strength: Strength = 1
        if named:
            strength = 3 if certain else 2
        elif len(others) == 1:
            strength = 2
        listed = " and ".join(f"'{field}'" for field in texts)
        return Claim(strength, f"{listed} is text and '{[*named, *others][0]}' holds numbers")

    # Numbers --------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Mean and standard deviation of the training numbers, and whether texts come in pairs."""
        numbers = np.array(rows.column("score"), dtype=np.float64)
        self.mean, self.std = float(numbers.mean()), float(numbers.std())
        if not self.std > 0:
            raise DataError(f"all {len(numbers):,} training scores are {numbers[0]:g}", hint="is --label-column right?")
        self._set_pair("text_b" in rows[0])

    def adopt(self, config: Any) -> None:
        """Take over whether texts come in pairs, and the scale of what the model gives."""
        facts = saved_facts(config)
        self.mean, self.std = float(facts.get("mean", 0.0)), float(facts.get("std", 1.0))
        self._set_pair(bool(facts.get("pair", False)))

    def _set_pair(self, pair: bool) -> None:
        self.pair = pair
        self.columns = (TEXT_OR_FIRST, *((SECOND,) if pair else ()), SCORE)

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head of one output, and the parameters that start fresh."""
        known = saved_facts(source.config)
        model, fresh, self.head_note = with_head(source, self.auto_class, ["LABEL_0"], "regression", self._facts())
        if not fresh and not source.from_scratch:  # a head that tells numbers already goes on telling those
            self.mean, self.std = float(known.get("mean", 0.0)), float(known.get("std", 1.0))
        self.prepare(model)
        return model, fresh

    def _facts(self) -> dict[str, Any]:
        return {"task": self.name, "pair": self.pair, "mean": self.mean, "std": self.std}

    def settle(self, model: nn.Module, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        """Put the scale into the head's last layer, so that the model gives the numbers themselves to whoever loads
        it; where there is no such layer, the configuration keeps it."""
        last = _last_linear(model)
        if last is not None and last.bias is not None:
            with torch.no_grad():
                last.weight.mul_(self.std)
                last.bias.mul_(self.std).add_(self.mean)
            self.mean, self.std = 0.0, 1.0
        model.config.ftcli = self._facts()  # type: ignore[union-attr]
        return None

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.inputs(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("score") is not None:
                example["score"] = as_bits([row["score"]])
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        return self.inputs_from()

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.batch(examples)
        if "score" in examples[0]:
            batch["labels"] = torch.from_numpy(np.concatenate([from_bits(e["score"]) for e in examples])).float()
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        settings = self.recipe.regression
        true = (batch["labels"] - self.mean) / self.std
        return {"loss": distance(outputs.squeeze(-1), true, settings.loss, settings.huber_delta)}

    @property
    def soft_form(self) -> SoftForm:
        """Numbers as they are told, compared in the unit that they are learnt in."""
        return SoftForm("number", unit=self.std)

    def soft(self, outputs: Outputs, batch: Batch) -> Tensor:
        """(rows, 1)."""
        found: Tensor = self.mean + self.std * outputs.to(torch.float32)
        return found

    def outputs_of(self, soft: Tensor, batch: Batch) -> Outputs:
        """The numbers as the model gives them."""
        return (soft - self.mean) / self.std

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        return [{"prediction": self.mean + self.std * number} for number in outputs.float().squeeze(-1).cpu().tolist()]

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Correlations and distances."""
        from ftcli.metrics.regression import regression

        found = [p["prediction"] for p in predictions]
        if not all(map(math.isfinite, found)):
            return Evaluation(dict.fromkeys(("pearson", "spearman", "mse", "mae"), math.nan))
        return Evaluation(**regression(found, rows.column("score"), bootstrap=bootstrap, seed=seed))

    def metric_names(self) -> list[str]:
        return ["loss", "pearson", "spearman", "mse", "mae"]


def _last_linear(model: nn.Module) -> nn.Linear | None:
    """The layer that gives the head's one output, where the model is a plain one."""
    found = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 1]
    return found[0] if len(found) == 1 else None
