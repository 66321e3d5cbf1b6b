"""A text written from another: translation, summarisation, whatever an encoder and a decoder can learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.data.parallel_files import LANGUAGES
from ftcli.data.paths import texts_by_key
from ftcli.data.targets import told_from_the_left
from ftcli.data.texts import is_plain_fast, pad, set_up, settings, tokenize
from ftcli.data.windows import how_many
from ftcli.errors import UsageError
from ftcli.losses.next_token import by_row, told
from ftcli.models.decoder import go_on
from ftcli.models.heads import at_places, head_at_places
from ftcli.models.load import Source, load_weights
from ftcli.recipe.schema import Recipe
from ftcli.tasks.soft import SoftTexts
from ftcli.tasks.tables import worded
from ftcli.tasks.task import saved_facts
from ftcli.tasks.writer import Writer

SOURCE = Column(
    "source",
    "text",
    ("source", "src", "source_text", "article", "document", "dialogue", "dialog", "conversation", "passage", "context",
     "text", "content", "body", "input", "inputs", "prompt", "question", *LANGUAGES),
    inside=("translation", 0),
)  # fmt: skip
TARGET = Column(
    "target",
    "text",
    ("target", "tgt", "target_text", "summary", "highlights", "abstract", "headline", "title", "translation", "output",
     "outputs", "response", "answer", LANGUAGES[-1], *LANGUAGES[:-1]),
    answer=True,
    inside=("translation", 1),
)  # fmt: skip
PAIRS = (
    ("source", "target"), ("src", "tgt"), ("source_text", "target_text"), ("article", "summary"),
    ("article", "highlights"), ("document", "summary"), ("text", "summary"), ("dialogue", "summary"),
    ("article", "abstract"), ("text", "headline"), ("document", "title"), ("text", "title"), ("article", "title"),
    ("content", "summary"), ("text", "translation"), ("source", "translation"), ("input", "output"),
)  # fmt: skip
"""Names that a text and what is to be made of it usually have."""
SHOWN = 3
"""Rows of a report whose texts are shown."""


class Seq2Seq(SoftTexts, Writer):
    """The next token of the target, for every token of it, from the source and the target so far."""

    name = "seq2seq"
    columns: tuple[Column, ...] = (SOURCE, TARGET)
    main_metric = "chrf"
    auto_class: Any = AutoModelForSeq2SeqLM

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.pad_to_multiple = 1  # eight would be a quarter of a sentence
        set_up(tokenizer, max_length)
        if tokenizer.eos_token_id is None:
            raise UsageError(
                f"task {self.name} needs a tokenizer with a token that ends a text",
                hint=_OTHERS,
            )
        self.end = int(tokenizer.eos_token_id)
        self.prefix = self.recipe.seq2seq.prefix
        self._pad = int(tokenizer.pad_token_id or 0)
        self._start = self._pad
        kinds = self.recipe.seq2seq.metrics
        self.kinds = ("bleu", "rouge") if kinds == "both" else (kinds,)
        self.main_metric = "rougeL" if kinds == "rouge" else self.main_metric

    @classmethod
    def suits(cls, config: Any) -> bool:
        return bool(config.is_encoder_decoder)

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """Two columns of text that go by such names, are named after languages, or are all there is; or one of texts in
        several languages."""
        for field in table.named(("translation",), ("object",)):
            if len(keys := texts_by_key(table.values(field))) > 1:
                return Claim(3, f"'{field}' holds a text in each of {', '.join(keys)}")
        for source, target in PAIRS:
            found = [*worded(table, source), *worded(table, target)]
            if len(found) == 2:
                return Claim(3, f"'{found[1]}' is to be written from '{found[0]}'")
        languages = [field for code in LANGUAGES for field in worded(table, code)]
        if len(languages) == 2:
            return Claim(3, f"'{languages[0]}' and '{languages[1]}' are texts in two languages")
        texts = table.looking("text")
        if len(texts) == 2 and len(table.fields) == 2:
            return Claim(2, f"'{texts[0]}' and '{texts[1]}' are texts and there is nothing else")
        return None

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The encoder and decoder with a head over the vocabulary, and the parameters that start fresh."""
        config = source.config
        config.ftcli = {"task": self.name, "prefix": self.prefix}
        model, fresh = load_weights(source, self.auto_class, config, _OTHERS)
        self.prepare(model)
        return model, fresh

    def adopt(self, config: Any) -> None:
        """The prefix the model was trained with, unless another one is asked for."""
        self.prefix = self.prefix or str(saved_facts(config).get("prefix", ""))

    def prepare(self, model: nn.Module) -> None:
        """Learn what the model's decoder starts with; what is padding costs no vocabulary of logits."""
        head_at_places(model)
        config: Any = model.config
        for told_start in (getattr(config, "decoder_start_token_id", None), getattr(config, "bos_token_id", None)):
            if told_start is not None:
                self._start = int(told_start)
                break
        longest = getattr(config, "max_position_embeddings", None)
        if isinstance(longest, int) and self.most > longest:
            raise UsageError(
                f"seq2seq.max_target_length is {self.most}, but the model writes at most {longest} tokens",
                hint=f"--set seq2seq.max_target_length={longest}",
            )

    @property
    def most(self) -> int:
        """Tokens of a target at most."""
        return self.recipe.seq2seq.max_target_length

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = tokenize(self.tokenizer, [self.prefix + row["source"] for row in rows], self.max_length)
        found: list[Example] = [{k: e[k] for k in ("input_ids", "truncated")} for e in examples]
        if rows[0].get("target") is None:
            return found
        for example, target in zip(found, self._targets([row["target"] for row in rows]), strict=True):
            example |= target
        return found

    def _targets(self, texts: Sequence[str]) -> list[Example]:
        """``labels`` of each target, its end among them, and whether it was cut."""
        if is_plain_fast(self.tokenizer):
            found = [(e["input_ids"], e["truncated"]) for e in tokenize(self.tokenizer, texts, self.most)]
            set_up(self.tokenizer, self.max_length)
        else:  # tokenizers that treat the two sides differently (of models for many languages)
            encoded = self.tokenizer(text_target=list(texts), truncation=False, padding=False)["input_ids"]
            found = [
                (np.asarray([*ids[: self.most - 1], ids[-1]] if len(ids) > self.most else ids, dtype=np.int32),
                 len(ids) > self.most)
                for ids in encoded
            ]  # fmt: skip
        return [{"labels": self._ended(ids), "target_cut": cut} for ids, cut in found]

    def _ended(self, ids: np.ndarray) -> np.ndarray:
        if len(ids) and ids[-1] == self.end:
            return ids
        return np.append(ids[: self.most - 1], np.array([self.end], dtype=ids.dtype))

    def remarks(self, split: str, examples: Sequence[Example]) -> list[str]:
        """Targets that were cut."""
        short = how_many(examples, "target_cut")
        share = f"{short:,} of {len(examples):,} targets ({short / max(1, len(examples)):.1%})"
        said = f"{split}: {share} are longer than {self.most} tokens and were cut (seq2seq.max_target_length)"
        return [said] if short else []

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        own = {"max_length": self.max_length, "most": self.most, "prefix": self.prefix}
        return None if of_tokenizer is None else {**of_tokenizer, **own}

    def collate(self, examples: Sequence[Example]) -> Batch:
        padded = pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple)
        batch: Batch = {name: padded[name] for name in ("input_ids", "attention_mask")}
        if "labels" not in examples[0]:
            return batch
        targets = [example["labels"] for example in examples]
        return batch | told_from_the_left(targets, start=self._start, pad=self._pad, multiple=self.pad_to_multiple)

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Where there are targets, what became of their tokens; where nothing is learnt, also ``written`` (rows,
        tokens), unless the state is to be chosen by its loss and this is no more than that."""
        read = _read(batch)
        if "labels" not in batch:
            return {"written": self._write(model, read)}
        found = self.tell(model, batch)
        del found["logits"]
        if not torch.is_grad_enabled() and not (self.rehearsal and self.recipe.eval.metric == "loss"):
            found["written"] = self._write(model, read)
        return found

    def tell(self, model: Any, batch: Batch) -> dict[str, Any]:
        """What became of the targets' tokens, and of each all that could have: ``logits`` (tokens, vocabulary)."""
        with at_places(batch["places"]):
            logits = model(**_read(batch), decoder_input_ids=batch["decoder_input_ids"], use_cache=False).logits[0]
        return {**told(logits, None, batch["labels"], smoothing=self._smoothing), "logits": logits}

    @property
    def _smoothing(self) -> float:
        return self.recipe.seq2seq.label_smoothing if torch.is_grad_enabled() else 0.0

    def _write(self, model: Any, read: Batch) -> Tensor:
        """(rows, tokens) the targets as the model writes them, behind the token they start with."""
        recipe = self.recipe.generation
        most = min(self.most, recipe.max_new_tokens or self.most)
        return go_on(model, read["input_ids"], read["attention_mask"], recipe, most=most, pad=self._pad, end=self.end)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": outputs["loss"]}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        found: list[Prediction] = [{} for _ in range(len(batch["input_ids"]))]
        if "written" in outputs:
            texts = self.tokenizer.batch_decode(outputs["written"].cpu(), skip_special_tokens=True)
            found = [{"prediction": text.strip()} for text in texts]
        if "nll" in outputs:
            per_row = batch["per_row"]
            of_row = zip(by_row(outputs["nll"], per_row), per_row, by_row(outputs["right"], per_row), strict=True)
            found = [{**row, "told": sums} for row, sums in zip(found, of_row, strict=True)]
        return found

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """BLEU and chrF, or ROUGE, of what was written; perplexity of the targets, told token by token."""
        from ftcli.metrics.language import of_tokens

        by_token = of_tokens([p["told"] for p in predictions], bootstrap=bootstrap, seed=seed)
        found = Evaluation(by_token["metrics"], by_token["intervals"])
        if "prediction" in predictions[0]:
            from ftcli.metrics.written import written

            texts, true = [p["prediction"] for p in predictions], rows.column("target")
            scored = written(
                texts, true, self.kinds, tokenize=self.recipe.seq2seq.tokenize, bootstrap=bootstrap, seed=seed
            )
            found.metrics = {**scored["metrics"], **found.metrics}
            found.intervals = {**scored["intervals"], **found.intervals}
            found.details = {**scored["details"], "examples": self._shown(rows, texts)}
        return found

    def score_resamples(self, rows: Rows, predictions: Sequence[Prediction], counts: Any) -> dict[str, Any]:
        """The same, and the loss."""
        from ftcli.metrics.language import of_token_sums
        from ftcli.metrics.written import sums_of

        texts, true = [p["prediction"] for p in predictions], rows.column("target")
        found = of_token_sums(counts @ np.array([p["told"] for p in predictions], dtype=np.float64))
        for table, of_sums in sums_of(texts, true, self.kinds, self.recipe.seq2seq.tokenize):
            found |= of_sums(counts @ table)
        return found

    def _shown(self, rows: Rows, texts: Sequence[str]) -> list[dict[str, str]]:
        """The first rows, for a person to see what the figures mean."""
        some = range(min(SHOWN, len(texts)))
        return [{"source": rows[i]["source"], "target": rows[i]["target"], "prediction": texts[i]} for i in some]

    def metric_names(self) -> list[str]:
        written = {"bleu": ["bleu", "chrf"], "rouge": ["rouge1", "rouge2", "rougeL"]}
        return ["loss", *(name for kind in self.kinds for name in written[kind]), "perplexity", "token_accuracy"]

    def asked(self, row: Row) -> tuple[str, Row] | None:
        """What a text is to be written from, and the row without that text."""
        return str(row["source"])[:_SHOWN_LETTERS], {"source": row["source"]}


def _read(batch: Batch) -> Batch:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


_SHOWN_LETTERS = 300
_OTHERS = "--model preset:t5-tiny or another T5 or BART; for a decoder --task causal-lm"
