"""report.json: the one source of every other rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftcli.contract import Evaluation
from ftcli.text import jsonable

SCHEMA = 1


def build(
    *,
    command: str,
    task: str,
    model: str,
    data: Mapping[str, Any],
    evaluation: Evaluation,
    gates: Sequence[Mapping[str, Any]] = (),
    seconds: float | None = None,
) -> dict[str, Any]:
    """The report as report.json holds it: plain JSON values, NaN and infinities as null.

    `data` gives name, split, rows and fingerprint; `gates` are those of `metrics.gates.check`; `seconds` is what
    scoring the rows took.
    """
    report = {
        "schema": SCHEMA,
        "command": command,
        "task": task,
        "model": model,
        "data": data,
        "metrics": evaluation.metrics,
        "intervals": evaluation.intervals,
        "classes": evaluation.classes,
        "confusion_matrix": evaluation.confusion_matrix,
        **({"details": evaluation.details} if evaluation.details else {}),
        "gates": list(gates),
        "timing": _timing(int(data["rows"]), seconds),
    }
    plain: dict[str, Any] = jsonable(report)
    return plain


def _timing(rows: int, seconds: float | None) -> dict[str, float | None]:
    return {"seconds": seconds, "samples_per_second": rows / seconds if seconds else None}


def dumps(report: Mapping[str, Any]) -> str:
    """`report` as strict JSON in ASCII: the same bytes for the same report, on any stream.

    Indented, with lists of numbers (a confusion matrix's rows) on one line each.
    """
    return _written(report, "") + "\n"


def _written(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        entries = [f"{json.dumps(key)}: {_written(entry, deeper)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(deeper + entry for entry in entries) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, (Mapping, list)) for entry in value):
        return "[\n" + ",\n".join(deeper + _written(entry, deeper) for entry in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
