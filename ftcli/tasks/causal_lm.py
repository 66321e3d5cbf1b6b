"""Instruction and dialogue tuning: a language model learns to answer, and is asked for nothing else.

Every turn of the assistant is learnt, each token from all that was said before it (Ouyang et al. 2022, "Training
language models to follow instructions with human feedback", arXiv:2203.02155); what others say is read only.
Batches lie end to end without padding where the architecture can (`models.unpadded`): conversations are packed, and
none sees another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.data.conversations import (
    INPUT,
    MESSAGES,
    PROMPT,
    RESPONSE,
    SYSTEM,
    NoConversation,
    answered,
    asked,
    read,
    rendered,
    set_template,
    stops,
    tokens_of,
    turns_of,
)
from ftcli.data.texts import PAD_TO_MULTIPLE, pad, settings
from ftcli.errors import UsageError
from ftcli.losses.next_token import by_row, told
from ftcli.models.decoder import Probe, go_on, tokens_told
from ftcli.models.heads import at_places, head_at_places
from ftcli.models.load import Source, load_weights
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.recipe.schema import Recipe
from ftcli.tasks.soft import SoftTexts
from ftcli.tasks.tables import worded
from ftcli.tasks.task import saved_facts
from ftcli.tasks.writer import Writer

PAIRS = (
    ("instruction", "output"), ("instruction", "response"), ("prompt", "response"), ("prompt", "completion"),
    ("prompt", "output"), ("prompt", "answer"), ("question", "answer"), ("question", "response"),
    ("input", "output"), ("query", "response"), ("user", "assistant"), ("prompt", "chosen"),
)  # fmt: skip
"""Names that what is asked and what is to be answered usually have."""
_OTHERS = "--model preset:gpt2-tiny or another decoder; for an encoder-decoder --task seq2seq"
_SHOWN = 300
"""Letters of what is asked that are shown, its end."""


class CausalLM(SoftTexts, Writer):
    """The next token, for every token of an answer."""

    name = "causal-lm"
    columns: tuple[Column, ...] = (MESSAGES, PROMPT, INPUT, SYSTEM, RESPONSE)
    main_metric = "loss"
    auto_class: Any = AutoModelForCausalLM

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.pad_to_multiple = PAD_TO_MULTIPLE
        if tokenizer.eos_token_id is None:
            raise UsageError(f"task {self.name} needs a tokenizer with a token that ends a text", hint=_OTHERS)
        note = set_template(tokenizer, self.recipe.chat.template)
        self.notes = [] if note is None else [note]
        self.ends = stops(tokenizer)
        self.system = self.recipe.chat.system
        self._plain_head = False

    @classmethod
    def suits(cls, config: Any) -> bool:
        """Decoders: what a model was made as where that is known, else by the library's table."""
        made = next(iter(config.architectures or []), "")
        known = type(config) in cls.auto_class._model_mapping
        encodes = config.is_encoder_decoder or made.endswith(_ENCODERS) or config.model_type in _MASKED
        return known and not encodes

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """Lists of messages, or columns that go by the names of what is asked and answered."""
        for field in table.named(MESSAGES.names):
            if _are_conversations(table.values(field)):
                return Claim(3, f"'{field}' holds conversations")
        for prompt, response in PAIRS:
            found = [*worded(table, prompt), *worded(table, response)]
            if len(found) == 2:
                return Claim(3, f"'{found[1]}' answers '{found[0]}'")
        texts = table.looking("text")
        if len(texts) == 2 and len(table.fields) == 2:
            return Claim(1, f"'{texts[0]}' and '{texts[1]}' are texts and there is nothing else")
        return None

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The decoder with its language-modelling head, and the parameters that start fresh."""
        config = source.config
        if config.eos_token_id is None:
            config.bos_token_id, config.eos_token_id = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        config.ftcli = {"task": self.name, "system": self.system}
        model, fresh = load_weights(source, self.auto_class, config, _OTHERS)
        self.prepare(model)
        return model, fresh

    def adopt(self, config: Any) -> None:
        """The system message the model was trained with, unless another one is asked for."""
        self.system = self.system or saved_facts(config).get("system")

    def prepare(self, model: nn.Module) -> None:
        """Refuse a model that is no decoder; learn whether its head is a plain product."""
        probe = Probe.of(model)
        if not probe.causal:
            kind = getattr(model, "config").model_type  # noqa: B009
            raise UsageError(f"{kind} sees the tokens it would have to tell", hint=_OTHERS)
        self._plain_head = probe.plain_head
        head_at_places(model)
        own: Any = getattr(model, "generation_config", None)
        if own is not None:  # for whoever generates with the saved model
            own.eos_token_id = self.ends if len(self.ends) > 1 else self.ends[0]

    # Rows -> batches ------------------------------------------------------------------------------------------

    @property
    def _most_new(self) -> int:
        """Tokens of an answer at most; at least half of `max_length` is left to what is asked."""
        return min(self.recipe.generation.most, self.max_length - self.max_length // 2)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Conversations with their answers; those that end with somebody else's turn are to be gone on with."""
        turns = [turns_of(row, self.system) for row in rows]
        if turns[0][-1]["role"] != "assistant":
            return [self._to_go_on(ids) for ids, _ in tokens_of(self.tokenizer, [self._asked(t) for t in turns])]
        whole = [rendered(self.tokenizer, each) for each in turns]
        found = tokens_of(self.tokenizer, [each.text for each in whole])
        return [self._learnt(ids, answered(starts, w.answers)) for w, (ids, starts) in zip(whole, found, strict=True)]

    def _asked(self, turns: list[dict[str, str]]) -> str:
        return asked(self.tokenizer, turns)

    def _to_go_on(self, ids: np.ndarray) -> Example:
        room = self.max_length - self._most_new
        return {"input_ids": ids[-room:], "truncated": len(ids) > room}

    def _learnt(self, ids: np.ndarray, is_answer: np.ndarray) -> Example:
        """All tokens up to the last of an answer, which is only told; ``labels`` are the answers' tokens, ``spots`` the
        places of the tokens that each comes after."""
        cut = len(ids) > self.max_length
        spots = np.flatnonzero(is_answer[1 : self.max_length])
        read_to = int(spots[-1]) + 1 if len(spots) else 1
        labels = ids[spots + 1]
        return {"input_ids": ids[:read_to], "labels": labels, "spots": spots.astype(np.int32), "truncated": cut}

    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row; None where it cannot be told."""
        of_tokenizer = settings(self.tokenizer)
        own = {"max_length": self.max_length, "template": self.tokenizer.chat_template, "chat": 1,
               "system": self.system}  # fmt: skip
        return None if of_tokenizer is None else {**of_tokenizer, **own}

    def collate(self, examples: Sequence[Example]) -> Batch:
        learns = "labels" in examples[0]
        # Generation wants every text to end at the same place.
        side = "right" if learns else "left"
        batch: Batch = {**pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple, side=side)}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        if learns:
            width = batch["input_ids"].shape[1]
            spots = [example["spots"].astype(np.int64) + row * width for row, example in enumerate(examples)]
            batch["places"] = torch.from_numpy(np.concatenate(spots))
            batch["per_row"] = [len(example["labels"]) for example in examples]
            batch["labels"] = torch.from_numpy(np.concatenate([e["labels"] for e in examples]).astype(np.int64))
        return batch

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """What became of the answers' tokens, where there are answers; else conversations gone on with."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if "labels" not in batch:
            own = self.tokenizer.pad_token_id
            fill = self.ends[0] if own is None else int(own)
            return go_on(
                model,
                batch["input_ids"],
                batch["attention_mask"],
                self.recipe.generation,
                most=self._most_new,
                pad=fill,
                end=self.ends,
            )
        with known_rows(batch["rows"]):
            said = tokens_told(model, inputs, batch["places"], plain_head=self._plain_head)
        return told(*said, batch["labels"], smoothing=0.0)

    def tell(self, model: Any, batch: Batch) -> dict[str, Any]:
        """What became of the answers' tokens, and of each all that could have: ``logits`` (tokens, vocabulary)."""
        with known_rows(batch["rows"]), at_places(batch["places"]):
            logits = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits[0]
        return {**told(logits, None, batch["labels"]), "logits": logits}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Any]:
        return {"loss": outputs["loss"]}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """Sums where there are answers; else what the assistant says next."""
        if "labels" in batch:
            per_row = batch["per_row"]
            sums = zip(by_row(outputs["nll"], per_row), per_row, by_row(outputs["right"], per_row), strict=True)
            return [{"told": row} for row in sums]
        new = outputs[:, batch["input_ids"].shape[1] :].cpu()
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [{"prediction": text.strip()} for text in texts]

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Perplexity of the answers, and the share of their tokens that were the likeliest."""
        from ftcli.metrics.language import of_tokens

        return Evaluation(**of_tokens([p["told"] for p in predictions], bootstrap=bootstrap, seed=seed))

    def score_resamples(self, rows: Rows, predictions: Sequence[Prediction], counts: Any) -> dict[str, Any]:
        """The same, and the loss."""
        from ftcli.metrics.language import of_token_sums

        return of_token_sums(counts @ np.array([p["told"] for p in predictions], dtype=np.float64))

    def metric_names(self) -> list[str]:
        return ["loss", "perplexity", "token_accuracy"]

    def asked(self, row: Row) -> tuple[str, Row] | None:
        """The end of what is asked in a row, and the row without its last answer."""
        shown = {role: value for role, value in row.items() if role != "response"}
        if row.get("messages") is not None:
            try:
                shown["messages"] = read(row["messages"], predicting=True)
            except NoConversation:
                return None
        said = " ".join(turns_of(shown, None)[-1]["content"].split())
        return said if len(said) <= _SHOWN else f"... {said[-_SHOWN:]}", shown


_ENCODERS = ("ForMaskedLM", "ForPreTraining", "ForTokenClassification", "ForQuestionAnswering")
_MASKED = frozenset(
    {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert", "modernbert", "roformer",
     "big_bird", "ernie", "megatron-bert", "data2vec-text", "rembert", "mobilebert"}
)  # fmt: skip
"""Encoders for which the library has a decoder too."""


def _are_conversations(values: Sequence[Any]) -> bool:
    for value in values[:20]:
        try:
            read(value)
        except NoConversation:
            return False
    return bool(values)
