"""Gates: bounds on metrics that a run must meet, as given to ``--fail-under``.

``METRIC=VALUE`` means "at least", except for metrics where less is better (`LOWER_IS_BETTER`): there it means "at
most". ``METRIC>=VALUE`` and ``METRIC<=VALUE`` say it outright.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ftcli.errors import UsageError, did_you_mean

LOWER_IS_BETTER = frozenset({"loss", "perplexity", "mse", "rmse", "mae", "wer", "cer"})
_GATE = re.compile(r"\s*(?P<metric>[^\s=<>!]+)\s*(?P<op>>=|<=|=)\s*(?P<value>[^\s=<>!]+)\s*")
_HINT = "write METRIC=VALUE, METRIC>=VALUE or METRIC<=VALUE (quoted, or the shell redirects), e.g. f1_macro=0.9"


@dataclass(frozen=True)
class Gate:
    """A bound on one metric."""

    metric: str
    op: Literal[">=", "<="]
    value: float


def lower_is_better(metric: str) -> bool:
    """Whether less of `metric` is better (losses and error rates)."""
    return metric in LOWER_IS_BETTER


def parse(text: str) -> Gate:
    """The gate written as `text`; a UsageError where it is malformed or its value is no finite number."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no gate", hint=_HINT)
    try:
        value = float(match["value"])
    except ValueError:
        raise UsageError(f"'{match['value']}' in the gate '{text}' is no number", hint=_HINT) from None
    if not math.isfinite(value):
        raise UsageError(f"the gate '{text}' needs a finite number", hint=_HINT)
    metric = match["metric"]
    at_most = match["op"] == "<=" or (match["op"] == "=" and lower_is_better(metric))
    return Gate(metric, "<=" if at_most else ">=", value)


def parse_margin(text: str) -> tuple[str, float]:
    """The metric and by how much it may be worse, written ``METRIC=VALUE``; UsageError where it is malformed."""
    match = _GATE.fullmatch(text)
    try:
        value = float(match["value"]) if match is not None and match["op"] == "=" else math.nan
    except ValueError:
        value = math.nan
    if match is None or not (math.isfinite(value) and value >= 0):
        hint = "write METRIC=VALUE, by how much it may be worse (0 or more), e.g. f1_macro=0.005"
        raise UsageError(f"'{text}' is no margin", hint=hint)
    return match["metric"], value


_ROUNDING = 1e-12
"""What a difference of two metrics may be off by: being worse by exactly the margin is not being worse by more."""


def check_margin(
    metric: str, margin: float, baseline: Mapping[str, float | None], metrics: Mapping[str, float | None]
) -> dict[str, Any]:
    """A gate as `check` gives it: `metrics` no worse than `baseline` by more than `margin`.

    A metric that either lacks, or that is not finite, fails it.
    """
    lower, before = lower_is_better(metric), baseline.get(metric)
    op: Literal[">=", "<="] = "<=" if lower else ">="
    bound = before + (margin if lower else -margin) if before is not None and math.isfinite(before) else None
    result = _checked(Gate(metric, op, math.nan if bound is None else bound), metrics)
    actual = result["actual"]
    if bound is not None and actual is not None:
        result["passed"] = (actual - bound if lower else bound - actual) <= _ROUNDING
    if metric in metrics and metric not in baseline:
        result["hint"] = did_you_mean(metric, baseline)
    return {**result, "value": bound, "baseline": before, "margin": margin}


def check(gates: Iterable[Gate], metrics: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Each gate with what was measured, as in report.json; a missing or NaN metric fails, with a hint at known ones."""
    return [_checked(gate, metrics) for gate in gates]


def _checked(gate: Gate, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    actual = metrics.get(gate.metric)
    if actual is not None and not math.isfinite(actual):
        actual = None
    met = actual is not None and (actual >= gate.value if gate.op == ">=" else actual <= gate.value)
    result = {"metric": gate.metric, "op": gate.op, "value": gate.value, "actual": actual, "passed": met}
    if gate.metric not in metrics:
        result["hint"] = did_you_mean(gate.metric, metrics)
    return result


def failures(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each gate of `check` that was not met."""
    return [_failure(result) for result in results if not result["passed"]]


def _failure(result: Mapping[str, Any]) -> str:
    metric = result["metric"]
    bound = metric if result["value"] is None else f"{metric} {result['op']} {result['value']:g}"
    if "hint" in result:
        known = f" ({result['hint']})" if result["hint"] else ""
        return f"{bound}: there is no metric '{metric}'{known}"
    if result["value"] is None:
        return f"{bound}: that of the baseline is not a finite number"
    if result["actual"] is None:
        return f"{bound}: {metric} is not a finite number"
    return f"{bound}: {metric} is {result['actual']:.10g}"
