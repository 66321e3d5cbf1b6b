"""Masked image modelling: hide most patches of an image, learn to paint them from those that are left.

He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), for ViT-MAE: the encoder sees
what is not hidden, a small decoder paints the rest; squared error, over patches normalised one by one where
`norm_pix_loss` of the model says so. Xie et al. 2022, "SimMIM" (arXiv:2111.09886), for a plain ViT: hidden patches are
replaced by a learnt one, a linear head paints them; absolute error. Here every image is hidden anew in each epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedImageModeling, AutoModelForPreTraining

from ftcli.contract import Batch, Evaluation, Example, Outputs, Prediction, Row, Rows
from ftcli.data.pixels import IMAGE, Pixels
from ftcli.errors import UsageError
from ftcli.models.load import Source, load_weights
from ftcli.models.mae import set_positions
from ftcli.objectives.unlabelled import Unlabelled
from ftcli.recipe.schema import Recipe

MASK_RATE = {"vit_mae": 0.75, "vit": 0.6, "deit": 0.6}
"""Architectures that can be trained so -> share of the patches hidden, as in the papers."""
_AT_A_TIME = 256
"""Images gone through at a time for the baseline."""


class MaskedImage(Unlabelled):
    """Patches of one image, painted from the others."""

    name = "masked-image"
    columns = (IMAGE,)
    pad_to_multiple = 1

    def __init__(self, processor: Any, max_length: int, recipe: Recipe) -> None:
        self.processor, self.recipe = processor, recipe
        self._config: Any = None
        self._pixels: Pixels | None = None
        self._grid = (0, 0)
        self._hidden = 0

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with what paints its patches, and the parameters that start fresh."""
        config: Any = source.config
        if config.model_type not in MASK_RATE:
            raise UsageError(
                f"{source.name} ({config.model_type}) cannot be trained by {self.name}; {', '.join(MASK_RATE)} can",
                hint="--model preset:mae-digits, preset:mae-base or facebook/vit-mae-base",
            )
        rate = self.recipe.pretrain.mask_rate or MASK_RATE[config.model_type]
        if config.model_type == "vit_mae":
            config.mask_ratio = rate
        else:
            config.encoder_stride = config.patch_size  # what is painted of each patch: all of it
        auto_class = AutoModelForPreTraining if config.model_type == "vit_mae" else AutoModelForMaskedImageModeling
        model, fresh = load_weights(source, auto_class, config)
        if source.from_scratch and config.model_type == "vit_mae":
            set_positions(model)
        self._prepare(config, rate)
        return model, fresh

    def load_model(self, source: Source) -> nn.Module:
        """A model that was pretrained before."""
        model, fresh = self.build_model(source)
        if fresh:
            raise UsageError(
                f"{source.name} was not trained by {self.name} (missing: {', '.join(fresh[:4])})",
                hint=f"pretrain it first: ftcli pretrain --objective {self.name} --model {source.name} --data D",
            )
        return model

    def _prepare(self, config: Any, rate: float) -> None:
        self._config, self._pixels = config, Pixels(self.processor, config)
        _, height, width = self._pixels.shape
        side = config.patch_size
        if not isinstance(side, int) or height != width or height % side or height != config.image_size:
            raise UsageError(
                f"{self.name} needs square images of {config.image_size} pixels, cut into whole patches of {side}; the "
                f"image processor makes {height} x {width}"
            )
        patches = (height // side) ** 2
        # As the model counts: it keeps the whole part of the share that is not hidden.
        self._hidden = patches - int(patches * (1 - rate))
        if not 0 < self._hidden < patches:
            raise UsageError(
                f"of {patches} patches, pretrain.mask_rate {rate:g} hides {self._hidden}",
                hint="--set pretrain.mask_rate=0.75, or smaller patches: --set model.config.patch_size=...",
            )

    # Images -> examples -> batches ----------------------------------------------------------------------------

    @property
    def pixels(self) -> Pixels:
        """Rows to pixels and pixels to values, as this model takes them."""
        assert self._pixels is not None, "the model comes first"
        return self._pixels

    def documents(self, rows: Sequence[Row]) -> list[Example]:
        """Each image whole."""
        return self.pixels.encode(rows)

    def encoding(self) -> Mapping[str, Any] | None:
        """None: pixels take many times the room of the files they come from, and are not kept for another run."""
        return None

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """An image is an example."""
        return documents

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """The example with ``labels``: 1 for each patch that is hidden, 0 for the others, row by row of the image."""
        return {**example, "labels": self._hide(random)}

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Images with the same patches hidden of each, to be painted."""
        hidden = self._hide(np.random.default_rng(0))
        return [{**example, "hidden": hidden} for example in self.pixels.encode(rows)]

    def _hide(self, random: np.random.Generator) -> np.ndarray:
        hidden = np.zeros((self.pixels.shape[1] // self._config.patch_size) ** 2, dtype=np.uint8)
        hidden[random.permutation(len(hidden))[: self._hidden]] = 1
        return hidden

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``hidden`` (rows, patches) bool; the same as ``labels`` where the examples are to learn from."""
        batch: Batch = self.pixels.collate(examples)
        name = "labels" if "labels" in examples[0] else "hidden"
        batch["hidden"] = torch.from_numpy(np.stack([example[name] for example in examples])).bool()
        if name == "labels":
            batch["labels"] = batch["hidden"]
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"mim": self._hidden * len(batch["labels"])}

    # Batches -> answers ---------------------------------------------------------------------------------------

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Patches as painted: (rows, patches, values of a patch)."""
        hidden = batch["hidden"]
        if self._config.model_type != "vit_mae":
            painted = model(pixel_values=batch["pixel_values"], bool_masked_pos=hidden).reconstruction
            return patches_of(painted, self._config.patch_size)
        # The model keeps the patches of least noise: those that are not hidden, in the order of the image.
        order = torch.linspace(0, 0.5, hidden.shape[1], device=hidden.device)
        return model(pixel_values=batch["pixel_values"], noise=hidden.float() + order).logits

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"mim": (self._errors(outputs, batch) * batch["hidden"]).sum()}

    def _errors(self, painted: Tensor, batch: Batch) -> Tensor:
        """(rows, patches) fp32: the mean error over the values of each patch."""
        difference = painted.float() - self._targets(batch["pixel_values"])
        return (difference**2 if self._config.model_type == "vit_mae" else difference.abs()).mean(-1)

    def _targets(self, values: Tensor) -> Tensor:
        """What is to be painted: (rows, patches, values of a patch)."""
        found = patches_of(values.float(), self._config.patch_size)
        if not getattr(self._config, "norm_pix_loss", False):
            return found
        return (found - found.mean(-1, keepdim=True)) / (found.var(-1, keepdim=True) + 1e-6).sqrt()

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """For each image the error of what was hidden: a sum and a count where there are answers, else the mean."""
        sums = (self._errors(outputs, batch) * batch["hidden"]).sum(-1).tolist()
        if "labels" in batch:
            return [{"nll": {"mim": error}, "count": {"mim": self._hidden}} for error in sums]
        return [{"prediction": error / self._hidden} for error in sums]

    def prompt(self, text: str) -> str:
        """Nothing a line of text could show."""
        return ""

    # Sums -> report -------------------------------------------------------------------------------------------

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Nothing beside the loss: the mean error of a hidden patch."""
        return Evaluation({})

    def metric_names(self) -> list[str]:
        return ["loss"]

    def baseline(self, examples: Sequence[Example], validation: Sequence[Example]) -> dict[str, float]:
        """The loss of painting, at each place, the mean of what the training images have there."""
        total: Any = 0.0
        for batch in self._batches(examples):
            total = total + self._targets(batch["pixel_values"]).double().sum(0)
        mean = total / len(examples)
        error = sum(float(self.losses(mean[None], batch)["mim"]) for batch in self._batches(validation))
        return {"mean_image_loss": error / (self._hidden * len(validation))}

    def _batches(self, examples: Sequence[Example]) -> Iterator[Batch]:
        for start in range(0, len(examples), _AT_A_TIME):
            chunk = examples[start : start + _AT_A_TIME]
            yield self.collate(chunk) if "labels" in chunk[0] else self.pixels.collate(chunk)


def patches_of(values: Tensor, side: int) -> Tensor:
    """(rows, channels, height, width) -> (rows, patches, side * side * channels), patches row by row of the image."""
    rows, channels, height, width = values.shape
    cut = values.reshape(rows, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(rows, -1, side * side * channels)
