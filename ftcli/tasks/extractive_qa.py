"""The words of a text that answer a question about it; or that none of them do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.squad import ANSWERS, CONTEXT, QUESTION, answers_of
from ftcli.data.texts import PAD_TO_MULTIPLE, Frame, documents, pad, set_up, settings
from ftcli.data.windows import windows
from ftcli.data.words import Spots, spots_of
from ftcli.errors import DataError
from ftcli.losses.spans import span_loss
from ftcli.models.adapted import input_names
from ftcli.models.load import Source
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.recipe.schema import Recipe
from ftcli.tasks.found_spans import best_spans, separator, trimmed
from ftcli.tasks.soft import SoftSpans
from ftcli.tasks.tables import answered
from ftcli.tasks.task import BaseTask, saved_facts, with_head

HALF = 0.5


class ExtractiveQA(SoftSpans, BaseTask):
    """The architecture's own head, which scores each token as the first and as the last of the answer.

    A context that is longer than the model takes is read in windows that overlap, each with the question before it.
    The first token of a window stands for "no answer". The answer is the likeliest span over all windows.
    """

    name = "extractive-qa"
    columns: tuple[Column, ...] = (QUESTION, CONTEXT, ANSWERS)
    main_metric = "f1"
    auto_class = AutoModelForQuestionAnswering
    settles = True
    long_hint = " (questions; texts are read whole)"

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.pad_to_multiple = PAD_TO_MULTIPLE
        set_up(tokenizer, max_length)
        self.frame = Frame.of(tokenizer)
        self.between = self.frame.between or separator(tokenizer)
        self.no_answer = self.recipe.qa.no_answer is True
        self.threshold = HALF
        self._model_inputs: set[str] = {"input_ids", "attention_mask"}

    @staticmethod
    def row_fault(row: Row) -> str | None:
        if row.get("answers") is None:
            return None
        try:
            answers_of(row["answers"], row["context"])
        except ValueError as error:
            return f"answers {error}"
        return None

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A question, a context, and answers that are marked in it."""
        found = answered(table)
        if found is None:
            return None
        question, context, answers = found
        return Claim(3, f"'{answers}' holds answers to '{question}' out of '{context}'")

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Whether there are questions without an answer."""
        none = sum(not self._true(row) for row in rows)
        if none == len(rows):
            raise DataError("no row of the training split has an answer", hint="--columns answers=NAME")
        if self.recipe.qa.no_answer == "auto":
            self.no_answer = none > 0
        if none:
            self.notes = [f"{none:,} of {len(rows):,} training questions have no answer"]

    @staticmethod
    def _true(row: Row) -> list[str]:
        return [answer.text for answer in answers_of(row["answers"], row["context"])]

    # Model ----------------------------------------------------------------------------------------------------

    def adopt(self, config: Any) -> None:
        """Take over whether there may be no answer, and when there is taken to be none."""
        facts = saved_facts(config)
        self.threshold = float(facts.get("threshold", HALF))
        if self.recipe.qa.no_answer == "auto":
            self.no_answer = bool(facts.get("no_answer", False))

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head for first and last tokens, and the parameters that start fresh."""
        model, fresh, self.head_note = with_head(source, self.auto_class, ["start", "end"], None, self._facts())
        self.prepare(model)
        return model, fresh

    def _facts(self) -> dict[str, Any]:
        return {"task": self.name, "no_answer": self.no_answer, "threshold": self.threshold}

    def prepare(self, model: nn.Module) -> None:
        self._model_inputs = input_names(model)

    def settle(self, model: nn.Module, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        """From which probability on there is taken to be no answer: what serves F1 on the validation split best."""
        if not self.no_answer:
            return None
        from ftcli.metrics.squad import best_threshold, scored

        true = [self._true(row) for row in rows]
        given = [self._words(row["context"], p) for row, p in zip(rows, predictions, strict=True)]
        f1 = [scored(words, answers)[1] for words, answers in zip(given, true, strict=True)]
        self.threshold = best_threshold([p["no_answer"] for p in predictions], f1, [not answers for answers in true])
        model.config.ftcli = self._facts()  # type: ignore[union-attr]
        return f"no answer where its probability is above {self.threshold:.3f}, tuned on validation"

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        questions = documents(self.tokenizer, [row["question"] for row in rows])
        contexts = spots_of(self.tokenizer, [row["context"] for row in rows])
        examples = []
        for row, question, context in zip(rows, questions, contexts, strict=True):
            example, parts = self._in_windows(question["input_ids"], context)
            if row.get("answers") is not None:
                example |= self._targets(row, example, parts)
            else:
                example["context"] = row["context"]
            examples.append(example)
        return examples

    def _in_windows(self, question: np.ndarray, context: Spots) -> tuple[Example, list[tuple[int, int]]]:
        """``input_ids`` of all windows one after the other, ``windows`` their lengths, ``first`` the place of the first
        token of the context in each, ``parts`` which one that is, ``starts`` and ``ends`` the places of the context's
        tokens in its text; and the windows as spans of these tokens. A question that takes more than half is cut."""
        frame, between = self.frame, self.between
        room = max(2, self.max_length - len(frame.before) - len(between) - len(frame.after))
        asked = question[: room // 2]
        parts = windows(len(context.ids), room - len(asked), self.recipe.long.overlap)
        rows = [np.concatenate([frame.before, asked, between, context.ids[a:b], frame.after]) for a, b in parts]
        example: Example = {
            "input_ids": np.concatenate(rows).astype(np.int32),
            "windows": np.array([len(row) for row in rows], dtype=np.int32),
            "first": len(frame.before) + len(asked) + len(between),
            "parts": np.array([start for start, _ in parts], dtype=np.int32),
            "starts": context.starts,
            "ends": context.ends,
            "truncated": len(asked) < len(question),
        }
        return example, parts

    def _targets(self, row: Row, example: Example, parts: Sequence[tuple[int, int]]) -> Example:
        """``begin`` and ``finish``: places in ``input_ids`` of the first and the last token of the first answer, in the
        windows that have it whole, or else each in those that have it; without an answer, each window's own first."""
        windows_at = np.cumsum(example["windows"]) - example["windows"]
        answers = answers_of(row["answers"], row["context"])
        if not answers or not len(example["starts"]):
            return {"begin": windows_at.astype(np.int32), "finish": windows_at.astype(np.int32)}
        last = len(example["starts"]) - 1
        begin = min(int(np.searchsorted(example["ends"], answers[0].start, side="right")), last)
        finish = max(begin, int(np.searchsorted(example["starts"], answers[0].end, side="left")) - 1)
        whole = [i for i, (a, b) in enumerate(parts) if a <= begin and finish < b]
        found = {}
        for name, token in (("begin", begin), ("finish", finish)):
            holding = whole or [i for i, (a, b) in enumerate(parts) if a <= token < b]
            places = [windows_at[i] + example["first"] + token - parts[i][0] for i in holding]
            found[name] = np.array(places, dtype=np.int32)
        return found

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        own = {"max_length": self.max_length, "overlap": self.recipe.long.overlap, "between": list(self.between)}
        return None if of_tokenizer is None else {**of_tokenizer, **own}

    def collate(self, examples: Sequence[Example]) -> Batch:
        rows: list[Example] = []
        for example in examples:
            for part in np.split(example["input_ids"], np.cumsum(example["windows"])[:-1]):
                types = np.zeros(len(part), dtype=np.int32)
                types[example["first"] :] = self.frame.second
                rows.append({"input_ids": part, "token_type_ids": types})
        padded = pad(self.tokenizer, rows, self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        mask = padded["attention_mask"].numpy()
        batch["rows"] = FlatRows.of(padded["attention_mask"])
        batch["per_row"] = per_row = [len(e["windows"]) for e in examples]
        # Which of the tokens are of the context, and which stand for "no answer".
        at = mask.argmax(1)
        firsts = np.repeat([e["first"] for e in examples], per_row) + at
        lengths = np.array([len(row["input_ids"]) for row in rows]) + at - len(self.frame.after)
        columns = np.arange(mask.shape[1])
        context = (columns >= firsts[:, None]) & (columns < lengths[:, None])
        batch["context"] = torch.from_numpy(context)
        batch["allowed"] = torch.from_numpy(context | (columns == at[:, None]))
        most = max(per_row)
        slots = [row * most + i for row, count in enumerate(per_row) for i in range(count)]
        batch["slots"] = torch.tensor(slots)
        batch["known"] = [(e, at[start : start + len(e["windows"])]) for e, start in
                          zip(examples, np.cumsum(per_row) - per_row, strict=True)]  # fmt: skip
        if "begin" in examples[0]:
            right = np.zeros((2, mask.size), dtype=bool)
            real = np.flatnonzero(mask)
            offset = 0
            for example in examples:
                for side, name in zip(right, ("begin", "finish"), strict=True):
                    side[real[offset + example[name]]] = True
                offset += len(example["input_ids"])
            batch["labels"] = torch.from_numpy(right.reshape(2, *mask.shape))
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["per_row"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """(2, windows, tokens) fp32: each token as the first and as the last; -inf for what can be neither."""
        with known_rows(batch["rows"]):
            outputs = model(**{k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"})
        logits = torch.stack([outputs.start_logits, outputs.end_logits]).to(torch.float32)
        return logits.masked_fill(~batch["allowed"], -torch.inf)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        shape = (len(batch["per_row"]), max(batch["per_row"]))
        return {"loss": span_loss(outputs, batch["labels"], batch["slots"], shape)}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        best, where, length, total = best_spans(
            outputs.masked_fill(~batch["context"], -torch.inf), self.recipe.qa.max_answer
        )
        none = outputs.masked_fill(batch["context"], -torch.inf).logsumexp(-1).double().cpu().numpy()
        found = []
        end = 0
        for example, at in batch["known"]:
            start, end = end, end + len(at)
            window = start + int(best[start:end].argmax())
            over_all = np.logaddexp.reduce(total[start:end])
            without = np.logaddexp.reduce(none[0, start:end]) + np.logaddexp.reduce(none[1, start:end])
            if self.no_answer:
                over_all = np.logaddexp(over_all, without)
            answer: Prediction = {"score": 0.0, "start": None, "end": None}
            if np.isfinite(best[window]):
                token = int(where[window] - at[window - start] - example["first"] + example["parts"][window - start])
                answer = {
                    "score": float(np.exp(best[window] - over_all)),
                    "start": int(example["starts"][token]),
                    "end": int(example["ends"][token + int(length[window])]),
                }
            if self.no_answer:
                answer["no_answer"] = float(np.exp(without - over_all))
            found.append(self._answer(answer, example["context"]) if "context" in example else answer)
        return found

    def _answer(self, found: Prediction, context: str) -> Prediction:
        """The answer to be given to a person: words, and where they are in the context (nowhere, for none)."""
        if self._withheld(found):
            none = found.get("no_answer", 0.0)
            return {"prediction": "", "score": none, "start": None, "end": None, **_only(found, "no_answer")}
        start, end = trimmed(context, found["start"], found["end"])
        told = {"prediction": context[start:end], "score": found["score"], "start": start, "end": end}
        return {**told, **_only(found, "no_answer")}

    def _withheld(self, found: Prediction) -> bool:
        return found["start"] is None or (self.no_answer and found["no_answer"] > self.threshold)

    def _said(self, row: Row, found: Prediction) -> str:
        return "" if self._withheld(found) else self._words(row["context"], found)

    @staticmethod
    def _words(context: str, found: Prediction) -> str:
        if found["start"] is None:
            return ""
        start, end = trimmed(context, found["start"], found["end"])
        return context[start:end]

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Exact match and F1 at this task's threshold."""
        from ftcli.metrics.squad import answers

        true, given = [], []
        for row, found in zip(rows, predictions, strict=True):
            true.append(self._true(row))
            given.append(self._said(row, found))
        result = answers(given, true, no_answer=self.no_answer, bootstrap=bootstrap, seed=seed)
        return Evaluation(**result, details={"threshold": self.threshold} if self.no_answer else {})

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is an exact match."""
        from ftcli.metrics.squad import scored

        found = []
        for row, prediction in zip(rows, predictions, strict=True):
            true, said = self._true(row), self._said(row, prediction)
            found.append(Verdict(scored(said, true)[0] == 1, (true or ["none"])[0], said or "none"))
        return found

    def metric_names(self) -> list[str]:
        from ftcli.metrics.squad import answers

        return ["loss", *answers([""], [[]], no_answer=self.no_answer, bootstrap=0, seed=0)["metrics"]]


def _only(found: Prediction, key: str) -> Prediction:
    return {key: found[key]} if key in found else {}
