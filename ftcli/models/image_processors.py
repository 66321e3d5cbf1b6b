"""Image processors: what a model of images was trained to see, as transformers keeps it beside the weights."""

from __future__ import annotations

import os
from typing import Any

import transformers
from transformers import AutoConfig, AutoImageProcessor, PretrainedConfig, ViTImageProcessor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING_NAMES,
    MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ftcli.errors import UsageError

_ENCODERS_OF = {"vit_mae": "vit"}
"""Pretraining architectures -> the one whose encoder, with the same names of weights, they train."""


_DETECTORS = {"yolos": "YolosImageProcessor", "detr": "DetrImageProcessor"}
"""Architectures that tell boxes -> the processor that they are published with."""


def takes_images(config: PretrainedConfig) -> bool:
    """True for an architecture of images (and not of texts as well)."""
    kind = _ENCODERS_OF.get(config.model_type, config.model_type)
    known = {
        *MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        *MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING_NAMES,
        *MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    }
    return kind in known and kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


def classifier_config(config: PretrainedConfig) -> PretrainedConfig:
    """The configuration of a classifier on this architecture's encoder: `config` itself where it has classifiers."""
    kind = _ENCODERS_OF.get(config.model_type)
    if kind is None:
        return config
    found = AutoConfig.for_model(kind)
    shared = found.to_dict().keys() & config.to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    for key in sorted(shared):
        setattr(found, key, getattr(config, key))
    return found


def open_processor(config: PretrainedConfig, location: str, options: dict[str, Any]) -> Any:
    """The image processor beside a model of images, None for another model; UsageError where there is none."""
    if not takes_images(config):
        return None
    if os.path.isdir(location) and not os.path.isfile(os.path.join(location, "preprocessor_config.json")):
        raise UsageError(
            f"no image processor in '{location}'", hint="preprocessor_config.json belongs beside config.json"
        )
    return AutoImageProcessor.from_pretrained(location, **options)


def plain_processor(config: PretrainedConfig) -> Any:
    """Resizing to the architecture's size, values from -1 to 1: for architectures of images without weights."""
    if not takes_images(config):
        return None
    channels: int = getattr(config, "num_channels", 3)
    size = getattr(config, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    half = [0.5] * channels
    if config.model_type in _DETECTORS:
        kind = getattr(transformers, _DETECTORS[config.model_type])  # imported where it is wanted: each one has its say
        return kind(size={"height": height, "width": width}, image_mean=half, image_std=half, do_pad=False)
    return ViTImageProcessor(size={"height": height, "width": width}, image_mean=half, image_std=half)
