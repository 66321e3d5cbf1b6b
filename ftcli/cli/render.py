"""Results on stdout: JSON, a Rich report on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any


def wants_colour() -> bool:
    """True on a terminal that may be driven by control codes."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_report(report: dict[str, Any], *, as_json: bool) -> None:
    """Print a report.json structure."""
    from ftcli.reports import REPORTS

    if as_json:
        sys.stdout.write(REPORTS.part("json")(report))
    elif wants_colour():
        from rich.console import Console

        from ftcli.reports.classification_report import as_rich

        Console().print(as_rich(report))
    else:
        sys.stdout.write(REPORTS.part("text")(report))
    sys.stdout.flush()


def show_comparison(report: dict[str, Any], *, as_json: bool) -> None:
    """Print a compare.json structure."""
    from ftcli.reports import comparison
    from ftcli.reports.json_report import dumps

    if as_json:
        sys.stdout.write(dumps(report))
    elif wants_colour():
        from rich.console import Console

        screen = Console(highlight=False, markup=False, emoji=False)
        screen.print(comparison.as_rich(report, screen.width))
    else:
        sys.stdout.write(comparison.as_text(report))
    sys.stdout.flush()
