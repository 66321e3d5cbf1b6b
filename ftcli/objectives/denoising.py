"""Denoising with an encoder and a decoder: read a text with spans missing, write what is missing, or all of it.

Span corruption is T5's (Raffel et al. 2020, JMLR 21, section 3.1.4), text infilling BART's (Lewis et al. 2020, ACL,
section 2.2). A tokenizer with sentinels (``<extra_id_0>``, ...) means the first, one with a mask token the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM

from ftcli.contract import Batch, Example, Outputs, Prediction, Row
from ftcli.data.examples import lengths
from ftcli.data.masking import corrupted_lengths, infill, restore, span_corruption
from ftcli.data.pieces import Pieces, cut
from ftcli.data.targets import told_from_the_left
from ftcli.data.texts import pad, tokenize
from ftcli.errors import UsageError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.decoder import go_on
from ftcli.models.heads import at_places, head_at_places
from ftcli.objectives.texts import TextObjective
from ftcli.recipe.schema import Recipe

SPAN_RATE, INFILL_RATE = 0.15, 0.3
"""Shares of the tokens hidden, as in the papers."""
PROMPT_WORDS = 12


class Denoising(TextObjective):
    """Spans of one text, written from the rest of it."""

    name = "denoising"
    terms = ("denoising",)
    auto_class = AutoModelForSeq2SeqLM

    def __init__(self, tokenizer: Any, max_length: int, recipe: Recipe) -> None:
        super().__init__(tokenizer, max_length, recipe)
        known = tokenizer.get_vocab()
        sentinels = [known[name] for i in range(len(known)) if (name := f"<extra_id_{i}>") in known]
        self.sentinels = np.array(sentinels, dtype=np.int32)
        """T5's, in order; none where texts are rewritten whole."""
        if tokenizer.eos_token_id is None or not (len(sentinels) > 1 or tokenizer.mask_token_id is not None):
            raise UsageError(
                "objective denoising needs a tokenizer with an end token and sentinels (<extra_id_0>, ...) or a mask",
                hint="--model preset:t5-tiny, or another T5 or BART",
            )
        # Text that looks like one of these would say what is not so.
        control = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.mask_token_id}
        self._text = np.ones(len(tokenizer), dtype=bool)
        self._text[[i for i in {*control, *sentinels} if i is not None]] = False
        self._start: int = tokenizer.pad_token_id or 0

    def prepare(self, model: nn.Module) -> None:
        """Learn what the model's decoder starts with; what is padding costs no vocabulary of logits."""
        head_at_places(model)
        start = getattr(model.config, "decoder_start_token_id", None)
        self._start = self._start if start is None else start

    # Documents -> examples ------------------------------------------------------------------------------------

    @property
    def _rate(self) -> float:
        asked = self.recipe.pretrain.mask_rate
        return asked if asked is not None else SPAN_RATE if len(self.sentinels) else INFILL_RATE

    @property
    def _noise(self) -> dict[str, float]:
        return {"rate": self._rate, "mean_span": self.recipe.pretrain.mean_span}

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """Pieces of one document each, as long as what the encoder reads of them fits `max_length`."""
        around = len(self.frame.before) + len(self.frame.after)
        room = max(1, self.max_length - around)
        if len(self.sentinels):
            # What is hidden takes less room than it had, so that a piece may be longer than what is left of it.
            before = len(self.frame.before)
            while before + self._read(room + 1) <= self.max_length:
                room += 1
        return Pieces(documents, self.frame, cut(lengths(documents), room))

    def _read(self, tokens: int) -> int:
        """Tokens the encoder reads of a piece of so many."""
        return corrupted_lengths(tokens, **self._noise, sentinels=len(self.sentinels))[0]

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """What the encoder reads as ``input_ids``; ``labels`` is what the decoder is to write."""
        given = example["input_ids"]
        before, after = np.array(self.frame.before, given.dtype), np.array(self.frame.after, given.dtype)
        text = given[len(before) : len(given) - len(after)]
        text = text[self._text[text]]
        if len(self.sentinels):
            eos = self.tokenizer.eos_token_id
            inputs, labels = span_corruption(text, random, **self._noise, sentinels=self.sentinels, eos=eos)
            return {**example, "input_ids": np.concatenate([before, inputs]), "labels": labels}
        inputs = infill(text, random, **self._noise, mask_id=self.tokenizer.mask_token_id)
        # Spans of no length could make it longer than the model can read.
        inputs = inputs[: self.max_length - len(before) - len(after)]
        labels = np.concatenate([before, text, after])
        return {**example, "input_ids": np.concatenate([before, inputs, after]), "labels": labels}

    # Examples -> batches --------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Texts with sentinels or masks in them, to be filled."""
        return tokenize(self.tokenizer, [row["text"] for row in rows], self.max_length)

    def collate(self, examples: Sequence[Example]) -> Batch:
        padded = pad(self.tokenizer, examples, self.max_length, self.pad_to_multiple)
        batch: Batch = {name: padded[name] for name in ("input_ids", "attention_mask")}
        if "labels" not in examples[0]:
            return batch
        pad_id = self.tokenizer.pad_token_id or 0
        targets = [example["labels"] for example in examples]
        return batch | told_from_the_left(targets, start=self._start, pad=pad_id, multiple=self.pad_to_multiple)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"denoising": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits (targets, vocabulary) where there are answers; else the tokens the model writes (rows, tokens)."""
        read = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if "labels" not in batch:
            return self._write(model, read)
        # The decoder sees what came before only: padding after the end needs no mask.
        with at_places(batch["places"]):
            return model(**read, decoder_input_ids=batch["decoder_input_ids"], use_cache=False).logits[0]

    def _write(self, model: Any, read: Batch) -> Tensor:
        ids, mask, own = read["input_ids"], read["attention_mask"], self.tokenizer
        recipe, pad = self.recipe.generation, own.pad_token_id or 0
        # A text written anew is as long as it was, and as much longer as what fills its blanks may be.
        most = recipe.most + (0 if len(self.sentinels) else ids.shape[1])
        return go_on(model, ids, mask, recipe, most=most, pad=pad, end=own.eos_token_id)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"denoising": cross_entropy(outputs, batch["labels"])}

    # Batches -> answers ---------------------------------------------------------------------------------------

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """Sums where there are answers; else each text with its blanks filled, or as the model writes it anew."""
        if "labels" in batch:
            return self.sums(outputs, batch["labels"], batch["per_row"])
        texts = [
            self._filled(*row) for row in zip(batch["input_ids"].cpu().numpy(), outputs.cpu().numpy(), strict=True)
        ]
        return [{"prediction": self.tokenizer.decode(ids, skip_special_tokens=True)} for ids in texts]

    def _filled(self, read: np.ndarray, written: np.ndarray) -> np.ndarray:
        if not len(self.sentinels):
            return written
        return restore(read, written[1:], self.sentinels, self.tokenizer.eos_token_id)

    def prompt(self, text: str) -> str:
        """The beginning of a text with a word missing, for a person to see what the model makes of it."""
        words = text.split()[:PROMPT_WORDS]
        if len(words) > 1:
            longest = max(range(1, len(words)), key=lambda i: len(words[i]))
            words[longest] = "<extra_id_0>" if len(self.sentinels) else self.tokenizer.mask_token
        return " ".join(words)
