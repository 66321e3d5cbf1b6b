"""The command line: parse, call a plain function of `ftcli.runs`, turn errors into messages and exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ftcli import __version__
from ftcli.cli import (
    compare,
    curve,
    distill,
    evaluate,
    finetune,
    predict,
    pretrain,
    recipe,
    training,
    verify_resume,
    worker,
)
from ftcli.errors import FULL, FtcliError, Interrupted, OutOfMemoryError, UsageError, system_error
from ftcli.places import Place, recognise
from ftcli.text import visible, without_secrets

MANUAL = """From a foundation model to a number you can trust.

\b
Start here (no download needed):
  ftcli finetune --model builtin:bert-tiny-en --data builtin:reviews --out runs/first
  ftcli evaluate runs/first --data builtin:reviews
  echo "a fine film" | ftcli predict runs/first

\b
With a model and data from the Hub, or from files:
  ftcli finetune --model bert-base-cased --data imdb
  ftcli finetune --model ./my-model --data reviews.csv --label-column stars
  ftcli finetune recipe.yaml --lr 3e-5 --set schedule.name=cosine

\b
From texts without labels (and then finetune --model runs/mine):
  ftcli pretrain --model preset:bert-mini --data ./texts --out runs/mine
  ftcli pretrain --model bert-base-cased --data ./texts --objective mlm

\b
With few labels: learn a related task first, and see what that is worth
  ftcli finetune recipes/transfer/imdb-reviews.yaml
  ftcli curve --model bert-base-cased --data small.csv --source-data imdb

\b
A small model that keeps what a large one can:
  ftcli distill --teacher runs/big --set student.layers=3 --data imdb

\b
In a CI pipeline (exit code 4 when the gate is not met):
  ftcli evaluate runs/first --data test.csv --fail-under f1_macro=0.9
  ftcli compare runs/first runs/second --fail-if-worse f1_macro=0.005

\b
See what a run would do, what it will cost, and every key there is:
  ftcli finetune recipe.yaml --dry-run
  ftcli recipe show recipe.yaml
  ftcli recipe schema

\b
On several GPUs or machines:
  ftcli finetune recipe.yaml --nproc-per-node auto --max-restarts 3
  torchrun --nnodes 2 --nproc-per-node 8 ... -m ftcli pretrain recipe.yaml
  srun ftcli pretrain recipe.yaml

Results go to stdout, progress and messages to stderr.

\b
Exit codes: 0 done, 1 a bug in ftcli, 2 usage, 3 bad data, 4 a gate not met,
5 diverged, 6 out of memory, 7 one of several processes was lost (go on with
--resume), 75 stopped (go on with --resume), 130 Ctrl-C.
"""

app = typer.Typer(
    name="ftcli",
    help=MANUAL,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(invoke_without_command=True, help=MANUAL)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Print the version or, without a command, the manual."""
    if version:
        typer.echo(f"ftcli {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(0)
    place = recognise(os.environ)
    if place is not None and place.size > 1 and context.invoked_subcommand not in SEVERAL:
        raise UsageError(
            f"ftcli {context.invoked_subcommand} runs in one process, and this is {place}", hint="start it by itself"
        )


SEVERAL = ("pretrain", "finetune", "distill", "evaluate", "predict")
"""Commands that several processes run together."""

app.command("pretrain")(pretrain.command)
app.command("finetune")(finetune.command)
app.command("distill")(distill.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("compare")(compare.command)
app.command("curve")(curve.command)
app.command("verify-resume")(verify_resume.command)
app.add_typer(recipe.app, name="recipe")


def main() -> None:
    """Run a command line and exit with a code of the contract."""
    _prepare()
    place = None
    try:
        place = worker.begin(os.environ)
        _run()
    except FtcliError as error:
        _end(place, error)
    except KeyboardInterrupt:
        _end(place, Interrupted("interrupted"))
    except BrokenPipeError:
        _close_quietly()
        sys.exit(worker.unheard(place))
    except MemoryError:
        _end(place, OutOfMemoryError("out of memory", hint="a smaller --batch-size"))
    except Exception as error:
        failure = system_error(error)
        if failure is None or failure.errno not in FULL:
            _end(place, _bug(error, place))
        where = f"'{failure.filename}'" if failure.filename else "the output"
        try:
            _end(place, UsageError(f"cannot write {where}: {failure.strerror}", hint="free some space there"))
        finally:
            _close_quietly()


def _end(place: Place | None, error: FtcliError) -> NoReturn:
    """Say what went wrong, or leave it to who speaks for this process, and exit."""
    if worker.leave(place, error):
        _say(error)
    sys.exit(error.exit_code)


def _run() -> None:
    """The command, and what is still buffered for stdout written while its failure can still be told."""
    try:
        app(prog_name="ftcli")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's answer to a reader that left
            raise end.__context__ from None
        raise
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _prepare() -> None:
    """What has to be set before the libraries are imported."""
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", encoding="utf-8")
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: sys.exit(75))


LONGEST = 4000
"""Characters of a message that are shown: what was given may be a file's worth of text."""


def _say(error: FtcliError) -> None:
    for kind, text in (("error:", error.message), ("hint:", error.hint or "")):
        shown = visible(without_secrets(text), keep="\n")
        if shown:
            print(kind, shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} ...", file=sys.stderr)


def _close_quietly() -> None:
    """The reader of our output left (`| head`): there is nobody to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(error: Exception, place: Place | None) -> FtcliError:
    """One line for the user; the traceback goes to the run's log, or to a file beside where there is no run yet."""
    rank = "" if place is None or place.first else f"-rank{place.rank}"
    log = training.log_file() or Path(f"ftcli-error{rank}.log")
    text = without_secrets("".join(traceback.format_exception(error)))
    try:
        with log.open("a", encoding="utf-8") as handle:
            handle.write(text)
        where = f"the traceback is in {log}"
    except OSError:
        where = text
    first = str(error).splitlines()[0] if str(error) else ""
    return FtcliError(f"a bug in ftcli: {type(error).__name__}: {visible(without_secrets(first))[:200]}; {where}")
