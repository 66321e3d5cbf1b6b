"""`ftcli distill --objective`: language models learn from each other on unlabelled text."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from tests.tiny import Done, run_cli, tiny_model, tiny_reviews

KINDS = {"mlm": "bert", "clm": "gpt2"}


def asked(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def distill(folder: Path, objective: str, out: str, *more: str, steps: str = "8") -> Done:
    return run_cli(
        "distill", "--teacher", str(folder / objective), "--objective", objective, "--data", str(folder / "texts.txt"),
        "--max-steps", steps, "--batch-size", "8", "--max-length", "32", "--lr", "1e-3", "--out", str(folder / out),
        *asked("log.every=1"), *more,
    )  # fmt: skip


def curve(run: Path) -> list[float]:
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["loss"] for record in records if record["split"] == "train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and a language model of each kind pretrained on them for a moment."""
    folder = tmp_path_factory.mktemp("general")
    (folder / "texts.txt").write_text("\n".join(row["text"] for row in tiny_reviews(200, 5)) + "\n", encoding="utf-8")
    for objective, kind in KINDS.items():
        done = run_cli(
            "pretrain", "--model", str(tiny_model(kind, folder / kind)), "--objective", objective, "--data",
            str(folder / "texts.txt"), "--max-steps", "4", "--max-length", "32", "--out", str(folder / objective),
        )  # fmt: skip
        assert done.code == 0, done.stderr
    return folder


@pytest.mark.parametrize("objective", KINDS)
def test_a_small_language_model_learns_from_a_large_one(objective: str, folder: Path) -> None:
    out = f"{objective}-student"
    done = distill(folder, objective, out, *asked("student.layers=1", "distill.cosine=1"), steps="30")
    assert done.code == 0, done.stderr
    report = json.loads((folder / out / "report.json").read_text())
    assert [model["role"] for model in report["distillation"]["models"]] == ["teacher", "student"]
    assert report["task"] == objective
    losses = curve(folder / out)
    assert losses[-1] < losses[0]
    prompt = "the film was [MASK]\n" if objective == "mlm" else "the film\n"
    answered = run_cli("predict", str(folder / out), stdin=prompt)
    assert answered.code == 0, answered.stderr
    scored = run_cli("evaluate", str(folder / out), "--data", str(folder / "texts.txt"), "--json")
    assert scored.code == 0, scored.stderr


@pytest.mark.parametrize("objective", KINDS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(objective: str, folder: Path) -> None:
    out = f"{objective}-same"
    terms = asked("distill.labels=0", "distill.hidden=1", "distill.cosine=1", "regularize.dropout=0")
    done = distill(folder, objective, out, "--student", str(folder / objective), *terms, steps="1")
    assert done.code == 0, done.stderr
    assert curve(folder / out)[0] == pytest.approx(0, abs=1e-5)


def test_a_student_learns_what_its_teacher_writes(folder: Path) -> None:
    settings = asked("student.layers=1", "distill.sequences=true", "distill.soft=0", "generation.max_new_tokens=8")
    done = distill(folder, "clm", "written", *settings, steps="4")
    assert done.code == 0, done.stderr
    assert "teacher writes" in done.stderr
    plain = distill(folder, "clm", "plain", *asked("student.layers=1", "distill.soft=0"), steps="4")
    assert plain.code == 0, plain.stderr
    assert curve(folder / "written") != curve(folder / "plain")
    refused = distill(folder, "mlm", "mlm-written", *asked("student.layers=1", "distill.sequences=true"))
    assert refused.code == 2
    assert "models that write" in refused.stderr


def test_a_preset_takes_the_teachers_tokenizer(folder: Path) -> None:
    settings = asked("model.config.hidden_size=16", "model.config.num_attention_heads=1", "distill.relations=1")
    done = distill(folder, "mlm", "preset", "--student", "preset:bert-tiny", *settings, steps="2")
    assert done.code == 0, done.stderr
    assert f"tokenizer of {folder / 'mlm'}" in done.stderr
    assert (folder / "preset" / "model" / "config.json").is_file()


def test_a_stopped_run_goes_on_as_if_it_had_not(folder: Path) -> None:
    from ftcli.runs import distill as work
    from ftcli.trackers.console import Console

    given = {
        "teacher.name": str(folder / "mlm"), "objective": "mlm", "data.name": str(folder / "texts.txt"),
        "student.heads": 1,
        "distill.hidden": 1, "train.max_steps": 10, "train.max_length": 32, "checkpoint.every": 4, "log.every": 1,
    }  # fmt: skip
    quiet = Console(quiet=True)
    recipes = {out: resolve(None, {**given, "out": str(folder / out)}) for out in ("whole", "parts")}
    work.run(recipes["whole"], quiet)
    with suppress(Stopped):
        work.run(recipes["parts"], quiet, stop_at=6)
    work.run(recipes["parts"], quiet, resume=True)
    assert curve(folder / "whole") == curve(folder / "parts")
    one, other = (load_file(folder / out / "model" / "model.safetensors") for out in ("whole", "parts"))
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--objective", "denoising"), "objective denoising cannot be distilled"),
        (("--teacher", "self"), "teacher.name self is for tasks"),
        (("--set", "distill.augment=1"), "distill.augment is for tasks"),
        (("--student", "preset:bert-tiny", "--set", "pretrain.z_loss=1"), "pretrain.z_loss"),
    ],
)
def test_what_cannot_be_is_refused(more: tuple[str, ...], said: str, folder: Path) -> None:
    done = distill(folder, "mlm", "refused", "--student", str(folder / "mlm"), *more)
    assert done.code == 2, done.stderr
    assert said in done.stderr


def test_other_tokens_are_refused(folder: Path) -> None:
    done = distill(folder, "mlm", "other", "--student", str(tiny_model("modernbert", folder / "modernbert")))
    assert done.code == 2, done.stderr
    assert "cut texts into other tokens" in done.stderr
