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
    bound = f"{result['metric']} {result['op']} {result['value']:g}"
    if "hint" in result:
        known = f" ({result['hint']})" if result["hint"] else ""
        return f"{bound}: there is no metric '{result['metric']}'{known}"
    if result["actual"] is None:
        return f"{bound}: {result['metric']} is not a finite number"
    return f"{bound}: {result['metric']} is {result['actual']:.10g}"
