"""Settings of regularisation; `ftcli.engine.regularizers` does what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftcli.recipe.bounds import bounded as _key


@dataclass(frozen=True, kw_only=True)
class RegularizeRecipe:
    """What keeps the model from learning its training rows by heart."""

    dropout: float | None = _key(None, at_least=0, below=1)
    """Sets every dropout rate of the model; null keeps the model's own."""
    token_dropout: float | None = _key(None, at_least=0, below=1)
    """Share of tokens hidden in each training batch; by default some for a model from scratch, else none."""
    label_smoothing: float = _key(0.0, at_least=0, below=1)
    """Share of each target spread evenly over all classes, e.g. 0.1."""
    focal: float = _key(0.0, at_least=0)
    """Exponent of the focal loss, e.g. 2: rows that are told right already count less."""
    class_weights: str | None = None
    """Weights of classes in the loss: balanced (rare ones count more), or name=weight,..., others 1; mean 1 a row."""
    r_drop: float = _key(0.0, at_least=0)
    """Weight of the disagreement of two passes under different dropout (R-Drop), e.g. 1; twice the time."""
    neftune: float = _key(0.0, at_least=0)
    """Size of random noise on word embeddings (NEFTune), e.g. 5 as in the paper (which tries 5, 10 and 15)."""
    mixup: float = _key(0.0, at_least=0)
    """Alpha of mixup: rows are trained on in mixed pairs, answers too; e.g. 0.2 (images) or 1 (texts), as published."""
    mixup_at: Literal["inputs", "hidden"] = "inputs"
    """What mixup mixes: inputs (pixels; word embeddings), or hidden (what the last layer sees)."""
    cutmix: float = _key(0.0, at_least=0)
    """Alpha of CutMix: a box of another image, and as much of its answer; e.g. 1 as in the paper."""
    fgm: float = _key(0.0, at_least=0)
    """Size of an adversarial step on each row's embeddings, trained on too (FGM), e.g. 1 (paper: 5); twice the time."""
    freelb: int = _key(0, at_least=0)
    """Adversarial steps on embeddings whose gradients are averaged (FreeLB), e.g. 3; as many times the time."""
    freelb_step: float = _key(0.06, above=0)
    """Length of a step of FreeLB for each text (the authors: 0.04 to 0.2 by data set, 0.06 for RTE)."""
    freelb_radius: float = _key(0.14, above=0)
    """How far FreeLB goes at most (the authors: 0.14 for RTE, up to 0.7), and its random start."""
    smart: float = _key(0.0, at_least=0)
    """Weight of how far answers change with embeddings (SMART), e.g. 1 (paper: 1 to 5); three times the time."""
    smart_radius: float = _key(0.01, above=0)
    """How far SMART moves each number of an embedding; the paper has 1e-5, which moves no answer in bf16."""
    l2_sp: float = _key(0.0, at_least=0)
    """Pull of pretrained weights to where they began (L2-SP), e.g. 0.1 (paper: 1e-3 to 1), for weight_decay."""
    l2_sp_new: float = _key(0.01, at_least=0)
    """With l2_sp, the pull of new weights, such as the head's, to zero (paper: 0.01)."""
    mixout: float = _key(0.0, at_least=0, below=1)
    """Share of each pretrained matrix put back at each step (mixout), e.g. 0.7 (paper: to 0.9), best with dropout 0."""
    ema: float = _key(0.0, at_least=0, below=1)
    """Validate and keep a moving average of the weights with this decay, e.g. 0.99 or 0.999."""
    swa: float = _key(0.0, at_least=0, below=1)
    """Validate and keep the mean of the weights from this share of the steps on (SWA), e.g. 0.75 as in the paper."""
    swa_every: int = _key(1, at_least=1)
    """Steps between the states that SWA takes the mean of (paper: an epoch's, at a constant rate)."""
    freeze: int | Literal["embeddings"] | None = _key(None, at_least=1)
    """Leave the embeddings as they are, or these and so many layers from the bottom."""
    unfreeze: float = _key(0.0, at_least=0, at_most=1)
    """Free layers one by one from the top, all by this share of the steps (gradual unfreezing), e.g. 0.5."""
    reinit_layers: int = _key(0, at_least=0)
    """Start so many layers from the top, and the pooler, anew, e.g. 1 (paper: 1 to 6, for few rows)."""
