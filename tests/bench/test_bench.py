"""The benchmark through its command line: what it prints of results, what it refuses, and one small run of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent / "bench.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "BENCH_DATA"}
    return subprocess.run(
        [sys.executable, str(BENCH), *arguments], capture_output=True, text=True, env=environment, check=False
    )


def results(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Made-up results: training rates by contender and round; prediction is ten times as fast."""
    rounds = [
        {
            "seed": i,
            "order": list(rates),
            "ceiling": {"fp32": {"flops_per_s": 1e11, "shape": "2048x2048x2048", "threads": 2}},
            "runs": {
                name: {"train": found[i], "train_last_epoch": found[i], "predict": 10 * found[i], "padding": 0.25,
                       "accuracy": 0.9 + 0.01 * i, "tokens": 100_000, "peak_mib": 900.0 + i, "wall_s": 60.0,
                       "precision": "fp32"}
                for name, found in rates.items()
            },
        }
        for i in range(len(next(iter(rates.values()))))
    ]  # fmt: skip
    facts = {"train_tokens": 100_000, "train_flops": 1e13, "test_tokens": 1, "test_flops": 1, "gpu": None}
    part = {"name": "reviews", "rows": 1000, "test_rows": 100, "labels": 2, "max_length": 128, "lr": 5e-5, "epochs": 1,
            "facts": facts, "rounds": rounds}  # fmt: skip
    settings = {"model_name": "MiniLM-L6", "precision": "fp32", "batch_size": 16, "warmup": 0.06, "weight_decay": 0.01}
    hardware = {"cpu": "A CPU", "cores": 4, "threads": 2, "memory_gib": 16.0, "gpu": None}
    versions = {"python": "3.12", "torch": "2.13", "transformers": "5.23"}
    return {"schema": 2, "hardware": hardware, "versions": versions, "settings": settings,
            "start_up": {"ftcli --help": 0.13}, "sets": [part]}  # fmt: skip


def cells(table: str, name: str) -> list[str]:
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_ratios_are_of_the_same_round(tmp_path: Path) -> None:
    # The machine was twice as slow in the second round: the ratios do not move.
    rates = {"ftcli": [6.0, 3.0, 6.6], "trainer": [3.0, 1.5, 3.0], "trainer-grouped": [4.0, 2.0, 4.0]}
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results(rates)))
    done = bench("--show", str(file), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "A CPU, 4 cores, 2 threads, 16 GiB" in done.stdout
    assert "`ftcli --help` 130 ms" in done.stdout
    ours = cells(done.stdout, "ftcli")
    assert ours[:5] == ["ftcli", "fp32", "6", "2.00 (2.00 to 2.20)", "1.50 (1.50 to 1.65)"]
    assert ours[5:8] == ["600", "25.0%", "60%"]  # tokens/s; padding; 6 rows/s x 10 GFLOP of 100 GFLOP/s
    assert ours[-2:] == ["902 MiB", "0.9100 ± 0.0100"]
    assert cells(done.stdout, "Trainer")[3] == ""


def test_results_of_several_runs_become_one(tmp_path: Path) -> None:
    files = []
    for name in ("trec", "imdb-512"):
        found = results({"ftcli": [2.0], "trainer": [1.0]})
        found["sets"][0]["name"] = name
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(found))
    done = bench("--show", *map(str, files), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "**trec**" in done.stdout
    assert "**imdb-512**" in done.stdout
    merged = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [part["name"] for part in merged["sets"]] == ["trec", "imdb-512"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sets", "imdb"], "unknown sets imdb; known: reviews, imdb-256"),
        (["--contenders", "ftcli,keras"], "unknown contenders keras; known: ftcli, ftcli-fp32, trainer"),
        (["--rounds", "0"], "--rounds is 0; expected at least 1"),
    ],
)
def test_what_is_not_known_is_refused(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)  # eight processes that each import torch
def test_a_small_run(tmp_path: Path, tiny_bert_dir: Path) -> None:
    data = tmp_path / "data"
    (data / "trec").mkdir(parents=True)
    for split, count in (("train", 60), ("test", 20)):
        lines = (f"{'DESC:manner' if i % 2 else 'LOC:city'} Où is caf\xe9 number {i} ?\n" for i in range(count))
        (data / "trec" / f"{split}.txt").write_text("".join(lines), encoding="latin-1")
    out = tmp_path / "out"
    done = bench(
        "--sets", "trec,banking77", "--contenders", "ftcli,trainer,trainer-grouped,padded", "--rounds", "1",
        "--rows", "24", "--test-rows", "16", "--model", str(tiny_bert_dir), "--data", str(data), "--out", str(out),
        "--epochs", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "banking77 is left out: " in done.stderr
    assert "warning" not in done.stderr  # all trained on the same tokens
    found = json.loads((out / "results.json").read_text())
    [part] = found["sets"]
    assert (part["name"], part["rows"], part["labels"]) == ("trec", 24, 2)
    runs = part["rounds"][0]["runs"]
    assert set(runs) == {"ftcli", "trainer", "trainer-grouped", "padded"}
    assert runs["padded"]["padding"] > runs["trainer"]["padding"] >= 0
    assert all(run["train"] > 0 and run["predict"] > 0 and 0 <= run["accuracy"] <= 1 for run in runs.values())
