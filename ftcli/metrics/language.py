"""Figures of language models: perplexity, bits per byte, and what a model of token frequencies alone would reach.

Plain functions of sums, and no `evaluate.Metric`: that is made from predictions and references, while a language model
is scored by likelihoods that are added up batch by batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ftcli.metrics.resample import from_sums

Floats = npt.NDArray[np.float64]


def perplexity(loss: float) -> float:
    """The number of equally likely tokens a `loss` (nats per token) amounts to: e to it; infinity where too large."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def of_tokens(rows: npt.ArrayLike, *, bootstrap: int, seed: int) -> dict[str, Any]:
    """``metrics`` and ``intervals`` as `contract.Evaluation` has them: perplexity, and the share of the tokens that
    were the likeliest; the interval of their mean loss with them.

    `rows` (rows, 3) are sums over each row's tokens: negative log likelihood, tokens, likeliest ones.
    """
    table = np.asarray(rows, dtype=np.float64).reshape(-1, 3)

    metrics = {name: float(value[0]) for name, value in of_token_sums(table.sum(0)[None]).items() if name != "loss"}
    return {"metrics": metrics, "intervals": from_sums(table, of_token_sums, resamples=bootstrap, seed=seed)}


def of_token_sums(sums: Floats) -> dict[str, Floats]:
    """(resamples,) the metrics of `of_tokens`, and the loss, of sums (resamples, 3)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss = sums[:, 0] / sums[:, 1]
        return {"loss": loss, "perplexity": np.exp(loss), "token_accuracy": sums[:, 2] / sums[:, 1]}


def bits_per_byte(nll: float, size: int) -> float:
    """Negative log likelihood (a sum, in nats) of a text in bits per byte of its UTF-8 form, which has `size` bytes.

    Unlike a loss per token it compares models of different vocabularies. NaN for an empty text.
    """
    return nll / math.log(2) / size if size else math.nan


def unigram_baseline(counts: npt.ArrayLike, held_out: npt.ArrayLike | None = None) -> float:
    """Cross-entropy, in nats per token, of a model that knows how frequent tokens are and nothing of their context.

    `counts` (vocabulary,) are token counts of the training corpus, from which the model takes its probabilities with
    one added to each (Laplace smoothing, so that no token is impossible); `held_out` (vocabulary,) are those of what is
    scored, by default the training corpus itself. A model worth its training is well below it. NaN where nothing is
    scored. Raises ValueError for counts that are negative, not finite or of another shape.
    """
    seen = _counts(counts, "counts")
    scored = seen if held_out is None else _counts(held_out, "held_out")
    if seen.shape != scored.shape:
        raise ValueError(f"{len(seen)} counts of training tokens, but {len(scored)} of held-out ones")
    total = scored.sum()
    if not total:
        return math.nan
    log_share = np.log(seen + 1.0) - math.log(float(seen.sum()) + len(seen))
    return float(-(scored / total) @ log_share)


def _counts(values: Any, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(f"{what} must be a list of non-negative numbers, one a token of the vocabulary")
    return found
