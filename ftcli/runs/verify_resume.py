"""`ftcli verify-resume`: proof, for a recipe in miniature, that a run stopped and resumed is the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from ftcli.engine.checkpoint import BESIDE, MODEL, OPTIMIZER, RANDOM, STATE
from ftcli.errors import Stopped, UsageError
from ftcli.recipe.load import replace, to_yaml
from ftcli.recipe.schema import Recipe
from ftcli.runs import finetune
from ftcli.trackers.console import Console

ROWS = 256
TIMINGS = ("rows_per_s", "tokens_per_s")


def run(recipe: Recipe, console: Console, *, steps: int) -> dict[str, Any]:
    """Train 2 x `steps`; train `steps`, end, go on in a new process; what differs, by kind, and whether it passed."""
    if steps < 1:
        raise UsageError(f"--steps is {steps}; expected at least 1")
    with tempfile.TemporaryDirectory(prefix="ftcli-verify-") as folder:
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        small = replace(
            recipe,
            train__max_steps=2 * steps,
            train__epochs=max(recipe.train.epochs or 1.0, 1000.0),
            data__limit=min(recipe.data.limit or ROWS, ROWS),
            eval__every=max(1, steps // 2),
            eval__bootstrap=0,
            checkpoint__every=max(1, steps - 1),
            log__every=1,
        )
        quiet = Console(quiet=True)
        console.info(f"training {2 * steps} steps")
        finetune.run(replace(small, out=str(whole)), quiet)
        console.info(f"training {steps} steps, then going on in a new process")
        with suppress(Stopped):
            finetune.run(replace(small, out=str(parts)), quiet, stop_at=steps)
        _resume(small, parts)
        differences = compare(whole, parts)
    return {
        "steps": 2 * steps,
        "stopped_at": steps,
        "passed": not any(differences.values()),
        "differences": differences,
    }


def _resume(recipe: Recipe, parts: Path) -> None:
    file = parts.parent / "recipe.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8")
    trust = ["--trust-remote-code"] if recipe.model.trust_remote_code else []
    done = subprocess.run(
        [sys.executable, "-m", "ftcli", "finetune", str(file), "--out", str(parts), "--resume", "--quiet", *trust],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"the resumed run ended with code {done.returncode}: {done.stderr.strip()}")


def compare(whole: Path, parts: Path) -> dict[str, list[str]]:
    """What differs between two runs, by kind: batches, random state, losses and scores, weights."""
    first, second = whole / "checkpoints" / "last", parts / "checkpoints" / "last"
    states = [json.loads((folder / STATE).read_text(encoding="utf-8")) for folder in (first, second)]
    batches = [] if states[0]["loop"] == states[1]["loop"] else [f"{states[0]['loop']} and {states[1]['loop']}"]
    return {
        "batches": batches,
        "random state": _tensors(first / RANDOM, second / RANDOM),
        "losses and scores": _records(whole, parts),
        "weights": _tensors(first / MODEL, second / MODEL) + _models(whole / "model", parts / "model"),
        "optimizer": _tensors(first / OPTIMIZER, second / OPTIMIZER),
        "regularizers": _tensors(first / BESIDE, second / BESIDE),
    }


def _models(first: Path, second: Path) -> list[str]:
    """What differs in the weights of two saved models, whatever their files are called."""
    files = sorted({file.name for folder in (first, second) for file in folder.glob("*.safetensors")})
    return [difference for file in files for difference in _tensors(first / file, second / file)]


def _tensors(first: Path, second: Path) -> list[str]:
    one, two = (load_file(file) if file.exists() else {} for file in (first, second))
    if one.keys() != two.keys():
        return [f"tensors {sorted(one.keys() ^ two.keys())} are in one only"]
    return [
        f"{name} differs by up to {(tensor.double() - two[name].double()).abs().max():g}"
        for name, tensor in one.items()
        if not tensor.equal(two[name])
    ]


def _records(whole: Path, parts: Path) -> list[str]:
    one, two = (
        [
            {k: v for k, v in json.loads(line).items() if k not in TIMINGS}
            for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for folder in (whole, parts)
    )
    different = [f"{a} and {b}" for a, b in zip(one, two, strict=False) if a != b]
    return different if len(one) == len(two) else [*different, f"{len(one)} and {len(two)} records"]
