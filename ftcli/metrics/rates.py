"""Rates over a sliding window, for alerts on a stream: the share of the last records that have a label.

An alert is given once, when the rate crosses its bound, and again only after it went back. No alert before the window
is full.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ftcli.errors import UsageError

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_WATCH = re.compile(
    rf"(?P<label>.+?)\s*(?P<op>>=|<=|>|<)\s*(?P<share>{_NUMBER})\s*(?::\s*(?P<back>{_NUMBER})\s*)?/\s*(?P<window>\d+)",
    re.DOTALL,
)
_HINT = "write LABEL>SHARE/WINDOW with >, >=, < or <= (quoted, or the shell redirects), e.g. 'negative>0.3/100'"
LONGEST = 10_000_000
"""Records of a window at most: it is kept in memory."""


@dataclass(frozen=True)
class Watch:
    """A bound on the share of a label among the last `window` records."""

    text: str
    """As it was given."""
    label: str
    op: str
    share: float
    back: float
    """Where the rate has to go back to before another alert; by default the bound itself."""
    window: int

    def holds(self, rate: float) -> bool:
        """True where a rate is beyond the bound."""
        return _OPERATORS[self.op](rate, self.share)

    def is_back(self, rate: float) -> bool:
        """True where a rate is far enough on the right side of the bound."""
        return not self.holds(rate) and (rate <= self.back if self.op in (">", ">=") else rate >= self.back)


def parse(text: str) -> Watch:
    """The watch written as `text`: LABEL OP SHARE / WINDOW, or LABEL OP SHARE:BACK / WINDOW; UsageError where it is
    malformed, holds for every rate or for none."""
    match = _WATCH.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no rate to watch", hint=_HINT)
    share, window = float(match["share"]), int(match["window"])
    back = float(match["back"]) if match["back"] is not None else share
    if share > 1 or back > 1:
        number = share if share > 1 else back
        percent = f"; {number:g} % is {number / 100:g}" if number <= 100 else ""
        raise UsageError(f"'{text}': a share is from 0 to 1, not {number:g}{percent}", hint=_HINT)
    if not 0 < window <= LONGEST:
        raise UsageError(f"'{text}': the window is from 1 to {LONGEST:,} records, not {window:,}", hint=_HINT)
    found = Watch(text.strip(), match["label"].strip(), match["op"], share, back, window)
    up = found.op in (">", ">=")
    if found.holds(0.0) and found.holds(1.0):
        raise UsageError(f"'{text}' holds for every rate there is", hint=_HINT)
    if not found.holds(1.0 if up else 0.0):
        raise UsageError(f"'{text}' holds for no rate there is", hint=_HINT)
    if back != share and (back > share) == up:
        side = "below" if up else "above"
        raise UsageError(f"'{text}': after an alert the rate has to go back {side} {share:g}, not to {back:g}")
    return found


@dataclass(frozen=True)
class Alert:
    """A rate that has just crossed its bound."""

    watch: Watch
    record: int
    """Number of the record in the input, from 1."""
    count: int
    """Records of the window that have the label."""

    @property
    def rate(self) -> float:
        return self.count / self.watch.window


class Rate:
    """The rate that a watch is of, record by record."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._seen: deque[bool] = deque(maxlen=watch.window)
        self._count = 0
        self._armed = True

    def add(self, record: int, has: bool) -> Alert | None:
        """Take in the next record: its number and whether it has the label; an alert where the rate crosses now."""
        if len(self._seen) == self.watch.window:
            self._count -= self._seen[0]
        self._seen.append(has)
        self._count += has
        if len(self._seen) < self.watch.window:
            return None
        rate = self._count / self.watch.window
        if self._armed and self.watch.holds(rate):
            self._armed = False
            return Alert(self.watch, record, self._count)
        self._armed = self._armed or self.watch.is_back(rate)
        return None
