"""What the commands that train do with their options, whatever they train."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ftcli.cli.render import show_report
from ftcli.errors import GateError, UsageError
from ftcli.places import started_anew
from ftcli.recipe.duration import parse_duration
from ftcli.recipe.stages import Chain, resolve_run

STARTED = time.monotonic()
"""When this process began, near enough: a budget counts from here."""
Closing = Callable[[Path, str, dict[str, Any]], list[str]]
"""Lines that end a run: of its folder, its data and its report."""


def launch(
    command: str,
    closing: Closing,
    *,
    recipe: Path | None,
    flags: dict[str, Any],
    out: str | None,
    resume: bool,
    budget: str | None,
    dry_run: bool,
    set_: Sequence[str] | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Settle the recipe and run ``ftcli.runs.COMMAND`` with it; processes that were started anew go on."""
    deadline = deadline_of(budget)
    resume = resume or started_anew()
    if resume and recipe is None and out is not None and flags.get("model.name") is None:
        own = Path(out) / "recipe.yaml"
        recipe = own if own.is_file() else None
    settings = resolve_run(recipe, {**flags, "out": out}, set_ or ())
    if isinstance(settings, Chain) and settings.command != command:
        last = settings.command
        raise UsageError(f"the last stage of {recipe} is a {last}", hint=f"ftcli {last} {recipe}")
    if isinstance(settings, Chain) and command == "distill" and flags.get("model.name") is not None:
        name = settings.stages[-1].name
        raise UsageError("--student: which stage is this for?", hint=f"--set stages.{name}.model=...")
    work: Any = import_module(f"ftcli.runs.{'chain' if isinstance(settings, Chain) else command}")
    from ftcli.metrics.gates import failures
    from ftcli.trackers.console import Console

    console = Console(quiet=quiet)
    if dry_run:
        facts = work.check(settings, console)
        if as_json:
            print(json.dumps(facts, indent=2))
        return
    from ftcli.runs.together import together

    last_recipe = settings.stages[-1].recipe if isinstance(settings, Chain) else settings
    with together(last_recipe.distributed, console):
        result = work.run(settings, console, resume=resume, deadline=deadline)
    report = result.report
    if report is None:
        text = (result.folder.path / "report.json").read_text(encoding="utf-8")
        report = json.loads(text)
        if as_json:  # a document either way: that of the run as it was finished
            print(text, end="")
    else:
        show_report(report, as_json=as_json)
        for line in closing(result.folder.path, last_recipe.data.name or "", report):
            console.info(line)
    if missed := failures(report.get("gates") or ()):
        raise GateError(f"gate not met: {'; '.join(missed)}")


def deadline_of(budget: str | None) -> float | None:
    """When a budget ends, on `time.monotonic`'s clock."""
    return STARTED + parse_duration(budget, "--budget") if budget is not None else None


def log_file() -> Path | None:
    """The log of the run under way, for the traceback of a bug."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None
