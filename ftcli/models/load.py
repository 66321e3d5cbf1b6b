"""From a model's name to its configuration, tokenizer and weights; only safetensors are read."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from ftcli.bundled import PREFIX, find_bundled
from ftcli.errors import UsageError, did_you_mean
from ftcli.hub import as_reachable, endpoint
from ftcli.models.adapted import (
    architecture,
    base_name,
    fitted,
    merged,
    new_model,
    own_config,
    put_together,
    read_base,
    usable,
)
from ftcli.models.added_tokens import extend, grow
from ftcli.models.audio_processors import Hearing, open_hearing, plain_hearing
from ftcli.models.failures import explain, refuse_pickles
from ftcli.models.image_processors import open_processor, plain_processor
from ftcli.models.places import hub_name, local_folder
from ftcli.models.presets import preset
from ftcli.models.quantized import settings
from ftcli.recipe.schema import ModelRecipe

LONGEST_BY_DEFAULT = 512
"""Tokens per text where nobody says otherwise; longer contexts are asked for with --max-length."""


@dataclass(frozen=True)
class Source:
    """A model before its weights are read."""

    name: str
    """As the user wrote it."""
    location: str | None
    """What `from_pretrained` takes; None for a preset."""
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase | None
    """None for a preset, and for a model of images or sounds."""
    revision: str | None = None
    trust_remote_code: bool = False
    run: Path | None = None
    """The run folder the model came out of."""
    note: str | None = None
    """What the user should know of where it came from."""
    images: Any = None
    """The image processor of a model that takes images."""
    hearing: Hearing | None = None
    """The same of one that takes sounds."""
    dropout: Mapping[str, Any] = field(default_factory=dict)
    """Rates of dropout that the configuration came with, by name, where a recipe set others."""
    added: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Tokens that the tokenizer has and the weights lack: id -> ids of its pieces (see `added_tokens.extend`)."""
    base: Source | None = None
    """The model under what `location` holds, where that is no whole model (see `ftcli.models.adapted`)."""
    unmerged: bool = False
    """Leave what was learnt beside the base's weights there, as it was trained."""
    reserved: int = 0
    """Positions that a method takes for itself."""
    quantize: str = "none"
    """How the weights are kept, as in `method.quantize`."""
    cut: Callable[[nn.Module], None] | None = None
    """What makes the model smaller once its weights are read."""

    @property
    def processor(self) -> Any:
        """What makes a model's inputs of what people give it: its tokenizer, image processor or feature extractor."""
        return self.images or self.hearing or self.tokenizer

    @property
    def takes(self) -> Literal["text", "image", "audio"]:
        """The kind of what the model is given."""
        return "image" if self.images is not None else "audio" if self.hearing is not None else "text"

    @property
    def path(self) -> Path | None:
        """The folder the user named, where it is one."""
        path = Path(self.name).expanduser()
        return path if not self.from_scratch and not self.name.startswith(PREFIX) and path.exists() else None

    @property
    def from_scratch(self) -> bool:
        return self.location is None

    @property
    def longest(self) -> int:
        """Tokens the architecture and the tokenizer can take, special tokens included."""
        limits = [10**9]
        positions = getattr(self.config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            # The RoBERTa family starts counting positions after the padding index.
            offset = (self.config.pad_token_id or 0) + 1 if "roberta" in self.config.model_type else 0
            limits.append(positions - offset - self.reserved)
        if self.tokenizer is not None and self.tokenizer.model_max_length < 10**9:
            limits.append(int(self.tokenizer.model_max_length))
        return min(limits)

    def max_length(self, asked: int | None) -> int:
        """The tokens per text to use; UsageError where the model cannot take what was asked for."""
        if asked is None:
            return min(self.longest, LONGEST_BY_DEFAULT)
        if asked > self.longest:
            raise UsageError(
                f"max_length is {asked}, but {self.name} takes at most {self.longest} tokens",
                hint=f"--max-length {self.longest}",
            )
        return asked

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Source:
        """The preset with a tokenizer, its vocabulary size and special tokens put into the configuration."""
        config = self.config
        if config.is_encoder_decoder:
            # BART's decoder starts with the end of a text, T5's with padding.
            start = getattr(config, "decoder_start_token_id", None)
            from_end = start is not None and start == config.eos_token_id
            config.decoder_start_token_id = tokenizer.eos_token_id if from_end else tokenizer.pad_token_id
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        for role in ("bos", "eos", "cls", "sep", "forced_eos"):
            if getattr(config, f"{role}_token_id", None) is not None:
                setattr(config, f"{role}_token_id", getattr(tokenizer, f"{role.removeprefix('forced_')}_token_id"))
        return replace(self, tokenizer=tokenizer)

    def with_tokens(self, tokens: Sequence[str]) -> Source:
        """The model with `tokens` in its tokenizer, and in its weights once they are read."""
        if self.tokenizer is None:
            raise UsageError(f"model.add_tokens: {self.name} reads no texts", hint="leave it out")
        added = extend(self.tokenizer, tokens)
        return self.with_tokenizer(self.tokenizer) if self.from_scratch else replace(self, added=added)


def open_source(recipe: ModelRecipe) -> Source:
    """Find a model (Hub name, folder, run folder, builtin:NAME or preset:NAME); read its configuration and tokenizer.

    Raises UsageError for a name that leads nowhere, a pickle-only checkpoint or code that is not trusted.
    """
    name = recipe.name
    if not name:
        raise UsageError("no model given", hint="--model bert-base-cased, a folder, or --model builtin:bert-tiny-en")
    if name.startswith("preset:"):
        values = {**preset(name.removeprefix("preset:")), **recipe.config}
        kind = values.pop("model_type")
        _configure(AutoConfig.for_model(kind), values, name)
        config = AutoConfig.for_model(
            kind, **values
        )  # anew: some settings follow from others, as Llama's size of a head
        images, hearing = plain_processor(config), plain_hearing(config)
        return Source(name, None, config, None, images=images, hearing=hearing)
    bundled = name.startswith(PREFIX)
    path = find_bundled("models", "model", name.removeprefix(PREFIX)) if bundled else Path(name).expanduser()
    run = path if (path / "recipe.yaml").is_file() or (path / "model").is_dir() else None
    location = local_folder(path, run) if path.exists() else hub_name(name)
    options: dict[str, Any] = {"revision": recipe.revision, "trust_remote_code": recipe.trust_remote_code}
    try:
        with nullcontext(True) if path.exists() else as_reachable() as online:
            if online and not path.exists():
                refuse_pickles(location, recipe.revision)
            config = AutoConfig.from_pretrained(location, **options)
            images, hearing = open_processor(config, location, options), open_hearing(config, location, options)
            tokenizer = None if images or hearing else AutoTokenizer.from_pretrained(location, **options)
    except Exception as error:
        raise explain(error, name, location) from error
    told = read_base(Path(location)) if path.exists() else None
    base = None
    if told is not None:
        under = recipe.base or base_name(told, Path(location))
        trust = recipe.trust_remote_code
        base = open_source(ModelRecipe(name=under, revision=told.get("revision"), trust_remote_code=trust))
    elif recipe.base is not None:
        raise UsageError(f"model.base: {name} is a whole model and needs none", hint="leave it out")
    note = None if online else f"the Hub ({endpoint()}) could not be reached: {name} as in the cache"
    source = Source(
        name, location, config, tokenizer, recipe.revision, recipe.trust_remote_code, run, note, images, hearing,
        base=base, reserved=int((told or {}).get("reserved", 0)),
    )  # fmt: skip
    if tokenizer is not None:
        _check_tokenizer(tokenizer, config, name)
    _configure(config, recipe.config, name)
    return source


def reference(source: Source, folder: Path) -> dict[str, Any]:
    """What ``base.json`` in `folder` says of a model: its name, or where it lies, absolute and seen from there."""
    if source.path is None:
        named = {"name": source.name}
    else:
        place = source.path.absolute()
        named = {"name": str(place), "relative": os.path.relpath(place, folder.absolute())}
    return named if source.revision is None else {**named, "revision": source.revision}


def _check_tokenizer(tokenizer: Any, config: PretrainedConfig, name: str) -> None:
    """UsageError where transformers made one up; a padding token where there is none."""
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes up where there are no files
        raise UsageError(f"no tokenizer in '{name}'", hint="tokenizer.json (or vocab.txt) belongs beside config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id


def set_dropout(config: PretrainedConfig, rate: float) -> dict[str, Any]:
    """Set every dropout rate the configuration has; returns those it had, by name."""
    words = ("dropout", "pdrop", "dropout_prob", "dropout_rate")
    before = {
        key: value
        for key, value in config.to_dict().items()
        if any(key.endswith(word) for word in words) and (value is None or isinstance(value, float | int))
    }
    for key in before:
        setattr(config, key, rate)
    return before


def load_weights(
    source: Source, auto_class: Any, config: PretrainedConfig, hint: str | None = None
) -> tuple[nn.Module, list[str]]:
    """The model of `auto_class` in fp32, and the names of parameters the checkpoint lacked (freshly initialised).

    `hint` says what to do where the architecture has no such model (a UsageError).
    """
    model, fresh = _load(source, auto_class, copy.deepcopy(config) if source.cut else config, hint)
    if source.cut is not None:
        source.cut(model)
    return model.float(), fresh


def _load(source: Source, auto_class: Any, config: PretrainedConfig, hint: str | None) -> tuple[nn.Module, list[str]]:
    if source.base is not None:
        return _load_adapted(source, auto_class, config)
    try:
        if source.from_scratch:
            model: nn.Module = auto_class.from_config(config)
            return model.float(), []
        with nullcontext() if Path(str(source.location)).exists() else as_reachable():
            model, report = auto_class.from_pretrained(
                source.location,
                config=config,
                revision=source.revision,
                trust_remote_code=source.trust_remote_code,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                **settings(source.quantize),
            )
    except Exception as error:
        if isinstance(error, ValueError) and "Unrecognized configuration class" in str(error):
            what = auto_class.__name__.removeprefix("AutoModelFor")
            raise UsageError(f"{source.name} ({config.model_type}) has no model for {what}", hint=hint) from None
        if source.from_scratch:
            raise
        raise explain(error, source.name, str(source.location)) from error
    fresh = {*report["missing_keys"], *(key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"])}
    if len(fresh) == len(model.state_dict()):
        raise UsageError(f"no weight of {source.name} fits a {config.model_type} model; is this its checkpoint?")
    if source.added:
        grow(model, source.added)
    return model.float() if source.quantize == "none" else model, sorted(fresh)


def _load_adapted(source: Source, auto_class: Any, config: PretrainedConfig) -> tuple[nn.Module, list[str]]:
    """A base and what a run learnt beside it: as it was trained, or as one model for whatever comes next."""
    assert source.base is not None
    folder = Path(str(source.location))
    told = read_base(folder)
    assert told is not None
    own = own_config(str(folder), config)
    under = replace(source.base, quantize=str(told.get("quantize", "none")))
    model, _ = load_weights(under, architecture(own, auto_class), own)
    whole, mergeable = put_together(model, told, folder)
    if source.unmerged:
        return usable(whole), []
    whole = merged(whole, mergeable, told, source.name)
    fresh_model: nn.Module = new_model(auto_class, config)
    fresh = fitted(fresh_model, whole)
    if source.added:
        grow(fresh_model, source.added)
    return fresh_model.float(), fresh


def _configure(config: PretrainedConfig, changes: Mapping[str, Any], name: str) -> PretrainedConfig:
    known = config.to_dict()
    for key, value in changes.items():
        if key not in known:
            raise UsageError(f"model.config.{key}: {name} has no such setting", hint=did_you_mean(key, known))
        expected = known[key]
        if isinstance(expected, int | float) and not isinstance(expected, bool) and not isinstance(value, int | float):
            raise UsageError(f"model.config.{key} is {value!r}; expected a number such as {expected}")
        setattr(config, key, value)
    heads, hidden = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if isinstance(heads, int) and isinstance(hidden, int) and (heads < 1 or hidden < 1 or hidden % heads):
        raise UsageError(
            f"model.config: hidden_size {hidden} is not a multiple of num_attention_heads {heads}",
            hint="set both, e.g. hidden_size=256 num_attention_heads=4",
        )
    return config
