"""Speech to text by an encoder that hears and a decoder that writes, as Whisper does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSpeechSeq2Seq

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.sounds import AUDIO
from ftcli.errors import UsageError
from ftcli.losses.supervised import cross_entropy
from ftcli.models.audio_processors import Hearing, writes_after_hearing, writing_tokenizer
from ftcli.models.load import Source, load_weights
from ftcli.recipe.schema import Recipe
from ftcli.tasks.sound_inputs import TRANSCRIPT, SoundInputs, spoken
from ftcli.tasks.task import BaseTask

_SPARE = 8
"""Positions of the decoder that marks before a text may take."""


class Seq2SeqAsr(SoundInputs, BaseTask):
    """Trained on the transcripts' tokens, each told from those before it; texts are generated (`generation`)."""

    name = "seq2seq-asr"
    columns: tuple[Column, ...] = (AUDIO, TRANSCRIPT)
    main_metric = "wer"
    auto_class = AutoModelForSpeechSeq2Seq

    def __init__(self, processor: Hearing, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.hearing = processor
        self._start, self._longest = 0, 448

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of sounds and one of what is said in them."""
        return spoken(table)

    @staticmethod
    def suits(config: Any) -> bool:
        """Whether models of this architecture can do the task."""
        return writes_after_hearing(config)

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The model's own vocabulary; for one without, the characters of the transcripts."""
        if self.hearing.tokenizer is None:
            characters = "".join(sorted(set("".join(rows.column("transcript")))))
            self.hearing.tokenizer = writing_tokenizer(characters)
            self.notes = [f"{len(characters)} characters in the transcripts: {characters[:100]}"]

    def adopt(self, config: Any) -> None:
        if self.hearing.tokenizer is None:
            raise UsageError(
                "the model has no vocabulary to write with", hint="its tokenizer belongs beside config.json"
            )

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model, and the parameters that start fresh."""
        config, tokenizer = source.config, self.hearing.tokenizer
        if source.from_scratch:
            config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
            config.bos_token_id = config.decoder_start_token_id = tokenizer.bos_token_id
            config.eos_token_id = tokenizer.eos_token_id
            config.suppress_tokens = config.begin_suppress_tokens = None
        config.ftcli = {"task": self.name}
        hint = "--model openai/whisper-tiny, or preset:whisper-tiny"
        model, fresh = load_weights(source, self.auto_class, config, hint)
        self.prepare(model)
        return model, fresh

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        config: Any = model.config
        self._start = int(config.decoder_start_token_id)
        self._longest = int(getattr(config, "max_target_positions", 448))

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.heard(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("transcript") is not None:
                ids = list(self.hearing.tokenizer(" ".join(row["transcript"].split())).input_ids)
                ids = ids[1:] if ids and ids[0] == self._start else ids  # what starts a text is given, not told
                example["written"] = np.array(ids[: self._longest], dtype=np.int32)
                example["overlong"] = len(ids) > self._longest
        return examples

    def remarks(self, split: str, examples: Sequence[Example]) -> list[str]:
        """Sounds that were cut, and transcripts that were."""
        long = sum(bool(example.get("overlong")) for example in examples)
        said = f"{split}: {long:,} of {len(examples):,} transcripts have more than {self._longest} tokens and were cut"
        return [*super().remarks(split, examples), *([said] if long else [])]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Beside the input ``labels`` (rows, tokens), -100 where a text has ended, and ``decoder_input_ids``."""
        batch: Batch = self.waves.collate(examples)
        if "written" in examples[0]:
            width = max(len(example["written"]) for example in examples)
            labels = torch.full((len(examples), width), -100)
            for row, example in enumerate(examples):
                labels[row, : len(example["written"])] = torch.from_numpy(example["written"].astype(np.int64))
            given = labels.roll(1, dims=1)
            given[:, 0] = self._start
            batch["labels"] = labels
            batch["decoder_input_ids"] = given.masked_fill(given == -100, int(self.hearing.tokenizer.pad_token_id or 0))
        return batch

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``logits`` (rows, tokens, vocabulary) where there is a text to tell; outside training ``ids`` (rows, tokens)
        of what the model writes by itself."""
        found: dict[str, Tensor] = {}
        given = self.given(batch)
        if "labels" in batch:
            found["logits"] = model(**given, decoder_input_ids=batch["decoder_input_ids"]).logits
        if not model.training:
            wanted = self.recipe.generation
            found["ids"] = model.generate(
                **given,
                max_new_tokens=min(wanted.most, self._longest - _SPARE),
                num_beams=wanted.num_beams,
                do_sample=wanted.do_sample,
                **({"temperature": wanted.temperature, "top_p": wanted.top_p} if wanted.do_sample else {}),
            )
        return found

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": int((batch["labels"] != -100).sum())}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        told = batch["labels"] != -100
        return {"loss": cross_entropy(outputs["logits"][told], batch["labels"][told])}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        written = self.hearing.tokenizer.batch_decode(outputs["ids"].cpu().tolist(), skip_special_tokens=True)
        return [{"prediction": " ".join(text.split())} for text in written]

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Word and character error rates."""
        from ftcli.metrics.transcripts import transcripts

        true = [" ".join(text.split()) for text in rows.column("transcript")]
        return Evaluation(**transcripts([p["prediction"] for p in predictions], true, bootstrap=bootstrap, seed=seed))

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Whether each transcript is right as a whole."""
        true = [" ".join(text.split()) for text in rows.column("transcript")]
        said = [prediction["prediction"] for prediction in predictions]
        return [Verdict(told == meant, meant, told) for told, meant in zip(said, true, strict=True)]

    def metric_names(self) -> list[str]:
        return ["loss", "wer", "cer", "exact"]
