"""What is enough of a student: bounds on its quality, size and speed, some of them said by its teacher's.

``f1_macro >= teacher - 0.01 and cpu_ms_per_row <= 2``: clauses joined by ``and``, each a name, ``>=`` or ``<=``, and a
number, ``teacher``, ``teacher + N``, ``teacher - N``, ``N * teacher`` or ``teacher / N``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ftcli.errors import UsageError, did_you_mean
from ftcli.metrics.gates import Gate

_HINT = 'for example --until "f1_macro >= teacher - 0.01 and cpu_ms_per_row <= 2"'
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLAUSE = re.compile(r"\s*([\w@-]+)\s*(>=|<=)\s*(.+?)\s*")
_FORMS = (
    (re.compile(rf"({_NUMBER})"), lambda n: (0.0, n)),
    (re.compile(r"teacher()"), lambda n: (1.0, 0.0)),
    (re.compile(rf"teacher\s*\+\s*({_NUMBER})"), lambda n: (1.0, n)),
    (re.compile(rf"teacher\s*-\s*({_NUMBER})"), lambda n: (1.0, -n)),
    (re.compile(rf"({_NUMBER})\s*\*\s*teacher"), lambda n: (n, 0.0)),
    (re.compile(rf"teacher\s*\*\s*({_NUMBER})"), lambda n: (n, 0.0)),
    (re.compile(rf"teacher\s*/\s*({_NUMBER})"), lambda n: (1 / n if n else math.nan, 0.0)),
)


@dataclass(frozen=True)
class Clause:
    """A bound: `share` of the teacher's value, and `more`."""

    metric: str
    op: Literal[">=", "<="]
    share: float
    more: float


def parse(text: str) -> list[Clause]:
    """The clauses of `text`; UsageError for what is none."""
    return [_clause(part, text) for part in re.split(r"\band\b", text)]


def _clause(part: str, whole: str) -> Clause:
    match = _CLAUSE.fullmatch(part)
    if match is None:
        raise UsageError(f"'{part.strip() or whole}' is no bound", hint=_HINT)
    for form, read in _FORMS:
        found = form.fullmatch(match[3])
        if found is not None:
            share, more = read(float(found[1] or 0))
            if math.isfinite(share) and math.isfinite(more):
                return Clause(match[1], ">=" if match[2] == ">=" else "<=", share, more)
    raise UsageError(f"'{match[3]}' in '{part.strip()}' is neither a number nor one said by the teacher", hint=_HINT)


def check_names(clauses: Sequence[Clause], known: Sequence[str]) -> None:
    """UsageError for a name that nothing is measured by."""
    for clause in clauses:
        if clause.metric not in known:
            raise UsageError(
                f"--until: nothing is measured as '{clause.metric}'", hint=did_you_mean(clause.metric, known)
            )


def gates(clauses: Sequence[Clause], teacher: Mapping[str, float]) -> list[Gate]:
    """The bounds as numbers, given what was measured of the teacher."""
    return [Gate(c.metric, c.op, (c.share * teacher[c.metric] if c.share else 0.0) + c.more) for c in clauses]
