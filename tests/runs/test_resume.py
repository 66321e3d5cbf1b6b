"""A run that cannot be lost: killed anywhere, resumed, and equal bit for bit to one that never stopped."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Child, start
from tests.tiny import run_cli, tiny_reviews, write_jsonl

TIMINGS = {"rows_per_s", "tokens_per_s"}
SETTINGS = (
    "--epochs", "4", "--lr", "2e-3", "--batch-size", "4", "--set", "log.every=3", "--set", "checkpoint.every=2",
    "--set", "eval.every=7",
)  # fmt: skip


def command(model: Path, data: Path, out: str, *more: str) -> tuple[str, ...]:
    return ("finetune", "--model", str(model), "--data", str(data), "--out", out, *SETTINGS, *more)


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]


def contents(run: Path) -> dict[str, bytes]:
    """What has to be equal: the model, the last checkpoint, the scores."""
    files = [run / "model" / "model.safetensors", *(run / "checkpoints" / "last").iterdir()]
    found = {file.name: file.read_bytes() for file in files}
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    found["report"] = json.dumps({k: report[k] for k in ("metrics", "classes", "confusion_matrix")}).encode()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path) -> tuple[Path, float]:
    """An uninterrupted run and the seconds it took."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    assert start(*command(tiny_bert_dir, reviews_dir, "run"), cwd=folder).wait() == 0
    return folder / "run", time.monotonic() - began


