"""Scores of written texts against what was to be written: BLEU and chrF for translations, ROUGE for summaries.

BLEU: Papineni et al. 2002 (ACL P02-1040), as sacrebleu counts it (Post 2018, arXiv:1804.08771). chrF: Popović 2015 (WMT
W15-3049). ROUGE: Lin 2004 (ACL W04-1013), as the rouge-score library counts it. Those two libraries make the numbers;
here are the sums over rows from which intervals are made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ftcli.metrics.base import TextMetric
from ftcli.metrics.resample import Floats, from_sums, ratio

ORDER, CHARACTERS, BETA = 4, 6, 2
"""Words of the longest sequences that BLEU counts, letters of those of chrF, and chrF's weight of recall."""
ROUGE = ("rouge1", "rouge2", "rougeL")
HAN, KANA = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"), re.compile(r"[\u3040-\u30ff]")
_PIECE = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]")
MOSTLY = 0.3
"""Share of a text's letters from which on it counts as Chinese or Japanese."""


class Bleu(TextMetric):
    """Corpus BLEU from 0 to 100, with `tokenize` as sacrebleu names its ways to cut texts into words."""

    def _compute(self, predictions: Any, references: Any, tokenize: str = "13a") -> dict[str, float]:
        return {"bleu": float(_bleu(tokenize).corpus_score(list(predictions), [list(references)]).score)}


class ChrF(TextMetric):
    """Corpus chrF (chrF2) from 0 to 100."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        from sacrebleu.metrics.chrf import CHRF

        return {"chrf": float(CHRF().corpus_score(list(predictions), [list(references)]).score)}


class Rouge(TextMetric):
    """Means over rows of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L, from 0 to 1."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rows = _rouge_rows(predictions, references).mean(0)
        return {name: float(value) for name, value in zip(ROUGE, rows, strict=True)}


def written(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str], *, tokenize: str, bootstrap: int,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """``metrics``, ``intervals`` and, for BLEU, ``details`` with its signature, as `contract.Evaluation` has them.

    `kinds` are of bleu (with chrf) and rouge; `tokenize` is a name of sacrebleu's or auto (see `words_of`).
    """
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
    if "bleu" in kinds:
        way = words_of(references) if tokenize == "auto" else tokenize
        metrics |= Bleu().compute(predictions=predictions, references=references, tokenize=way)
        metrics |= ChrF().compute(predictions=predictions, references=references)
        details["bleu"] = _signature(way)
    if "rouge" in kinds:
        metrics |= Rouge().compute(predictions=predictions, references=references)
    intervals: dict[str, tuple[float, float]] = {}
    for rows, of_sums in sums_of(predictions, references, kinds, tokenize) if bootstrap else ():
        intervals |= from_sums(rows, of_sums, resamples=bootstrap, seed=seed)
    return {"metrics": metrics, "intervals": intervals, "details": details}


def sums_of(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str], tokenize: str
) -> list[tuple[Floats, Callable[[Floats], dict[str, Floats]]]]:
    """What each row adds (rows, quantities), and what metrics are made of sums of it (resamples, quantities)."""
    found: list[tuple[Floats, Callable[[Floats], dict[str, Floats]]]] = []
    if "bleu" in kinds:
        way = words_of(references) if tokenize == "auto" else tokenize
        found.append((_bleu_rows(predictions, references, way), lambda sums: {"bleu": bleu_of(sums)}))
        found.append((_chrf_rows(predictions, references), lambda sums: {"chrf": chrf_of(sums)}))
    if "rouge" in kinds:
        rows = np.concatenate([_rouge_rows(predictions, references), np.ones((len(references), 1))], axis=1)
        found.append((rows, lambda sums: {name: sums[:, i] / sums[:, -1] for i, name in enumerate(ROUGE)}))
    return found


def words_of(texts: Sequence[str]) -> str:
    """How sacrebleu is to cut texts like these into words: zh for Chinese, char for Japanese, else 13a."""
    letters = "".join(texts)
    size = max(1, sum(letter.isalpha() for letter in letters))
    han, kana = len(HAN.findall(letters)), len(KANA.findall(letters))
    if han + kana < MOSTLY * size:
        return "13a"
    return "char" if kana > 0.1 * (han + kana) else "zh"


# BLEU -------------------------------------------------------------------------------------------------------------


def _bleu(tokenize: str, **options: Any) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, **options)


def _signature(tokenize: str) -> str:
    """What sacrebleu says of how it counts, for others to repeat it."""
    metric = _bleu(tokenize)
    metric.corpus_score([""], [[""]])  # the number of references is known after it
    return str(metric.get_signature())


def _bleu_rows(predictions: Sequence[str], references: Sequence[str], tokenize: str) -> Floats:
    """(rows, 2 + 2 x 4): lengths of prediction and reference, sequences right and given of each order."""
    metric = _bleu(tokenize, effective_order=True)  # of single rows it warns otherwise; the counts are the same
    found = []
    for prediction, reference in zip(predictions, references, strict=True):
        score = metric.sentence_score(prediction, [reference])
        found.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(found, dtype=np.float64)


def bleu_of(sums: Floats) -> Floats:
    """(resamples,) BLEU of the sums (resamples, 10) of `_bleu_rows`, with sacrebleu's exponential smoothing: the first
    order without any sequence right counts as half a one, the next as a quarter, and so on."""
    given, reference = sums[:, 0], sums[:, 1]
    right, total = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    none = (right == 0) & (total > 0)
    smooth = 0.5 ** np.cumsum(none, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(none, smooth, right) / total
        brevity = np.where(given < reference, np.exp(1 - reference / given), 1.0)
        score = 100 * brevity * np.exp(np.log(precision).mean(1))
    # Where an order has no sequence at all, or nothing of one word is right, there is no score.
    return np.where((total > 0).all(1) & (right[:, 0] > 0), score, 0.0)


# chrF -------------------------------------------------------------------------------------------------------------


def _chrf_rows(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """(rows, 3 x 6): sequences of letters given, true and right, of each order; white space is none."""
    rows = np.zeros((len(references), 3, CHARACTERS))
    for row, texts in enumerate(zip(predictions, references, strict=True)):
        given, true = ("".join(text.split()) for text in texts)
        for n in range(1, CHARACTERS + 1):
            a, b = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (given, true))
            if b:  # as sacrebleu counts: nothing is given where nothing could be right
                rows[row, :, n - 1] = a.total(), b.total(), (a & b).total()
    return rows.reshape(len(rows), -1)


def chrf_of(sums: Floats) -> Floats:
    """(resamples,) chrF of the sums (resamples, 18) of `_chrf_rows`: means over the orders that occur, then their F."""
    given, true, right = np.split(sums, 3, axis=1)
    occur = (given > 0) & (true > 0)
    orders = occur.sum(1)
    precision, recall = (ratio((ratio(right, below) * occur).sum(1), orders) for below in (given, true))
    return 100 * ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


# ROUGE ------------------------------------------------------------------------------------------------------------


class _Characters:
    """Words, and each letter of scripts without spaces by itself: rouge-score's own way leaves those out."""

    def tokenize(self, text: str) -> list[str]:
        return _PIECE.findall(text.lower())


def _rouge_rows(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """(rows, 3) F1 of each kind."""
    from rouge_score.rouge_scorer import RougeScorer

    spaced = words_of(references) == "13a"
    scorer = RougeScorer(list(ROUGE), tokenizer=None if spaced else _Characters())
    found = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
    return np.array([[row[name].fmeasure for name in ROUGE] for row in found], dtype=np.float64).reshape(-1, len(ROUGE))
