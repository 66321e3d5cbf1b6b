"""Scores of answers to questions, as SQuAD's own script counts them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ftcli.metrics.base import TagMetric
from ftcli.metrics.resample import Floats, from_sums, ratio

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_IDEOGRAPH = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")


class AnswerScores(TagMetric):
    """Exact match and F1 over words, each the best over a question's true answers.

    A row is a list of answers: of predictions the one given, or none; of references all that are right, or none.
    """

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rows = np.array([scored("".join(p), list(r)) for p, r in zip(predictions, references, strict=True)])
        return {"exact_match": float(rows[:, 0].mean()), "f1": float(rows[:, 1].mean())}


def normalized(text: str) -> str:
    """Lower case, without punctuation (ASCII's), articles and more than one space: SQuAD's ``normalize_answer``."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def scored(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer ("": none) as version 2.0 of the script has them, which for answers that are not
    empty are version 1.1's; without a reference only no answer is right.

    Each ideograph is a word, as in MLQA (Lewis et al. 2020, arXiv:1910.07475); the script itself splits at spaces only.
    """
    known = [text for text in references if normalized(text)] or [""]
    exact = max(float(normalized(text) == normalized(answer)) for text in known)
    return exact, max(_f1(_words(answer), _words(text)) for text in known)


def _words(text: str) -> list[str]:
    return _IDEOGRAPH.sub(r" \1 ", normalized(text)).split()


def _f1(given: list[str], true: list[str]) -> float:
    if not given or not true:
        return float(given == true)
    same = sum((Counter(given) & Counter(true)).values())
    if not same:
        return 0.0
    precision, recall = same / len(given), same / len(true)
    return 2 * precision * recall / (precision + recall)


def answers(
    given: Sequence[str], true: Sequence[Sequence[str]], *, no_answer: bool, bootstrap: int, seed: int
) -> dict[str, Any]:
    """``metrics`` and ``intervals`` as `contract.Evaluation` has them; with `no_answer` also apart for questions that
    have one and that have none (NaN where there are no such)."""
    metrics = AnswerScores().compute(predictions=[[a] if a else [] for a in given], references=[list(r) for r in true])
    has = np.array([bool(r) for r in true], dtype=float)
    scores = np.array([scored(a, r) for a, r in zip(given, true, strict=True)])
    rows = np.column_stack([np.ones(len(has)), has, scores, scores * has[:, None]])
    found = _of_sums(rows.sum(0)[None])
    if no_answer:
        metrics |= {name: float(found[name][0]) for name in _APART}
    intervals = from_sums(rows, _of_sums, resamples=bootstrap, seed=seed)
    return {"metrics": metrics, "intervals": {name: intervals[name] for name in metrics if name in intervals}}


_APART = ("exact_match_answerable", "f1_answerable", "accuracy_unanswerable")


def _of_sums(sums: Floats) -> dict[str, Floats]:
    rows, has, exact, f1, exact_has, f1_has = sums.T
    return {
        "exact_match": ratio(exact, rows),
        "f1": ratio(f1, rows),
        "exact_match_answerable": _share(exact_has, has),
        "f1_answerable": _share(f1_has, has),
        "accuracy_unanswerable": _share(exact - exact_has, rows - has),
    }


def _share(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, ratio(above, below), np.nan)


def best_threshold(no_answer: npt.ArrayLike, answered: npt.ArrayLike, unanswerable: npt.ArrayLike) -> float:
    """The probability of there being no answer above which none is given, chosen for the best mean F1.

    Each (rows,): that probability; the F1 of the answer there would be; 1 where there is none. Halfway between two
    rows, and 1 where answering always is best; of equally good ones that which answers most.
    """
    order = np.argsort(np.asarray(no_answer, dtype=float), kind="stable")
    share = np.asarray(no_answer, dtype=float)[order]
    gain = np.asarray(answered, dtype=float)[order] - np.asarray(unanswerable, dtype=float)[order]
    total = np.concatenate([[0.0], np.cumsum(gain)])  # of answering the first so many, beside answering none
    borders = np.concatenate([[0.0], (share[:-1] + share[1:]) / 2, [1.0]])
    apart = np.concatenate([[True], share[1:] > share[:-1], [True]])  # equal ones are answered together or not at all
    total = np.where(apart, total, -np.inf)
    if share[0] <= 0:  # nothing lies below it
        total[0] = -np.inf
    best = len(total) - 1 - int(np.argmax(total[::-1] >= total.max() - 1e-12))
    return float(borders[best])