def assert_equal(run: Path, whole: Path) -> None:
    assert records(run) == records(whole)
    assert contents(run) == contents(whole)
    assert not list((run / "checkpoints").glob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(
    kills: int, whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    """kill -9, also while checkpoints are written: after each, the resumed run ends as the uninterrupted one did."""
    chance = random.Random(kills)
    asked = command(tiny_bert_dir, reviews_dir, "run")
    died_training = died_writing = 0
    for _ in range(kills):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        child = start(*asked, cwd=tmp_path)
        time.sleep(chance.random() * whole[1])
        child.kill()
        child.wait()
        died_training += (tmp_path / "run" / "checkpoints").is_dir()
        died_writing += bool(list((tmp_path / "run" / "checkpoints").glob(".*.partial")))
        resumed = start(*asked, "--resume", cwd=tmp_path)
        assert resumed.wait() == 0, resumed.said()
        assert_equal(tmp_path / "run", whole[0])
    print(f"{kills} killed: {died_training} while training or later, {died_writing} of them while writing a checkpoint")
    assert died_training >= kills // 3, "most kills have to come while there is something to lose"
    assert died_writing or kills < 50, "some have to come while a checkpoint is written"


def test_killed_again_and_again(
    whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "run", "--resume")
    for _ in range(4):
        child = start(*asked, cwd=tmp_path)
        time.sleep(0.4 * whole[1])
        child.kill()
        child.wait()
    last = start(*asked, cwd=tmp_path)
    assert last.wait() == 0, last.said()
    assert_equal(tmp_path / "run", whole[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_asked_to_stop_at_random_moments(
    number: int, whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    """In the first step, while scoring, while a checkpoint is written: the exit code says whether to come back."""
    chance = random.Random(int(number))
    for _ in range(4):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        asked = command(tiny_bert_dir, reviews_dir, "run")
        child = start(*asked, cwd=tmp_path)
        time.sleep(0.1 + chance.random() * whole[1])
        if child.poll() is None:
            child.kill(number)
        code = child.wait(20)
        if code == -number:  # on a busy machine ftcli was not there yet, or not any more
            assert not (tmp_path / "run").exists() or (tmp_path / "run" / "report.json").exists()
        else:
            assert code in ({130, 0} if number == signal.SIGINT else {75, 0}), child.said()
        if code:
            assert "Traceback" not in child.said()
            resumed = start(*asked, "--resume", cwd=tmp_path)
            assert resumed.wait() == 0, resumed.said()
        assert_equal(tmp_path / "run", whole[0])


def test_a_budget_ends_in_time_and_the_rest_follows(
    whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    long = ("--epochs", "40", "--set", "checkpoint.every=1m", "--set", "eval.every=100")
    asked = command(tiny_bert_dir, reviews_dir, "run", *long)
    from ftcli.cli import training

    budget = time.monotonic() - training.STARTED + 2.0  # counted from the start of the process, which is this one's
    began = time.monotonic()
    child = start(*asked, "--budget", f"{budget:.1f}s", cwd=tmp_path)
    assert child.wait() == 75, child.said()
    assert time.monotonic() - began < 3.0
    assert "budget" in child.said()
    assert start(*asked, "--resume", cwd=tmp_path).wait() == 0
    straight = start(*command(tiny_bert_dir, reviews_dir, "straight", *long), cwd=tmp_path)
    assert straight.wait() == 0
    assert records(tmp_path / "run") == records(tmp_path / "straight")


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(
    how: str, name: str, whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    """The one before serves, and the user is told."""
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "report.json").unlink()
    newest = (tmp_path / "run" / "checkpoints" / "last").resolve()
    damage(newest / name, how)
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run", "--resume"), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert f"{newest.name} is damaged" in done.stderr
    assert_equal(tmp_path / "run", whole[0])


def test_nothing_left_of_any_checkpoint(
    whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "report.json").unlink()
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step-*"):
        damage(checkpoint / "model.safetensors", "flipped")
    done = run_cli(*command(tiny_bert_dir, reviews_dir, "run", "--resume"), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "starting at step 0" in done.stderr
    assert_equal(tmp_path / "run", whole[0])


def test_what_changed_is_shown_and_refused(whole: tuple[Path, float], tmp_path: Path, tiny_bert_dir: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "report.json").unlink()
    own = ("finetune", str(tmp_path / "run" / "recipe.yaml"), "--out", "run", "--resume")
    data = tmp_path / "data"
    data.mkdir()
    for split, count, seed in (("train", 96, 5), ("validation", 24, 1), ("test", 40, 2)):
        write_jsonl(tiny_reviews(count, seed), data / f"{split}.jsonl")
    cases = {
        ("--lr", "1e-3"): "optimizer.lr: 0.002 before, 0.001 now",
        ("--batch-size", "8"): "train.batch_size: 4 before, 8 now",
        ("--epochs", "2"): "train.epochs: 4.0 before, 2.0 now",
        ("--data", str(data)): "data train: content",
        ("--seed", "1"): "seed: 42 before, 1 now",
    }
    for change, words in cases.items():
        refused = run_cli(*own, *change, cwd=tmp_path)
        assert refused.code == 2, refused.stderr
        assert words in refused.stderr
        assert "hint:" in refused.stderr
    assert_equal(whole[0], whole[0])


def test_more_epochs_after_the_end(whole: tuple[Path, float], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    again = run_cli("finetune", "--out", "run", "--resume", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert "finished already" in again.stderr
    more = run_cli("finetune", "--out", "run", "--resume", "--epochs", "6", cwd=tmp_path)
    assert more.code == 0, more.stderr
    assert "train.epochs is 6.0 now, 4.0 before" in more.stderr
    before = max(r["step"] for r in records(whole[0]))
    assert max(r["step"] for r in records(tmp_path / "run")) > before


def test_two_on_one_folder(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = command(tiny_bert_dir, reviews_dir, "run", "--epochs", "400", "--resume")
    first = start(*asked, cwd=tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl", first)
    second = run_cli(*asked, cwd=tmp_path)
    first.kill()
    first.wait()
    assert second.code == 2
    assert f"in use by process {first.pid}" in second.stderr
    third = start(*asked, "--max-steps", "1", cwd=tmp_path)
    third.wait()
    assert f"process {first.pid}" in third.said(), "a lock its owner died with is taken over, and said"
    assert "left this run without finishing" in third.said()


def wait_for(file: Path, child: Child) -> None:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        assert child.poll() is None, child.said()
        time.sleep(0.01)
