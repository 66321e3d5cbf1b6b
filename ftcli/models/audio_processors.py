"""Feature extractors: what a model of sounds was trained to hear, as transformers keeps it beside the weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    ASTFeatureExtractor,
    AutoFeatureExtractor,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from ftcli.errors import UsageError
from ftcli.text import json_line

_RATE = 16_000
_VOCABULARIES = ("vocab.json", "tokenizer.json", "tokenizer_config.json")


class Hearing:
    """A feature extractor and, of a model that writes what it hears, the tokenizer beside it."""

    def __init__(self, extractor: Any, tokenizer: Any = None) -> None:
        self.extractor, self.tokenizer = extractor, tokenizer

    @property
    def rate(self) -> int:
        """Samples a second."""
        return int(self.extractor.sampling_rate)

    def save_pretrained(self, folder: Path) -> None:
        """Both, as transformers reads them."""
        self.extractor.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)


def takes_sounds(config: PretrainedConfig) -> bool:
    """True for an architecture of sounds."""
    return config.model_type in {
        *MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        *MODEL_FOR_CTC_MAPPING_NAMES,
        *MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    }


def writes_while_hearing(config: PretrainedConfig) -> bool:
    """True for an encoder that tells a character, or none, of each moment."""
    return config.model_type in MODEL_FOR_CTC_MAPPING_NAMES


def writes_after_hearing(config: PretrainedConfig) -> bool:
    """True for an encoder that hears, with a decoder that writes."""
    return config.model_type in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES


def open_hearing(config: PretrainedConfig, location: str, options: Mapping[str, Any]) -> Hearing | None:
    """The feature extractor, and the tokenizer if there is one, beside a model of sounds; None for another model.

    UsageError where there is none.
    """
    if not takes_sounds(config):
        return None
    if os.path.isdir(location) and not os.path.isfile(os.path.join(location, "preprocessor_config.json")):
        raise UsageError(
            f"no feature extractor in '{location}'", hint="preprocessor_config.json belongs beside config.json"
        )
    extractor = AutoFeatureExtractor.from_pretrained(location, **options)
    if os.path.isdir(location) and not any(os.path.isfile(os.path.join(location, name)) for name in _VOCABULARIES):
        return Hearing(extractor)
    try:
        return Hearing(extractor, AutoTokenizer.from_pretrained(location, **options))
    except (OSError, ValueError, TypeError, KeyError):  # one that was only pretrained has none
        return Hearing(extractor)


def plain_hearing(config: PretrainedConfig) -> Hearing | None:
    """What the published models of an architecture hear by: for architectures of sounds without weights."""
    if not takes_sounds(config):
        return None
    if config.model_type == "audio-spectrogram-transformer":
        return Hearing(ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length))
    if config.model_type == "whisper":
        seconds = config.max_source_positions * 2 * 160 / _RATE  # 160 samples a frame, and two frames a position
        return Hearing(WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=round(seconds)))
    layered = getattr(config, "feat_extract_norm", "group") == "layer"
    return Hearing(Wav2Vec2FeatureExtractor(sampling_rate=_RATE, return_attention_mask=layered))


def character_tokenizer(characters: str) -> Any:
    """A tokenizer of single characters for connectionist temporal classification: its padding is the blank, ``|`` the
    space between words."""
    tokens = ["<pad>", "<unk>", "|", *sorted(set(characters) - {" ", "|"})]
    with TemporaryDirectory(prefix="ftcli-vocabulary-") as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json_line({token: number for number, token in enumerate(tokens)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file), bos_token=None, eos_token=None, unk_token="<unk>", pad_token="<pad>", word_delimiter_token="|"
        )


def writing_tokenizer(characters: str) -> Any:
    """A tokenizer of single characters for a decoder: a text begins with ``<s>`` and ends with ``</s>``."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    tokens = [*special, *sorted(set(characters) | {" "})]
    core = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
