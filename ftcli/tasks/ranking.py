"""Candidates in order for a query: replies to a message, items for what somebody did, passages for a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from ftcli.contract import Batch, Claim, Column, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.data.groups import CANDIDATES, LABEL, NEGATIVES, POSITIVES, QUERY, gather, group_fault, group_of, key_of
from ftcli.data.tokens import as_bits, from_bits
from ftcli.distillable import SoftForm
from ftcli.errors import DataError, UsageError
from ftcli.losses.ranking import listwise, pointwise
from ftcli.models.load import Source, load_weights
from ftcli.models.unpadded import known_rows
from ftcli.models.vectors import pooled, usage
from ftcli.recipe.schema import Recipe
from ftcli.tasks.listed import in_rows, joined, parted, refuse_windows
from ftcli.tasks.ranking_scores import RankingScores
from ftcli.tasks.soft import SoftOutputs
from ftcli.tasks.tables import ranked
from ftcli.tasks.task import BaseTask, saved_facts, with_head
from ftcli.tasks.text_inputs import TextInputs

SHOWN_OF_A_FILE = 10
OFFERED_AT_A_TIME = 64


class Ranking(RankingScores, TextInputs, SoftOutputs, BaseTask):
    """Rows are queries with all their candidates.

    A bi-encoder is the architecture without a head: a text is the mean of its tokens' outputs (or its first token's),
    and candidates are ordered by cosine (Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084). It learns from
    the candidates of all queries of a forward pass, those that are relevant to one being the others' negatives. A
    cross-encoder is a classifier of one output over query and candidate read together.
    """

    name = "ranking"
    columns: tuple[Column, ...] = (QUERY, CANDIDATES, POSITIVES, NEGATIVES, LABEL)
    main_metric = "ndcg@10"
    long_hint = ""
    gathers = "query"
    gather = staticmethod(gather)
    row_fault = staticmethod(group_fault)

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.take(tokenizer, max_length)
        self.offered: list[tuple[str, Mapping[str, Any]]] | None = None
        self._offered_vectors: Tensor | None = None
        settings = self.recipe.ranking
        self.top_grade = 1.0
        self._set(settings.kind == "bi", settings.pooling, settings.loss)

    def _set(self, bi: bool, pooling: str, loss: str) -> None:
        self.bi, self.pooling = bi, pooling
        self.pointwise = not bi and loss == "pointwise"
        # What a bi-encoder learns from depends on the other rows of a batch.
        self.soft_form = None if bi else SoftForm("sigmoid" if self.pointwise else "softmax", ragged=True)
        self.first_only = not bi or pooling == "cls"
        self.rows_meet = bi
        self.auto_class = AutoModel if bi else AutoModelForSequenceClassification

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """Queries and candidates, by their names."""
        found = ranked(table)
        if found is None:
            return None
        return Claim(3, f"'{found[1]}' holds what is to be ranked for '{found[0]}'")

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The largest relevance there is; DataError where there is nothing to learn an order from."""
        refuse_windows(self.recipe)
        grades = [np.array(label) for label in rows.column("label")]
        self.top_grade = max(float(label.max()) for label in grades)
        candidates = sum(map(len, grades))
        self.notes = [f"{len(grades):,} training queries, {candidates / len(grades):.1f} candidates each"]
        if not self.top_grade > 0:
            raise DataError("no candidate of the training split is relevant", hint="--columns label=NAME")
        if not self.bi and not any((label == 0).any() or len({*label}) > 1 for label in grades):
            raise DataError(
                "every candidate of the training split is relevant: a cross-encoder needs some that are not",
                hint="--set ranking.kind=bi learns from those of the other queries",
            )

    # Model ----------------------------------------------------------------------------------------------------

    def adopt(self, config: Any) -> None:
        """Take over what a saved model is; one made elsewhere with a classification head is a cross-encoder."""
        refuse_windows(self.recipe)
        facts, settings = saved_facts(config), self.recipe.ranking
        headed = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
        kind = facts.get("kind", "cross" if headed and "task" not in facts else settings.kind)
        self.top_grade = float(facts.get("top_grade", 1.0))
        self._set(kind == "bi", str(facts.get("pooling", settings.pooling)), str(facts.get("loss", settings.loss)))

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model, and the parameters that start fresh: of a bi-encoder none, of a cross-encoder the head."""
        if self.bi:
            model = self._without_head(source, self._facts())
            fresh: list[str] = []
        else:
            model, fresh, self.head_note = with_head(source, self.auto_class, ["LABEL_0"], "regression", self._facts())
        self.prepare(model)
        return model, fresh

    def _facts(self) -> dict[str, Any]:
        facts = {"task": self.name, "kind": "bi" if self.bi else "cross"}
        if self.bi:
            return {**facts, "pooling": self.pooling, "normalize": True, "temperature": self.recipe.ranking.temperature}
        return {**facts, "loss": "pointwise" if self.pointwise else "listwise", "top_grade": self.top_grade}

    def load_model(self, source: Source) -> nn.Module:
        """A saved model; as a bi-encoder, any that reads texts."""
        self.adopt(source.config)
        if not self.bi:
            return super().load_model(source)
        model = self._without_head(source, None)
        self.prepare(model)
        return model

    def _without_head(self, source: Source, facts: Mapping[str, Any] | None) -> nn.Module:
        if source.config.is_encoder_decoder:
            raise UsageError(
                f"{source.name} ({source.config.model_type}) has an encoder and a decoder, a bi-encoder but one",
                hint="--set ranking.kind=cross, or another --model",
            )
        if facts is not None:
            source.config.ftcli = dict(facts)
        model, fresh = load_weights(source, self.auto_class, source.config)
        if missing := [name for name in fresh if not _of_pooler(name)]:
            raise UsageError(f"{source.name} lacks weights of its own architecture: {', '.join(missing[:4])}")
        for name, parameter in model.named_parameters():  # it makes one vector too, which nothing here looks at
            parameter.requires_grad_(parameter.requires_grad and not _of_pooler(name))
        return model

    def usage(self) -> str | None:
        """How the transformers library alone makes vectors of texts with a bi-encoder, in Python."""
        return usage(self.pooling) if self.bi else None

    # Rows -> batches ------------------------------------------------------------------------------------------

    def offer(self, candidates: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Rank these texts, each with what else is known of it, for every query from now on."""
        self.offered = list(candidates)
        self.columns = tuple(replace(c, required=False) if c.role == "candidates" else c for c in self.columns)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        groups = [group_of(row) if self.offered is None else self._all_offered() for row in rows]
        flat: list[Row] = []
        for row, (texts, _) in zip(rows, groups, strict=True):
            if self.bi:
                flat += [{"text": text} for text in (row["query"], *(texts if self.offered is None else ()))]
            else:
                flat += [{"text": row["query"], "text_b": text} for text in texts]
        counts = [self.bi + len(texts) if self.offered is None or not self.bi else 1 for texts, _ in groups]
        examples = joined(self.inputs(flat), counts)
        for row, example, (texts, grades) in zip(rows, examples, groups, strict=True):
            if grades is not None and row.get("label") is not None:
                example["grades"] = as_bits(grades)
                example["keys"] = np.array([key_of(text) for text in texts], dtype=np.int64)
            else:
                example["candidates"] = texts
        return examples

    def _all_offered(self) -> tuple[list[str], None]:
        return [text for text, _ in self.offered or ()], None

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_inputs = self.inputs_from()
        return None if of_inputs is None or self.offered is not None else {**of_inputs, "bi": self.bi}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = self.batch(list(chain.from_iterable(map(parted, examples))))
        texts = np.array([len(e["lengths"]) for e in examples])
        queries = np.cumsum(texts) - texts
        batch["per_row"] = per_row = (texts - self.bi).tolist()
        most = max(per_row)
        slots = np.concatenate([row * most + np.arange(count) for row, count in enumerate(per_row)])
        batch["slots"] = torch.from_numpy(slots)
        if self.bi:
            batch["queries"] = torch.from_numpy(queries)
            batch["others"] = torch.from_numpy(np.setdiff1d(np.arange(texts.sum()), queries))
        if "grades" not in examples[0]:
            batch["candidates"] = [e["candidates"] for e in examples]
            return batch
        grades = [from_bits(e["grades"]).astype(np.float32) for e in examples]
        batch["alone"] = [bool((own > 0).all()) for own in grades]
        owner = np.repeat(np.arange(len(examples)), per_row)
        if self.bi:
            own = owner == np.arange(len(examples))[:, None]
            relevance = np.where(own, np.concatenate(grades), 0.0).astype(np.float32)
            keys = np.concatenate([e["keys"] for e in examples])
            # What is relevant to a query is no negative of it, whichever query it came with.
            known = np.stack([np.isin(keys, keys[row > 0]) for row in relevance])
            batch["allowed"] = torch.from_numpy(own | ~known)
        else:
            relevance = np.zeros(len(examples) * most, dtype=np.float32)
            relevance[slots] = np.concatenate(grades)
            relevance = relevance.reshape(len(examples), most)
        batch["labels"] = torch.from_numpy(relevance)
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        """Queries with a relevant candidate; candidates, where each is judged by itself."""
        return {"loss": sum(batch["per_row"]) if self.pointwise else int((batch["labels"] > 0).any(-1).sum())}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Of a bi-encoder a vector of length 1 for each text (texts, size), else a number for each candidate (queries,
        most candidates of one), -inf where there is none; both fp32."""
        if not self.bi:
            return in_rows(super().forward(model, batch).squeeze(-1), batch["slots"], batch["per_row"])
        if self.offered is not None and self._offered_vectors is None:
            self._offered_vectors = self._vectors_of_offered(model)
        return self._vectors(model, batch)

    def _vectors(self, model: nn.Module, batch: Batch) -> Tensor:
        with known_rows(batch["rows"]):
            hidden: Tensor = model(**self._of_model(batch)).last_hidden_state
        return pooled(hidden, batch["attention_mask"], self.pooling)

    def _vectors_of_offered(self, model: nn.Module) -> Tensor:
        """(candidates, size)."""
        device = next(model.parameters()).device
        examples = self.inputs([{"text": text} for text, _ in self.offered or ()])
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]["input_ids"]))
        found: list[Tensor | None] = [None] * len(examples)
        for start in range(0, len(order), OFFERED_AT_A_TIME):
            chosen = order[start : start + OFFERED_AT_A_TIME]
            batch = self.batch([examples[i] for i in chosen])
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            for i, vector in zip(chosen, self._vectors(model, batch), strict=True):
                found[i] = vector
        return torch.stack([vector for vector in found if vector is not None])

    def texts_per_row(self, batch: Batch) -> list[int]:
        """Candidates of each query, and of a bi-encoder itself."""
        return [self.bi + count for count in batch["per_row"]]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self.bi:
            scores = outputs[batch["queries"]] @ outputs[batch["others"]].T / self.recipe.ranking.temperature
            return {"loss": listwise(scores, batch["labels"], batch["allowed"])}
        if self.pointwise:
            return {"loss": pointwise(outputs, batch["labels"] / self.top_grade, outputs > -torch.inf)}
        return {"loss": listwise(outputs, batch["labels"], outputs > -torch.inf)}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        found: list[Prediction] = []
        for row, scores in enumerate(self._scores(outputs, batch)):
            if "candidates" in batch:
                found.append(self._answer(scores, batch["candidates"][row]))
                continue
            answer: Prediction = {"scores": scores}
            if self.bi and batch["alone"][row]:
                start = int(batch["queries"][row])
                vectors = outputs[start : start + 1 + batch["per_row"][row]].cpu().numpy()
                answer |= {"query": vectors[0], "vectors": vectors[1:]}
            found.append(answer)
        return found

    def _scores(self, outputs: Outputs, batch: Batch) -> list[list[float]]:
        """Of each query, a number for each candidate: the cosine, the probability, or what the softmax is taken of."""
        if not self.bi:
            outputs = torch.sigmoid(outputs) if self.pointwise else outputs
            rows: list[list[float]] = outputs.cpu().tolist()
            return [scores[:count] for scores, count in zip(rows, batch["per_row"], strict=True)]
        if self._offered_vectors is not None:
            return (outputs @ self._offered_vectors.T).cpu().tolist()  # type: ignore[no-any-return]
        owner = torch.tensor(np.repeat(np.arange(len(batch["per_row"])), batch["per_row"]), device=outputs.device)
        cosines = (outputs[batch["queries"]][owner] * outputs[batch["others"]]).sum(-1).cpu()
        return [part.tolist() for part in cosines.split(batch["per_row"])]

    def _answer(self, scores: Sequence[float], texts: Sequence[str]) -> Prediction:
        """The candidates from the best on, and the best by itself."""
        top = self.recipe.ranking.top or (len(texts) if self.offered is None else SHOWN_OF_A_FILE)
        order = sorted(range(len(texts)), key=lambda i: (-scores[i], i))[:top]
        more = [of for _, of in self.offered] if self.offered is not None else [{}] * len(texts)
        ranking = [{"index": i, "candidate": texts[i], "score": scores[i], **more[i]} for i in order]
        return {"prediction": texts[order[0]], "score": scores[order[0]], "ranking": ranking}


def _of_pooler(name: str) -> bool:
    return "pooler" in name.split(".")
