"""One run of one contender in a process of its own: what it is given, and what is read off it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prepare import ROOT

HERE = Path(__file__).resolve().parent
NEVER = 1_000_000_000
CONTENDERS = {
    "ftcli": "ftcli",
    "ftcli-fp32": "ftcli, --precision fp32",
    "trainer": "Trainer",
    "trainer-grouped": "Trainer, grouped by length",
    "trainer-bf16": "Trainer, grouped by length, bf16",
    "trainer-best": "Trainer, best (grouped, compiled, fused)",
    "padded": "loop padded to the maximum",
}
Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every contender of a round is given, down to the seed."""

    model: str
    data: str
    epochs: int
    max_length: int
    lr: float
    seed: int
    batch_size: int
    eval_batch_size: int
    warmup: float
    """Share of all steps."""
    weight_decay: float
    device: str
    precision: str
    """auto is each contender's own default: fp32 on a CPU for all but ftcli, bf16 for all on a GPU."""


@dataclass(frozen=True)
class Done:
    """How a process ended."""

    stdout: str
    seconds: float
    peak_mib: float


def environment(threads: int) -> dict[str, str]:
    """For every process that is measured: the same threads, this checkout's ftcli, no Hub."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": path,
    }


def run(command: Sequence[str], threads: int) -> Done:
    """A command to its end; it fails the benchmark, with what it said, where it fails.

    The kernel's own high-water mark is the peak memory. It starts from that of the process that starts it, which is
    why nothing large is imported here.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment(threads))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = err.read().decode(errors="replace")[-4000:]
            sys.exit(f"error: {' '.join(command)}\nended with {process.returncode}:\n{said}")
        return Done(out.read().decode(), seconds, usage.ru_maxrss / 1024)


def measure(name: str, job: Job, threads: int, rows: int) -> Found:
    """Rates, accuracy, memory and precision of one contender: one JSON object of plain values.

    `train` and `predict` are rows per second of the loops alone: no start-up, tokenization or evaluation in them.
    """
    if name.endswith(("-fp32", "-bf16")):
        job = replace(job, precision=name[-4:])
    found = ours(job, threads, rows) if name.startswith("ftcli") else peer(name, job, threads)
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}


def ours(job: Job, threads: int, rows: int) -> Found:
    """ftcli with its defaults beyond what `job` says; its own records hold the rates."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "run"
        settings = {
            "schedule.warmup": job.warmup,
            "optimizer.weight_decay": job.weight_decay,
            # One line of metrics per epoch and one validation, after the last step: the clock holds steps alone.
            "log.every": NEVER,
            "eval.every": NEVER,
            "eval.batch_size": job.eval_batch_size,
            "eval.bootstrap": 0,
        }
        command = [
            sys.executable, "-m", "ftcli", "finetune", "--model", job.model, "--data", job.data, "--out", str(out),
            "--epochs", str(job.epochs), "--max-length", str(job.max_length), "--lr", str(job.lr),
            "--seed", str(job.seed), "--batch-size", str(job.batch_size), "--device", job.device,
            "--precision", job.precision, "--json", "--quiet",
            *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
        ]  # fmt: skip
        done = run(command, threads)
        report = json.loads(done.stdout)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        epochs = [record for record in records if record["split"] == "train"]
        if len(epochs) != job.epochs:
            sys.exit(f"error: ftcli wrote {len(epochs)} lines of training for {job.epochs} epochs; expected one each")
        seconds = sum(rows / epoch["rows_per_s"] for epoch in epochs)
        shares = [epoch["padding_share"] for epoch in epochs if "padding_share" in epoch]
        return {
            "train": rows * job.epochs / seconds,
            "train_last_epoch": epochs[-1]["rows_per_s"],
            "predict": report["timing"]["samples_per_second"],
            "padding": sum(shares) / len(shares) if shares else padded_share(job, threads),
            "accuracy": report["metrics"]["accuracy"],
            "precision": json.loads((out / "environment.json").read_text(encoding="utf-8"))["precision"],
            "tokens": round(sum(epoch["tokens_per_s"] * rows / epoch["rows_per_s"] for epoch in epochs)),
            "peak_mib": done.peak_mib,
            "wall_s": done.seconds,
        }


def padded_share(job: Job, threads: int) -> float:
    """Padding share of ftcli's batches, for a version that does not record it."""
    arguments = (job.data, job.max_length, job.model, job.batch_size, job.seed, job.epochs)
    share: float = probe(threads, "padding", *map(str, arguments))["padding"]
    return share


def peer(name: str, job: Job, threads: int) -> Found:
    """One of the contenders of peer.py."""
    done = run([sys.executable, str(HERE / "peer.py"), name, json.dumps(asdict(job))], threads)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "peak_mib": done.peak_mib, "wall_s": done.seconds}


def probe(threads: int, *arguments: str) -> Found:
    """What a command of probe.py prints."""
    found: Found = json.loads(
        run([sys.executable, str(HERE / "probe.py"), *arguments], threads).stdout.splitlines()[-1]
    )
    return found
