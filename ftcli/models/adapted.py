"""A model that is a base model and what a run learnt beside it: found, put together, and merged into one."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, PretrainedConfig

from ftcli.errors import UsageError
from ftcli.models.methods import adapter, pefted
from ftcli.models.methods.based import BASE, FORMAT, check_base


def read_base(folder: Path) -> dict[str, Any] | None:
    """What ``base.json`` says in a model folder; None where the folder holds a whole model."""
    file = folder / BASE
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        known = told["format"] == FORMAT and all(name in told for name in ("name", "method", "heads", "weights"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{file}: not readable ({error})") from None
    if not known:
        raise UsageError(f"{file} is of another version of ftcli", hint="train the run again, or use that version")
    return dict(told)


def base_name(told: Mapping[str, Any], folder: Path) -> str:
    """The base model's name; a local one is looked for where it was, then where it lay seen from the run."""
    name = str(told["name"])
    beside = (folder / told["relative"]) if told.get("relative") else None
    if beside is not None and not Path(name).exists() and beside.exists():
        return str(os.path.normpath(beside))
    if beside is not None and not Path(name).exists():
        raise UsageError(
            f"'{folder}' holds what was learnt beside {name}, which is not there any more",
            hint="--set model.base=FOLDER says where it is now",
        )
    return name


def own_config(folder: str, config: PretrainedConfig) -> PretrainedConfig:
    """`config` with the labels that the run in `folder` itself has."""
    saved = AutoConfig.from_pretrained(folder)
    found = deepcopy(config)
    found.num_labels, found.id2label, found.label2id = saved.num_labels, saved.id2label, saved.label2id
    return found


def architecture(config: PretrainedConfig, otherwise: Any) -> Any:
    """The transformers class that a configuration was saved with."""
    import transformers

    name = next(iter(config.architectures or []), "")
    return getattr(transformers, name, otherwise)


def put_together(model: nn.Module, told: Mapping[str, Any], folder: Path) -> tuple[nn.Module, bool]:
    """The base model with what was learnt beside it, and whether that can be merged into its weights."""
    check_base(model, told, folder)
    if (folder / adapter.CONFIG).is_file():
        return adapter.attach(model, folder), False
    for file in (pefted.CONFIG, pefted.WEIGHTS):
        if not (folder / file).is_file():
            raise UsageError(f"no {file} in '{folder}'", hint="copy the whole model folder")
    peft = pefted.attach(model, folder)
    return peft, not pefted.is_prompt(peft)


def usable(model: Any) -> nn.Module:
    """The model to call: peft's own only where it has to put something before the texts."""
    whole: nn.Module = model
    if hasattr(model, "get_base_model") and not pefted.is_prompt(model):
        whole = model.get_base_model()
    return whole


def merged(model: Any, mergeable: bool, told: Mapping[str, Any], name: str) -> nn.Module:
    """One model, with what was learnt in its weights; UsageError for a method that works beside them."""
    if not mergeable:
        raise UsageError(
            f"{name} was trained by method {told['method']}, which cannot be put into the weights of its base",
            hint=f"start from {told['name']}, or from a run of lora",
        )
    return pefted.merge(model)


def fitted(model: nn.Module, other: nn.Module) -> list[str]:
    """Put the weights of `other` into `model` where name and shape agree; the names of those left as they were."""
    given = other.state_dict()
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(fitting, strict=False)
    parameters = {name for name, _ in model.named_parameters()}
    return sorted(parameters - set(fitting))


def input_names(model: nn.Module) -> set[str]:
    """What the model's forward pass takes, by name; peft's passes on what its base takes."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return set(inspect.signature(inner.forward).parameters)


def new_model(kind: Any, config: PretrainedConfig) -> nn.Module:
    """A model without weights, of an Auto class or of an architecture's own."""
    make = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    found: nn.Module = make(config)
    return found
