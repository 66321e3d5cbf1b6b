"""Scoring a split and writing what people and scripts read: model folder, model card, reports."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from ftcli.contract import Evaluation, Example, Objective, Prediction
from ftcli.data.windows import share_cut
from ftcli.distillation.distilled import move_out
from ftcli.engine import world
from ftcli.engine.checkpoint import sync
from ftcli.engine.evaluate import run_model
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.seeding import randomness_kept
from ftcli.models.load import reference
from ftcli.reports import REPORTS
from ftcli.reports.confusion_picture import write_png
from ftcli.reports.json_report import build as build_json
from ftcli.runs.best import Best
from ftcli.runs.folder import RunFolder, write_whole
from ftcli.runs.merge import merge
from ftcli.runs.model_card import model_card
from ftcli.runs.parts import Parts
from ftcli.tasks.writer import Writer
from ftcli.trackers.console import Console

CUT_BASE = "base"
"""Folder of a run for the model under what was learnt beside it, where that was cut smaller."""


def score(
    parts: Parts,
    split: str,
    examples: Sequence[Example],
    console: Console,
    *,
    bootstrap: int,
    keep: bool = True,
    stop: StopRequest | None = None,
) -> Evaluation:
    """The task's metrics, and the loss, of the model on a split; with `keep` this is more than choosing the best state,
    and a line on it stays on the screen.

    Raises Leave where `stop` asks to end.
    """
    if isinstance(parts.task, Writer):
        parts.task.rehearsal = not keep
    with randomness_kept(parts.precision.device):
        predictions, loss = answer(parts, split, examples, console, keep=keep, stop=stop)
        rows, seed = parts.data.splits[split], parts.recipe.seed
        evaluation = world.led(lambda: parts.task.score(rows, predictions, bootstrap=bootstrap, seed=seed))
    if loss is not None:
        evaluation.metrics = {"loss": loss, **evaluation.metrics}
    if (cut := share_cut(examples)) is not None:
        evaluation.details["truncated"] = cut
    return evaluation


def answer(
    parts: Parts,
    split: str,
    examples: Sequence[Example],
    console: Console,
    *,
    keep: bool = True,
    stop: StopRequest | None = None,
) -> tuple[list[Prediction], float | None]:
    """The model's predictions on a split, in order, and its mean loss; `keep` and `stop` as in `score`."""
    with console.progress(f"score {split}", len(examples), "rows", keep=keep) as bar:

        def scored(rows: int) -> None:
            bar.advance(rows)
            if stop is not None and not world.several():
                stop.leave_if_due()

        size = parts.recipe.eval.batch_size
        # One that writes takes as many passes as its text gets long: where its weights are shared, all do all rows.
        together = world.several() and not (parts.ranks.strategy == "fsdp" and isinstance(parts.task, Writer))
        return run_model(parts.task, parts.model, examples, parts.scoring, size, on_rows=scored, together=together)


def settle(parts: Parts, examples: Sequence[Example], console: Console, stop: StopRequest | None = None) -> None:
    """What the task settles on the validation split once the best state is in the model; nothing, for most."""
    if not parts.task.settles:
        return
    with randomness_kept(parts.precision.device):
        predictions, _ = answer(parts, "validation", examples, console, keep=False, stop=stop)
    if note := parts.task.settle(parts.model, parts.data.splits["validation"], predictions):
        console.note(note)


def build_report(
    command: str, parts: Parts, split: str, evaluation: Evaluation, seconds: float, gates: list[dict[str, Any]]
) -> dict[str, Any]:
    """report.json as plain data."""
    rows = len(parts.data.splits[split])
    return build_json(
        command=command,
        task=parts.task.name,
        model=parts.source.name,
        data={
            "name": parts.data.name,
            "split": split,
            "rows": rows,
            "fingerprint": parts.data.fingerprints[split],
        },
        evaluation=evaluation,
        gates=gates,
        seconds=seconds,
    )


def write_reports(folder: Path, report: dict[str, Any]) -> None:
    """Reports, by one process of a run; the others wait for them."""
    world.led(lambda: _reports(folder, report))


def _reports(folder: Path, report: dict[str, Any]) -> None:
    """report.txt, report.md, of classes confusion_matrix.png and, last, report.json: where that one is, the run is
    finished and whole."""
    with suppress(OSError):  # the numbers are what counts
        write_png(report, folder / "confusion_matrix.png")
    for kind, suffix in (("text", "txt"), ("markdown", "md"), ("json", "json")):
        write_whole(folder / f"report.{suffix}", REPORTS.part(kind)(report))


def deployed(parts: Parts, model: nn.Module) -> nn.Module:
    """What of a model that was pretrained is for use."""
    return cast(Objective, parts.task).deployed(model)


def save_untrained(parts: Parts, folder: Path) -> None:
    """The model as it is before training, as another run may start from it."""
    move_out(parts.model)
    if parts.recipe.objective is not None:
        parts = replace(parts, model=deployed(parts, parts.model))
    parts.method.save(parts.model, folder, base_of(parts, folder))
    processor: Any = parts.source.processor
    processor.save_pretrained(folder)


def write_model(
    parts: Parts, folder: RunFolder, report: dict[str, Any], best: Best, examples: Sequence[Example], console: Console
) -> None:
    """model/ as the transformers library (or peft) loads it, with a model card; on the disk before a report says it is
    there, by one process of a run. `examples` are for looking whether a merged model still answers the same."""
    whole, method = parts.ranks.whole(parts.model, parts.method)
    if parts.recipe.objective is not None:
        whole = deployed(parts, whole)
    parts = replace(parts, model=whole, method=method)
    world.led(lambda: _write(parts, folder, report, best, examples, console))


def _write(
    parts: Parts, folder: RunFolder, report: dict[str, Any], best: Best, examples: Sequence[Example], console: Console
) -> None:
    method, merges = parts.method, parts.recipe.method.merge
    place = folder.path / "adapter" if merges else folder.model
    for written in {place, folder.model}:  # new files: those of before may have other names
        shutil.rmtree(written, ignore_errors=True)
    method.save(parts.model, place, base_of(parts, place))
    if merges:
        merge(parts, folder, examples, console)
    for written in {place, folder.model}:
        finish_model(parts, written, model_card(parts, report, best))


def base_of(parts: Parts, place: Path) -> dict[str, Any]:
    """What a model that is kept in `place` without its base says of that; a base that was cut smaller for the run, and
    so is nowhere else, is written as a whole model beside it first."""
    if parts.source.cut is None or not parts.method.keeps_base:
        return reference(parts.source, place)
    folder = place.parent / CUT_BASE
    shutil.rmtree(folder, ignore_errors=True)
    with randomness_kept(parts.precision.device):
        model, _ = copy.copy(parts.task).build_model(parts.source)
    cast(Any, model).save_pretrained(folder)
    finish_model(
        parts, folder, f"# {parts.source.name}, cut smaller\n\nThe base of `../{place.name}`; its head is untrained.\n"
    )
    return {"name": str(folder.absolute()), "relative": f"../{CUT_BASE}"}


def finish_model(parts: Parts, folder: Path, card: str) -> None:
    """What belongs beside the weights; all of it on the disk."""
    processor: Any = parts.source.processor
    processor.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):  # written for their owner only, whatever the umask says
        weights.chmod((folder / "config.json").stat().st_mode & 0o777)
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file in (*folder.iterdir(), folder):
        sync(file)
