"""`ftcli predict`: one JSON object out per record in, in order, as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ftcli.contract_options import Choosing
from ftcli.data.records import records
from ftcli.engine import world
from ftcli.engine.predict import predict
from ftcli.errors import UsageError
from ftcli.recipe.schema import Recipe
from ftcli.reports.boxes import Pictures
from ftcli.runs.alerts import Alerts
from ftcli.runs.candidates import offer_candidates
from ftcli.runs.environment import prepare_process
from ftcli.runs.folder import cannot_write
from ftcli.runs.trained import known_columns, left_behind, open_trained
from ftcli.text import json_line
from ftcli.trackers.console import Console


def run(
    recipe: Recipe,
    console: Console,
    *,
    source: str | None,
    output: str | None,
    stdout: IO[str],
    draw: str | None = None,
    alerts: Alerts | None = None,
) -> int:
    """Predict every record of `source`; returns how many could not be used. `draw` is a folder for pictures of
    boxes, `alerts` what is watched of the answers."""
    prepare_process()
    trained = open_trained(recipe)
    offer_candidates(trained, recipe)
    if draw is not None and not isinstance(trained.task, Choosing):
        raise UsageError(f"--draw shows boxes, and {trained.task.name} tells none", hint="leave it out")
    pictures = Pictures(Path(draw).expanduser()) if draw is not None else None
    live = source in (None, "-")
    stream = records(source, recipe.data, known_columns(trained), trained.task.row_fault)
    if not live and (note := left_behind(trained, source)):
        console.note(note)
    failed = cut = done = 0
    watched = alerts or Alerts((), None, console)
    watched.watch(trained.task)
    if not world.leads():
        for _ in predict(trained.task, trained.model, (), trained.precision, recipe.eval.batch_size, live=live):
            pass
        return 0
    with watched.told(output), opened(output, stdout) as out, console.progress("predict", None, "rows") as bar:
        rows_per_batch = recipe.eval.batch_size
        answers = predict(trained.task, trained.model, stream, trained.precision, rows_per_batch, live=live)
        for record, prediction in answers:
            if prediction is None:
                failed += 1
                answer: dict[str, Any] = {"error": record.error, "line": record.line}
            else:
                if isinstance(trained.task, Choosing):
                    prediction = trained.task.shown(prediction)
                if pictures is not None:
                    pictures.add(record.row, prediction)
                answer = {**record.values, **prediction}
                cut += "truncated" in prediction
                done += 1
            out.write(json_line(answer) + "\n")
            out.flush()
            if prediction is not None:
                watched.see(done + failed, prediction)
            bar.advance(1)
    if cut:
        if trained.source.takes == "audio":
            what, length = "sounds", f"{recipe.audio.max_seconds:g} s"
        else:
            what, length = "texts", f"{trained.source.max_length(recipe.train.max_length)} tokens"
        console.warn(f"{cut:,} of {done:,} {what} ({cut / done:.1%}) are longer than {length} and were cut")
    return failed


@contextmanager
def opened(output: str | None, stdout: IO[str]) -> Iterator[IO[str]]:
    """stdout, or a file written beside and renamed, so that a half-written one never passes for whole.

    What is no regular file (a pipe, /dev/stdout, /dev/null) is written as it is: renaming would replace it.
    """
    if output in (None, "-"):
        yield stdout
        return
    path = Path(str(output)).expanduser()
    if path.is_dir():
        raise UsageError(f"--output '{output}' is a folder", hint="name a file, or - for stdout")
    special = str(path).startswith("/dev/") or (path.exists() and not path.is_file())
    path = path if special else path.resolve()  # a link stays one
    beside = path if special else path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Half a surrogate pair in a field of the input goes out as it came in: as an escape.
        with beside.open("w", encoding="utf-8", errors="backslashreplace") as handle:
            yield handle
        if not special:
            beside.replace(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(Path(str(output)), error, flag="--output") from error
    finally:
        if not special:
            with suppress(OSError):
                beside.unlink()
