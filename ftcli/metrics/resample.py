"""95 % percentile bootstrap intervals of any metric that is made of sums over rows, or of the rows themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CELLS_AT_ONCE = 4_000_000
"""Numbers held at a time: bounds memory to some 50 MB however many rows there are."""


def from_sums(
    rows: npt.ArrayLike, metrics: Callable[[Floats], Mapping[str, Floats]], *, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Metric -> the 2.5 and 97.5 percentiles over `resamples` resamples of `rows` (rows, quantities).

    `metrics` makes of sums (resamples, quantities) the values of each metric (resamples,); NaN counts as no value.
    """
    table = np.asarray(rows, dtype=np.float64)
    if resamples <= 0 or not len(table):
        return {}
    found: dict[str, list[Floats]] = {}
    for counts in _draws(len(table), resamples, seed):
        for name, values in metrics(counts @ table).items():
            found.setdefault(name, []).append(values)
    return _bounds({name: np.concatenate(parts) for name, parts in found.items()})


def from_rows(
    rows: int, metrics: Callable[[npt.NDArray[np.intp]], Mapping[str, float]], *, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The same for metrics that need each resample's rows: `metrics` is given their numbers (rows,), some twice."""
    if resamples <= 0 or not rows:
        return {}
    random = np.random.default_rng(seed)
    drawn = [metrics(random.integers(0, rows, rows)) for _ in range(resamples)]
    return _bounds({name: np.array([each[name] for each in drawn]) for name in drawn[0]})


def _draws(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn (resamples, rows), in portions."""
    random = np.random.default_rng(seed)
    size = max(1, _CELLS_AT_ONCE // rows)
    for start in range(0, resamples, size):
        many = min(size, resamples - start)
        counts = np.empty((many, rows))
        for draw in range(many):
            counts[draw] = np.bincount(random.integers(0, rows, rows), minlength=rows)
        yield counts


def _bounds(values: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    found = {}
    for name, drawn in values.items():
        known = drawn[np.isfinite(drawn)]
        if len(known):
            low, high = np.percentile(known, (2.5, 97.5))
            found[name] = (float(low), float(high))
    return found


def ratio(above: Floats, below: Floats) -> Floats:
    """`above` / `below`, and 0 where there is no denominator."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
