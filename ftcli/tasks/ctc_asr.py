"""Speech to text, character by character over time: connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCTC

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Row, Rows, Table
from ftcli.contract_options import Verdict
from ftcli.data.sounds import AUDIO
from ftcli.errors import UsageError
from ftcli.losses.alignment import ctc, room
from ftcli.models.audio_processors import Hearing, character_tokenizer, writes_while_hearing
from ftcli.models.backbone import outside_backbone
from ftcli.models.ctc_decoding import beam_search, best_path
from ftcli.models.fresh import start_over
from ftcli.models.load import Source, load_weights
from ftcli.recipe.schema import Recipe
from ftcli.tasks.sound_inputs import TRANSCRIPT, SoundInputs, spoken
from ftcli.tasks.task import BaseTask, saved_facts

_CASES: Mapping[str, Callable[[str], str]] = {"as-is": str, "upper": str.upper, "lower": str.lower}
"""How transcripts are written for a model: as they are where its vocabulary has their characters."""


class CtcAsr(SoundInputs, BaseTask):
    """A head over the frames of a wav2vec2-like encoder, one output for each character and for the blank."""

    name = "ctc-asr"
    columns: tuple[Column, ...] = (AUDIO, TRANSCRIPT)
    main_metric = "wer"
    auto_class = AutoModelForCTC

    def __init__(self, processor: Hearing, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.hearing = processor
        self.case = "as-is"
        self._fits = processor.tokenizer is not None
        """True where the vocabulary is the one that the model came with."""
        self._frames: Any = None

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of sounds and one of what is said in them."""
        return spoken(table)

    @staticmethod
    def suits(config: Any) -> bool:
        """Whether models of this architecture can do the task."""
        return writes_while_hearing(config)

    # Characters -----------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """The characters to be written: the model's own where it has all that occur, else those of the transcripts."""
        characters = set("".join(rows.column("transcript")))
        if self.hearing.tokenizer is not None:
            known = {*self.hearing.tokenizer.get_vocab(), " "}
            fitting = [case for case, change in _CASES.items() if set(change("".join(characters))) <= known]
            if fitting:
                self.case = fitting[0]
                said = "" if self.case == "as-is" else f"; transcripts are read in {self.case} case, as it writes"
                self.notes = [f"the model's own vocabulary of {len(known) - 1} characters{said}"]
                return
        self.hearing.tokenizer, self._fits = character_tokenizer("".join(characters)), False
        shown = "".join(sorted(characters - {" "}))
        self.notes = [f"{len(characters - {' '})} characters in the transcripts: {shown[:100]}"]

    def adopt(self, config: Any) -> None:
        """Take over how a saved model's transcripts are written."""
        self.case = str(saved_facts(config).get("case", "as-is"))
        if self.hearing.tokenizer is None:
            raise UsageError(
                "the model has no vocabulary to write with", hint="vocab.json belongs beside config.json; or train one"
            )

    def _written(self, text: str) -> str:
        change = _CASES.get(self.case, str)
        return " ".join(change(text).split())

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with a head for the characters, and the parameters that start fresh."""
        config, tokenizer = source.config, self.hearing.tokenizer
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.ftcli = {"task": self.name, "case": self.case}
        model, fresh = load_weights(
            source, self.auto_class, config, "--model facebook/wav2vec2-base, or preset:wav2vec2-tiny"
        )
        if not source.from_scratch and not fresh and not self._fits:
            fresh = outside_backbone(model)
            start_over(model, fresh)
        self.prepare(model)
        return model, fresh

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
        self._frames = inner._get_feat_extract_output_lengths

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        examples = self.heard(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("transcript") is not None:
                ids = self.hearing.tokenizer(self._written(row["transcript"])).input_ids
                example["characters"] = np.array(ids, dtype=np.int32)
        return examples

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Beside the input: ``frames`` (rows,) real ones, ``labels`` (all characters,), ``sizes`` (rows,) of them."""
        batch: Batch = self.waves.collate(examples)
        batch["frames"] = self._frames(batch["lengths"]).clamp(min=1)
        if "characters" in examples[0]:
            targets = [torch.from_numpy(example["characters"]).long() for example in examples]
            batch["labels"], batch["sizes"] = torch.cat(targets), torch.tensor([len(target) for target in targets])
            batch["written"] = sum(
                len(target)
                for target, frames in zip(targets, batch["frames"].tolist(), strict=True)
                if room(target) <= frames
            )
        return batch

    def remarks(self, split: str, examples: Sequence[Example]) -> list[str]:
        """Sounds that were cut, and those too short for their transcripts."""
        found = super().remarks(split, examples)
        if "characters" not in examples[0]:
            return found
        sizes = torch.tensor([len(example["values"]) for example in examples])
        rows = zip(examples, self._frames(sizes).tolist(), strict=True)
        short = sum(room(torch.from_numpy(example["characters"])) > frames for example, frames in rows)
        said = (
            f"{split}: {short:,} of {len(examples):,} sounds are too short for their transcripts, which teach nothing"
        )
        return [*found, said] if short else found

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """(rows, frames, characters)."""
        return model(**self.given(batch)).logits  # type: ignore[no-any-return]

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        """Characters that have room in their sounds."""
        return {"loss": int(batch["written"])}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        blank = self.hearing.tokenizer.pad_token_id
        return {"loss": ctc(outputs, batch["frames"], batch["labels"], batch["sizes"], blank)}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        tokenizer, beams = self.hearing.tokenizer, self.recipe.generation.num_beams
        likely = torch.log_softmax(outputs.to(torch.float32), dim=-1).double().cpu().numpy()
        found: list[Prediction] = []
        for row, frames in zip(likely, batch["frames"].tolist(), strict=True):
            blank, real = tokenizer.pad_token_id, row[:frames]
            ids = best_path(real, blank) if beams == 1 else beam_search(real, blank, beams)
            found.append({"prediction": tokenizer.decode(ids, group_tokens=False).strip()})
        return found

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Word and character error rates."""
        from ftcli.metrics.transcripts import transcripts

        true = [self._written(text) for text in rows.column("transcript")]
        return Evaluation(**transcripts([p["prediction"] for p in predictions], true, bootstrap=bootstrap, seed=seed))

    def judge(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Verdict]:
        """Whether each transcript is right as a whole."""
        true = [self._written(text) for text in rows.column("transcript")]
        said = [prediction["prediction"] for prediction in predictions]
        return [Verdict(told == meant, meant, told) for told, meant in zip(said, true, strict=True)]

    def metric_names(self) -> list[str]:
        return ["loss", "wer", "cer", "exact"]
