"""Times as people write them: 90s, 10m, 1h30m."""

from __future__ import annotations

import re

from ftcli.errors import UsageError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(text: str, where: str) -> float:
    """Seconds, more than 0; a number alone is seconds. UsageError for what is no time."""
    match = _TIME.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise UsageError(f"{where} is '{text}'; expected a time", hint="for example 90s, 50m or 1h30m")
    seconds = sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True) if part)
    if seconds <= 0:
        raise UsageError(f"{where} is '{text}'; expected more than no time at all")
    return seconds
