"""How fast models answer, measured side by side: one row at a time, and many."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ftcli.contract import Column, Row, Rows
from ftcli.engine.evaluate import run_model
from ftcli.engine.precision import Precision, pick_precision

LATENCY_ROWS, LATENCY_SECONDS = 200, 8.0
"""Rows that are predicted one at a time, by every model in turn, and how long that may take in all."""
WARM_UP = 3
THROUGHPUT_ROWS, THROUGHPUT_SECONDS = 1024, 4.0
ROUNDS = 3


@dataclass(frozen=True)
class Runner:
    """A model, or several, as they predict rows."""

    models: Sequence[tuple[Any, nn.Module, Precision]]

    def __call__(self, rows: Sequence[Row]) -> None:
        for task, model, precision in self.models:
            run_model(task, model, task.encode(rows), precision, None)


@dataclass(frozen=True)
class Speed:
    """Milliseconds for one row from its text to its answer, and rows in a second when there are many."""

    p50: float
    p95: float
    rows_per_s: float


def measure(
    runners: Mapping[str, Runner], rows: Rows, columns: Sequence[Column], *, seconds: float = LATENCY_SECONDS
) -> dict[str, Speed]:
    """Each of `runners` on the same rows, in turn, so that what else the machine does falls on all of them."""
    chosen = [
        unanswered(rows[int(i)], columns)
        for i in np.linspace(0, len(rows) - 1, min(len(rows), LATENCY_ROWS)).astype(int)
    ]
    for run in runners.values():
        for row in chosen[:WARM_UP]:
            run([row])
    times: dict[str, list[float]] = {name: [] for name in runners}
    began = time.perf_counter()
    for row in chosen:
        for name, run in runners.items():
            times[name].append(_seconds(run, [row]))
        if time.perf_counter() - began > seconds:
            break
    slowest = max(float(np.median(of_one)) for of_one in times.values())
    count = max(1, min(THROUGHPUT_ROWS, int(THROUGHPUT_SECONDS / max(slowest, 1e-6)), len(rows)))
    many = [unanswered(rows[i], columns) for i in range(count)]
    each: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            each[name].append(count / _seconds(run, many))
    return {name: _speed(times[name], each[name]) for name in runners}


def unanswered(row: Row, columns: Sequence[Column]) -> Row:
    """A row as it is to be predicted."""
    answers = {column.role for column in columns if column.answer}
    return {role: value for role, value in row.items() if role not in answers}


def _speed(times: Sequence[float], rates: Sequence[float]) -> Speed:
    p50, p95 = (1000 * float(np.percentile(times, p)) for p in (50, 95))
    return Speed(p50, p95, float(np.median(rates)))


def _seconds(run: Callable[[Sequence[Row]], None], rows: Sequence[Row]) -> float:
    began = time.perf_counter()
    run(rows)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def on_cpu(runners: Mapping[str, Runner], rows: Rows, columns: Sequence[Column]) -> dict[str, Speed]:
    """The same on the CPU, whatever the models run on otherwise."""
    device = torch.device("cpu")
    precision = pick_precision("fp32", device)
    moved = [(model, next(model.parameters()).device) for run in runners.values() for _, model, _ in run.models]
    for model, _ in moved:
        model.to(device)
    try:
        here = {name: Runner([(t, m, precision) for t, m, _ in run.models]) for name, run in runners.items()}
        return measure(here, rows, columns)
    finally:
        for model, before in moved:
            model.to(before)
