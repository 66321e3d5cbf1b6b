"""Causal language modelling: tell each token of a text from those before it.

Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training". Every document is a text of its
own, from the token that begins texts to the one that ends them; no token sees another document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ftcli.contract import Batch, Example, Outputs, Prediction, Row
from ftcli.data.examples import lengths
from ftcli.data.pieces import Pieces, cut
from ftcli.data.texts import Frame, pad
from ftcli.errors import UsageError
from ftcli.losses.next_token import told
from ftcli.models.decoder import Probe, go_on, tokens_told
from ftcli.models.heads import head_at_places
from ftcli.models.load import Source
from ftcli.models.unpadded import FlatRows, known_rows
from ftcli.objectives.texts import WRONG_KIND, TextObjective
from ftcli.recipe.schema import Recipe
from ftcli.recipe.task_schema import GenerationRecipe

PROMPT_WORDS = 8
NO_FRAME = Frame((), (), (), 0)
"""Documents bring their special tokens themselves: a piece from the middle of one has none."""


class CausalLanguageModelling(TextObjective):
    """The next token, for every token of a text."""

    name = "clm"
    terms = ("clm",)
    auto_class = AutoModelForCausalLM

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe) -> None:
        super().__init__(tokenizer, max_length, recipe)
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        if end is None:  # what BERT's kind of tokenizer has in their place
            begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        if end is None:
            raise UsageError(
                f"objective {self.name} needs a tokenizer with a token that ends a text",
                hint="--objective mlm, or a --model whose tokenizer has an eos_token",
            )
        self.begin: list[int] = [] if begin is None else [int(begin)]
        self.end = int(end)
        self._plain_head = False
        ways = [(way.temperature, way.top_p, way.top_k) for way in (recipe.generation, GenerationRecipe())]
        if not recipe.generation.do_sample and ways[0] != ways[1]:
            raise UsageError(
                "generation.temperature, top_p and top_k shape draws, but none are made",
                hint="--set generation.do_sample=true",
            )

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The decoder with its language-modelling head, and the parameters that start fresh."""
        config = source.config
        if config.eos_token_id is None:
            config.bos_token_id, config.eos_token_id = next(iter(self.begin), None), self.end
        return super().build_model(source)

    def prepare(self, model: nn.Module) -> None:
        """Refuse a model that is no decoder; learn whether its head is a plain product."""
        probe = Probe.of(model)
        if not probe.causal:
            kind = getattr(model, "config").model_type  # noqa: B009
            raise UsageError(f"{kind} sees the tokens it would have to tell", hint=WRONG_KIND)
        self._plain_head = probe.plain_head
        head_at_places(model)

    # Documents -> examples ------------------------------------------------------------------------------------

    def documents(self, rows: Sequence[Row]) -> list[Example]:
        """Each text whole, between the tokens that begin and end one."""
        found = []
        for example in super().documents(rows):
            ids = example["input_ids"]
            around = [np.array(self.begin, dtype=ids.dtype), ids, np.array([self.end], dtype=ids.dtype)]
            found.append({"input_ids": np.concatenate(around) if len(ids) else ids})
        return found

    def encoding(self) -> Mapping[str, Any] | None:
        encoding = super().encoding()
        return None if encoding is None else {**encoding, "begin": self.begin, "end": self.end}

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """Pieces of at most `max_length` tokens, each of one document, that have one token in common with the next.

        So each token is told once: that with which a piece begins was told at the end of the piece before it.
        """
        runs = cut(lengths(documents) - 1, self.max_length - 1)
        runs[:, 2] += 1
        return Pieces(documents, NO_FRAME, runs)

    def occurrences(self, documents: Sequence[Example]) -> np.ndarray:
        counts = super().occurrences(documents)
        counts[self.begin] -= np.count_nonzero(lengths(documents))  # given, and never told
        return counts

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """All tokens but the last, which has nothing to tell; ``labels`` are those that come after each."""
        ids = example["input_ids"]
        return {**example, "input_ids": ids[:-1], "labels": ids[1:]}

    # Examples -> batches --------------------------------------------------------------------------------------

    @property
    def _most_new(self) -> int:
        """Tokens a text may go on for; at least half of `max_length` is left to what is given of it."""
        return min(self.recipe.generation.most, self.max_length - self.max_length // 2)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Texts to go on with; of those too long the end."""
        room = self.max_length - self._most_new
        found: list[Example] = []
        for example in super().documents(rows):
            ids = np.concatenate([np.array(self.begin, dtype=np.int32), example["input_ids"]])
            if not len(ids):
                ids = np.array([self.end], dtype=np.int32)
            found.append({"input_ids": ids[-room:], "truncated": len(ids) > room})
        return found

    def collate(self, examples: Sequence[Example]) -> Batch:
        answered = "labels" in examples[0]
        # Generation wants every text to end at the same place.
        side = "right" if answered else "left"
        batch: Batch = {**pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple, side=side)}
        batch["rows"] = FlatRows.of(batch["attention_mask"])
        if answered:
            batch["places"] = batch["rows"].places
            batch["per_row"] = [len(example["labels"]) for example in examples]
            batch["labels"] = torch.from_numpy(np.concatenate([e["labels"] for e in examples]).astype(np.int64))
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        targets = len(batch["labels"])
        return {"clm": targets, "z": targets} if self.recipe.pretrain.z_loss else {"clm": targets}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """In training the sums of the losses; in scoring also what each target adds; else texts gone on with."""
        if "labels" not in batch:
            ids, mask, end = batch["input_ids"], batch["attention_mask"], self.end
            fill = end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
            return go_on(model, ids, mask, self.recipe.generation, most=self._most_new, pad=fill, end=end)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with known_rows(batch["rows"]):
            said = tokens_told(model, inputs, batch["places"], plain_head=self._plain_head)
        found = told(*said, batch["labels"], z=self.recipe.pretrain.z_loss)
        return {"clm" if term == "loss" else term: value for term, value in found.items()}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {term: outputs[term] for term in ("clm", "z") if term in outputs}

    # Batches -> answers ---------------------------------------------------------------------------------------

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """Sums where there are answers; else what each text goes on with."""
        if "labels" in batch:
            return self.added(outputs["nll"], outputs["right"], batch["labels"], batch["per_row"])
        width = batch["input_ids"].shape[1]
        return [{"prediction": self._after(row[:width], row[width:])} for row in outputs.cpu()]

    def _after(self, prompt: Tensor, new: Tensor) -> str:
        """The text of the new tokens, with the space that stands before them."""
        before, whole = (
            str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in (prompt, torch.cat([prompt, new]))
        )
        return (
            whole[len(before) :]
            if whole.startswith(before)
            else str(self.tokenizer.decode(new, skip_special_tokens=True))
        )

    def prompt(self, text: str) -> str:
        """The beginning of a text, for a person to see how the model goes on."""
        return " ".join(text.split()[:PROMPT_WORDS])
