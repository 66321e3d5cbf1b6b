"""A tag per token: names of persons and places, parts of speech; marked spans of text as entities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Problem, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.texts import PAD_TO_MULTIPLE, Frame, pad, set_up, settings
from ftcli.data.windows import in_windows, owners, unfolded, windows
from ftcli.data.words import TAGS, TOKENS, Pieces, pieces_of, split_words
from ftcli.errors import DataError
from ftcli.losses.supervised import cross_entropy
from ftcli.metrics.tags import spans, split_tag
from ftcli.models.adapted import input_names
from ftcli.models.load import Source
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.recipe.schema import Recipe
from ftcli.tasks.schemes import MARKS, breaks, detect, tag_fault, written
from ftcli.tasks.soft import SoftTags
from ftcli.tasks.tables import tagged
from ftcli.tasks.task import BaseTask, saved_facts, with_head


class TokenClassification(SoftTags, BaseTask):
    """The architecture's own head over tokens. The first token of a word has the word's tag, its others none.

    Entities are learnt as BIO whatever scheme the data is in, and predicted in the data's own. Rows longer than the
    model takes are read in windows that overlap; each word is looked at where it has the most on both sides.
    """

    name = "token-classification"
    columns: tuple[Column, ...] = (TOKENS, TAGS)
    main_metric = "f1"
    auto_class = AutoModelForTokenClassification

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.pad_to_multiple = PAD_TO_MULTIPLE
        set_up(tokenizer, max_length)
        self.frame = Frame.of(tokenizer)
        self.labels: list[str] = []
        self.scheme = "bio"
        self._ids: dict[str, int] = {}
        self._names: Sequence[str] | None = None
        self._model_inputs: set[str] = {"input_ids", "attention_mask"}

    @staticmethod
    def row_fault(row: Row) -> str | None:
        tokens, tags = row["tokens"], row.get("tags")
        if tags is None:
            return None
        if len(tokens) != len(tags):
            return f"{len(tokens)} tokens, but {len(tags)} tags"
        return tag_fault(tags) if isinstance(tags[0], str) else None

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """Lists of words, and lists of as many tags."""
        found = tagged(table)
        if found is None:
            return None
        by_name = found[0] in table.named(TOKENS.names) and found[1] in table.named(TAGS.names)
        return Claim(3 if by_name else 2, f"'{found[1]}' has a tag for each of the words of '{found[0]}'")

    # Tags -----------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The scheme of the training split's tags, and its types of entities (or its tags, where they mark none)."""
        self._names = names
        sentences = [self._tags(tags) for tags in rows.column("tags")]
        wanted = self.recipe.tags.scheme
        self.scheme = detect(sentences) if wanted == "auto" else wanted
        seen = {tag for tags in sentences for tag in tags}
        if self.scheme == "plain":
            self._set_labels(sorted(seen))
            if len(self.labels) < 2:
                raise DataError(f"the training split has one tag only: '{self.labels[0]}'", hint="--columns tags=NAME")
        else:
            odd = sorted(tag for tag in seen if split_tag(tag)[0] not in MARKS[self.scheme])
            if odd:
                raise DataError(
                    f"tags that {self.scheme} has no place for: {', '.join(odd[:5])}", hint="--set tags.scheme=auto"
                )
            types = sorted({split_tag(tag)[1] for tag in seen} - {""})
            self._set_labels(["O", *(tag for t in types for tag in written(spans([f"B-{t}", f"I-{t}"]), 2, "bio"))])
            self.notes = self._said(rows, sentences, len(types))
        self.main_metric = "accuracy" if self.scheme == "plain" else "f1"

    def _said(self, rows: Rows, sentences: Sequence[Sequence[str]], types: int) -> list[str]:
        broken = [i for i, tags in enumerate(sentences) if breaks(tags, self.scheme)]
        found = [f"tags in the {self.scheme} scheme, {types} types of entities"]
        if broken:
            found.append(
                f"{len(broken):,} of {len(sentences):,} training rows do not keep to the {self.scheme} scheme "
                f"(the first: {rows.place(broken[0])}); they are read as the CoNLL shared tasks' scorer reads them"
            )
        return found

    def adopt(self, config: Any) -> None:
        """Take the tags of a saved model, and the scheme its predictions are to be in."""
        by_id = {int(i): str(n) for i, n in (config.id2label or {}).items()}
        self._set_labels([by_id[i] for i in sorted(by_id)])
        self.scheme = str(saved_facts(config).get("scheme") or detect([self.labels]))
        if self.scheme == "plain":
            self.main_metric = "accuracy"

    def align(self, names: Sequence[str] | None) -> str | None:
        """Read whole-number tags of other data by `names`."""
        self._names = names
        return None

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows with a tag, or a type of entity, that the training split does not have."""
        known = self._known()
        found = []
        for i, given in enumerate(rows.column("tags")):
            odd = [
                tag for tag in self._tags(given) if (tag if self.scheme == "plain" else split_tag(tag)[1]) not in known
            ]
            if odd:
                listed = ", ".join(sorted(known - {""})[:10])
                found.append(Problem(rows.place(i), f"tag '{odd[0]}' is of none of the known kinds: {listed}"))
        return found

    def _known(self) -> set[str]:
        return set(self.labels) if self.scheme == "plain" else {"", *(split_tag(tag)[1] for tag in self.labels)}

    def _set_labels(self, names: list[str]) -> None:
        self.labels = names
        self._ids = {name: i for i, name in enumerate(names)}

    def _tags(self, given: Sequence[Any]) -> list[str]:
        """A row's tags as words, whole numbers by the names that the data gives them."""
        names = self._names
        return [names[t] if names is not None and isinstance(t, int) and 0 <= t < len(names) else str(t) for t in given]

    def _learnt(self, given: Sequence[Any]) -> list[str]:
        """A row's tags as they are learnt and scored."""
        tags = self._tags(given)
        return tags if self.scheme == "plain" else written(spans(tags), len(tags), "bio")

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head for these tags, and the parameters that start fresh."""
        facts = {"task": self.name, "scheme": self.scheme}
        model, fresh, self.head_note = with_head(source, self.auto_class, self.labels, None, facts)
        self.prepare(model)
        return model, fresh

    def prepare(self, model: nn.Module) -> None:
        self._model_inputs = input_names(model)

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        places = [_words(row["tokens"]) for row in rows]
        words = [[text[start:end] for start, end in spots] for text, spots in places]
        examples = []
        for row, pieces, (text, spots) in zip(rows, pieces_of(self.tokenizer, words), places, strict=True):
            example = self._in_windows(pieces)
            if row.get("tags") is not None:
                ids = [self._ids.get(tag, -1) for tag in self._learnt(row["tags"])]
                example["tags"] = np.array(ids, dtype=np.int32)
            else:
                example |= {"text": text, "spots": spots}
            examples.append(example)
        return examples

    def _in_windows(self, pieces: Pieces) -> Example:
        """``input_ids`` of all windows one after the other, ``windows`` their lengths, and where in all of it the first
        token of each word is, in the window it is looked at in (-1: nowhere)."""
        room = max(1, self.max_length - self.frame.size)
        parts = windows(len(pieces.ids), room, self.recipe.long.overlap)
        example = in_windows(pieces.ids, self.frame, parts)
        ends = np.cumsum(example["windows"])
        begins = ends - example["windows"] + len(self.frame.before) - np.array([start for start, _ in parts])
        where = np.where(pieces.first < 0, -1, pieces.first + begins[owners(parts, pieces.first)])
        return {**example, "places": where.astype(np.int32)}

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        names = None if self._names is None else list(self._names)
        own = {"max_length": self.max_length, "labels": self.labels, "names": names, "scheme": self.scheme}
        return None if of_tokenizer is None else {**of_tokenizer, **own, "overlap": self.recipe.long.overlap}

    def collate(self, examples: Sequence[Example]) -> Batch:
        padded = pad(self.tokenizer, unfolded(examples), self.max_length, self.pad_to_multiple)
        batch: Batch = {k: v for k, v in padded.items() if k in self._model_inputs}
        mask = padded["attention_mask"]
        batch["rows"] = FlatRows.of(mask)
        # Where each real token is in the rows laid end to end, padding included; then each word's first one.
        real = np.flatnonzero(mask.numpy())
        offsets = np.cumsum([0, *(len(e["input_ids"]) for e in examples)])[:-1]
        found = [e["places"] for e in examples]
        has = np.concatenate(found) >= 0
        spots = np.concatenate([places + offset for places, offset in zip(found, offsets, strict=True)])[has]
        batch["per_row"] = [len(places) for places in found]
        batch["windows"] = [len(e["windows"]) for e in examples]
        batch["has"] = has
        batch["places"] = torch.from_numpy(real[spots])
        if "tags" in examples[0]:
            tags = np.concatenate([e["tags"] for e in examples])[has]
            batch["labels"] = torch.from_numpy(tags.astype(np.int64))
        else:
            batch["texts"] = [(e["text"], e["spots"]) for e in examples]
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits (words, tags), of the words that have a token."""
        with known_rows(batch["rows"]):
            logits: Tensor = model(
                **{k: v for k, v in batch.items() if k in self._model_inputs and k != "labels"}
            ).logits
        return logits.reshape(-1, logits.shape[-1]).index_select(0, batch["places"])

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(outputs, batch["labels"])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        top = torch.softmax(outputs.float(), -1).max(-1)
        has = batch["has"]
        scores, ids = np.ones(len(has)), np.full(len(has), self._ids.get("O", 0))
        scores[has], ids[has] = top.values.cpu().numpy(), top.indices.cpu().numpy()
        found: list[Prediction] = []
        ends = np.cumsum(batch["per_row"])
        for row, (start, end) in enumerate(zip(ends - batch["per_row"], ends, strict=True)):
            tags = [self.labels[i] for i in ids[start:end]]
            if "texts" in batch:
                found.append(self._answer(tags, scores[start:end], *batch["texts"][row]))
            else:
                found.append({"prediction": tags})
        return found

    def _answer(self, tags: list[str], scores: np.ndarray, text: str, spots: list[tuple[int, int]]) -> Prediction:
        """The tags in the data's scheme, and what they mark in the text."""
        plain = self.scheme == "plain"
        marked = [(tag, i, i + 1) for i, tag in enumerate(tags)] if plain else spans(tags)
        entities = [
            {
                "text": text[spots[start][0] : spots[end - 1][1]],
                "label": kind,
                "start": spots[start][0],
                "end": spots[end - 1][1],
                "score": float(scores[start:end].mean()),
            }
            for kind, start, end in marked
        ]
        shown = tags if plain else written(spans(tags), len(tags), self.scheme)
        return {"prediction": shown, "entities": entities}

    def all_labels(self) -> Sequence[str]:
        """Types of entities; of tags that mark none, the tags."""
        return sorted(self._known() - {""})

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        return {entity["label"] for entity in prediction["entities"]}

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Entities as the CoNLL shared tasks count them; tags that mark none as classes of tokens."""
        true = [self._learnt(tags) for tags in rows.column("tags")]
        given = [p["prediction"] for p in predictions]
        if self.scheme == "plain":
            from ftcli.metrics.report import classification

            flat_true, flat_given = ([self._ids[tag] for tags in side for tag in tags] for side in (true, given))
            return Evaluation(**classification(flat_true, flat_given, self.labels, bootstrap=bootstrap, seed=seed))
        from ftcli.metrics.spans import entities

        # What the model says as it is, and as it is written out, are the same entities.
        given = [written(spans(tags), len(tags), "bio") for tags in given]
        return Evaluation(**entities(given, true, bootstrap=bootstrap, seed=seed))

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Right is a row all of whose entities (of tags that mark none: all of whose tags) are."""
        found = []
        for tags, prediction in zip(rows.column("tags"), predictions, strict=True):
            true, said = (self._learnt(side) for side in (tags, prediction["prediction"]))
            found.append(Verdict(true == said, " ".join(true), " ".join(said)))
        return found

    def metric_names(self) -> list[str]:
        if self.scheme == "plain":
            from ftcli.metrics.report import classification

            return ["loss", *classification([0], [0], self.labels, bootstrap=0, seed=0)["metrics"]]
        from ftcli.metrics.spans import entities

        return ["loss", *entities([["O"]], [["O"]], bootstrap=0, seed=0)["metrics"]]


def _words(tokens: Any) -> tuple[str, list[tuple[int, int]]]:
    """A text, and where in it the words are; of a list of words, the text with spaces between them."""
    if isinstance(tokens, str):
        return tokens, split_words(tokens)
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    return " ".join(tokens), [(int(end) - len(token), int(end)) for token, end in zip(tokens, ends, strict=True)]
