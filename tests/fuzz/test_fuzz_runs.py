"""Run folders in which one file is broken, and predictions from broken streams, through the command line itself.

Slower by case than `test_fuzz`: FUZZ_CASES // 30 of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.mutate import mutate
from tests.fuzz.test_fuzz import CASES, SEED, in_time
from tests.tiny import run_cli, tiny_reviews

CODES = {0, 2, 3}
FEW = max(1, CASES // 30)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path) -> tuple[Path, list[str]]:
    """A run that lacks its report, and the command that goes on with it."""
    folder = tmp_path_factory.mktemp("stopped")
    asked = ["finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "4", "--out", "run",
             "--set", "checkpoint.every=2", "--set", "eval.bootstrap=0", "--batch-size", "8"]  # fmt: skip
    assert run_cli(*asked, cwd=folder).code == 0
    (folder / "run" / "report.json").unlink()
    return folder / "run", [*asked, "--resume"]


def sealed(checkpoint: Path) -> None:
    """The checksums made right again, as somebody who means harm would."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in checkpoint.iterdir()
        if file.name != "manifest.json"
    }
    (checkpoint / "manifest.json").write_text(json.dumps({"format": 1, "files": files}), encoding="utf-8")


def test_a_broken_run_folder(stopped: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Resumed or refused, whatever became of one of its files; with and without checksums that are right."""
    whole, asked = stopped
    files = [file for file in whole.rglob("*") if file.is_file() and file.name != "log.txt"]
    names = sorted(name for file in files if "/last/" not in (name := str(file.relative_to(whole))))
    assert len(names) >= 15
    for case in range(FEW):
        chance = random.Random(f"{SEED} run {case}")
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "run", symlinks=True)
        file = tmp_path / "run" / chance.choice(names)
        file.write_bytes(mutate([file.read_bytes()], chance))
        if file.parent.name.startswith("step-") and file.name != "manifest.json" and chance.random() < 0.7:
            sealed(file.parent)
        with in_time():
            done = run_cli(*asked, cwd=tmp_path)
        assert done.code in CODES, f"case {case} of seed {SEED}, {file}:\n{done.stderr}"
        assert set(os.listdir(tmp_path)) == {"run"}, f"case {case} of seed {SEED}, {file}"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def another_position(file: Path) -> None:
    state = json.loads(file.read_text(encoding="utf-8"))
    state["loop"]["position"] = 10**6
    file.write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "harm"),
    [("best.safetensors", cut), ("model.safetensors", cut), ("optimizer.safetensors", cut),
     ("state.json", another_position)],
)  # fmt: skip
def test_sealed_nonsense(
    name: str, harm: Callable[[Path], None], stopped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Content that its checksum vouches for and that is not this run's: the checkpoint before it serves."""
    whole, asked = stopped
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    newest = (tmp_path / "run" / "checkpoints" / "last").resolve()
    harm(newest / name)
    sealed(newest)
    done = run_cli(*asked, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert f"{newest.name} does not fit this run" in done.stderr
    assert "resumed from step-00000002" in done.stderr


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_a_broken_stream(name: str, trained_run: Path, tmp_path: Path) -> None:
    """An answer or an error for each record, in lines that are JSON."""
    rows = tiny_reviews(6)
    lines = {"p.txt": [row["text"] for row in rows], "p.jsonl": [json.dumps(row) for row in rows]}[name]
    seeds = ["".join(f"{line}\n" for line in lines).encode()]
    for case in range(FEW):
        content = mutate(seeds, random.Random(f"{SEED} {name} {case}"))
        (tmp_path / name).write_bytes(content)
        with in_time():
            done = run_cli("predict", str(trained_run), name, cwd=tmp_path)
        assert done.code in CODES, f"case {case} of seed {SEED}:\n{done.stderr}"
        for line in done.stdout.splitlines():
            assert line.isprintable() or not line.isascii(), line
            assert {"prediction", "error"} & set(json.loads(line))
        assert set(os.listdir(tmp_path)) == {name}


def test_a_broken_recipe(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """From the recipe to the first step of training, or not so far."""
    recipe = f"model: {tiny_bert_dir}\ndata: {reviews_dir}\ntrain: {{max_steps: 1, batch_size: 8}}\nseed: 3\n" + (
        "eval: {bootstrap: 0, every: 1}\noptimizer: {lr: 1e-3}\nschedule: {name: linear, warmup: 0.1}\n"
    )
    for case in range(FEW):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "r.yaml").write_bytes(mutate([recipe.encode()], random.Random(f"{SEED} recipe {case}")))
        limits = ("--set", "train.max_steps=1", "--limit", "40", "--out", "run")
        with in_time():
            done = run_cli("finetune", "r.yaml", *limits, cwd=tmp_path)
        assert done.code in {*CODES, 5}, f"case {case} of seed {SEED}:\n{done.stderr}"
        assert set(os.listdir(tmp_path)) <= {"run", "r.yaml"}
