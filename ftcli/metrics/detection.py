"""Average precision of boxes as COCO defines it, and precision and recall of those that are shown.

Lin et al. 2014 (arXiv:1405.0312) and the evaluation that goes with the data: answers of a class are taken by score,
each is matched to the free true box it overlaps most, if by the threshold; average precision is the mean of the best
precision at 101 recalls and beyond, over thresholds from 0.5 to 0.95 and over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftcli.metrics.resample import Floats, from_rows, from_sums, ratio

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
"""Answers of a class in an image that count, best first."""

Boxes = Sequence[Mapping[str, Any]]
"""Each with ``label``, ``box`` (x0, y0, x1, y1), and ``score`` (answers) or ``crowd`` (true ones)."""


@dataclass(frozen=True)
class _Class:
    """The answers of a class over all images, best first."""

    scores: Floats
    images: npt.NDArray[np.intp]
    hits: npt.NDArray[np.bool_]
    """(thresholds, answers) matched to a true box."""
    ignored: npt.NDArray[np.bool_]
    """(thresholds, answers) matched to a crowd: neither right nor wrong."""
    true: Floats
    """(images,) true boxes that are to be found."""


def detection(
    predictions: Sequence[Boxes], references: Sequence[Boxes], labels: Sequence[str], *, threshold: float,
    bootstrap: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """``metrics`` (map, map_50, map_75 and, of answers scored `threshold` or more at an overlap of 0.5, precision,
    recall and f1), ``classes``, ``intervals`` over images drawn anew, and ``details``: each class's average
    precision."""
    images = len(references)
    found = {label: _matched(label, predictions, references) for label in labels}
    occurring = {label: one for label, one in found.items() if one.true.sum()}

    def scored(weights: Floats) -> dict[str, float]:
        by_class = np.array([_average_precision(one, weights) for one in occurring.values()])
        means = _mean(by_class) if len(by_class) else np.full(len(THRESHOLDS), np.nan)
        return {"map": float(np.mean(means)), "map_50": float(means[0]), "map_75": float(means[5])}

    counts = np.stack([_counted(one, threshold, images) for one in found.values()], axis=1)  # (images, classes, 3)
    metrics = {**scored(np.ones(images)), **{k: float(v[0]) for k, v in _rates(counts.sum((0, 1))[None]).items()}}
    intervals = from_rows(
        images, lambda drawn: scored(np.bincount(drawn, minlength=images).astype(float)), resamples=bootstrap, seed=seed
    )
    intervals |= from_sums(counts.sum(1), _rates, resamples=bootstrap, seed=seed)
    classes = [
        {"label": label, **{k: float(v[0]) for k, v in _rates(sums[None]).items()}, "support": int(sums[2])}
        for label, sums in zip(labels, counts.sum(0), strict=True)
    ]
    precisions = {label: _average_precision(one, np.ones(images)).tolist() for label, one in occurring.items()}
    details = {"average_precision": {label: float(np.mean(values)) for label, values in precisions.items()}}
    return {"metrics": metrics, "intervals": intervals, "classes": classes, "details": details}


def _mean(by_class: Floats) -> Floats:
    """Mean over the classes that the drawn images have."""
    known = np.isfinite(by_class).all(axis=1)
    return by_class[known].mean(axis=0) if known.any() else np.full(by_class.shape[1], np.nan)


def _matched(label: str, predictions: Sequence[Boxes], references: Sequence[Boxes]) -> _Class:
    scores, images, hits, ignored, true = [], [], [], [], np.zeros(len(references))
    for image, (answers, objects) in enumerate(zip(predictions, references, strict=True)):
        its = [one for one in answers if one["label"] == label]
        meant = [one for one in objects if one["label"] == label]
        true[image] = sum(not one.get("crowd", False) for one in meant)
        if not its:
            continue
        order = np.argsort([-one["score"] for one in its], kind="stable")[:_MOST]
        its = [its[int(place)] for place in order]
        right, nowhere = _match(its, sorted(meant, key=lambda one: bool(one.get("crowd", False))))
        scores.append([one["score"] for one in its])
        images.append([image] * len(its))
        hits.append(right)
        ignored.append(nowhere)
    if not scores:
        none = np.zeros((len(THRESHOLDS), 0), dtype=bool)
        return _Class(np.zeros(0), np.zeros(0, dtype=np.intp), none, none, true)
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    right, nowhere = (np.concatenate(values, axis=1)[:, order] for values in (hits, ignored))
    return _Class(score[order], np.concatenate(images)[order], right, nowhere, true)


def _match(answers: Boxes, objects: Boxes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(thresholds, answers) which are right, and which fall on a crowd; `objects` have crowds last."""
    right = np.zeros((len(THRESHOLDS), len(answers)), dtype=bool)
    nowhere = right.copy()
    overlaps = overlap(answers, objects)
    crowd = [bool(one.get("crowd", False)) for one in objects]
    for level, threshold in enumerate(THRESHOLDS):
        taken = [False] * len(objects)
        for answer in range(len(answers)):
            best, chosen = min(float(threshold), 1 - 1e-10), -1
            for place in range(len(objects)):
                if taken[place] and not crowd[place]:
                    continue
                if chosen >= 0 and not crowd[chosen] and crowd[place]:
                    break
                if overlaps[answer, place] >= best:
                    best, chosen = overlaps[answer, place], place
            if chosen >= 0:
                taken[chosen] = True
                (nowhere if crowd[chosen] else right)[level, answer] = True
    return right, nowhere


def overlap(answers: Boxes, objects: Boxes) -> Floats:
    """(answers, objects) intersection over union; over the answer alone where the object is a crowd."""
    first, second = (np.array([one["box"] for one in side], dtype=float).reshape(-1, 4) for side in (answers, objects))
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    crowd = np.array([bool(one.get("crowd", False)) for one in objects], dtype=bool)
    below = np.where(crowd[None], areas[0][:, None], areas[0][:, None] + areas[1][None] - inner)
    return ratio(inner, below)


def _average_precision(one: _Class, weights: Floats) -> Floats:
    """(thresholds,) of a class, image by image counted as often as `weights` (images,) say; NaN where it has none."""
    true = float(weights @ one.true)
    if not true:
        return np.full(len(THRESHOLDS), np.nan)
    times = weights[one.images]
    right = np.cumsum(one.hits * times, axis=1)
    wrong = np.cumsum(~(one.hits | one.ignored) * times, axis=1)
    recall, precision = right / true, right / np.maximum(right + wrong, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros(len(THRESHOLDS))
    for level in range(len(THRESHOLDS)):
        at = np.searchsorted(recall[level], _RECALLS, side="left")
        inside = at < recall.shape[1]
        found[level] = precision[level, at[inside]].sum() / len(_RECALLS)
    return found


def _counted(one: _Class, threshold: float, images: int) -> Floats:
    """(images, 3): answers that are shown and right, that are shown, and true boxes."""
    shown = (one.scores >= threshold) & ~one.ignored[0]
    sides = [np.bincount(one.images[mask], minlength=images) for mask in (shown & one.hits[0], shown)]
    return np.stack([*sides, one.true], axis=1).astype(float)


def _rates(sums: Floats) -> dict[str, Floats]:
    right, shown, true = sums.T
    return {"precision": ratio(right, shown), "recall": ratio(right, true), "f1": ratio(2 * right, shown + true)}
