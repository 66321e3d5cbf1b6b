"""Options that several commands share and that are no recipe keys."""

from __future__ import annotations

from typing import Annotated

import typer

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any recipe key, e.g. --set schedule.name=cosine. Repeatable."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")]
Out = Annotated[str | None, typer.Option("--out", metavar="RUN", help="Folder to write; never over an earlier run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out from its newest checkpoint.")]
Budget = Annotated[
    str | None,
    typer.Option("--budget", metavar="TIME", help="Save and stop (exit 75) before so much time is over: 50m, 1h30m."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, estimate memory and time, train nothing.")]
Processes = Annotated[
    str | None,
    typer.Option(
        "--nproc-per-node",
        metavar="N|auto",
        help="Run in N processes on this machine; auto: one a GPU, and one where there is none.",
        show_default=False,
    ),
]
MaxRestarts = Annotated[
    int,
    typer.Option(
        "--max-restarts", metavar="N", min=0, help="Start the processes anew, up to N times, when one of them dies."
    ),
]
