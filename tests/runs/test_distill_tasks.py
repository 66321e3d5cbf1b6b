"""What is special about tasks learnt from teachers; what goes for all of them is in tests/tasks/test_contract.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from ftcli.trackers.console import Console
from tests.runs.test_distill import asked, curve
from tests.tasks.samples import SAMPLES
from tests.tiny import Done, run_cli, tiny_model, write_jsonl

Teacher = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Teacher:
    """A run on a task's sample and the data it was trained on, a few steps long."""
    made: dict[tuple[str, ...], tuple[Path, Path]] = {}

    def of(task: str, *more: str, model: Path | None = None) -> tuple[Path, Path]:
        if (task, *more) not in made:
            folder, sample = tmp_path_factory.mktemp(task), SAMPLES[task]
            splits = {name: sample.rows(24, seed) for seed, name in enumerate(("train", "validation", "test"))}
            data = sample.data(folder / "data", **splits)
            done = run_cli(
                "finetune", "--model", str(model or tiny_bert_dir), "--data", str(data), "--out", str(folder / "run"),
                "--max-steps", "12", "--batch-size", "8", "--lr", "3e-3", "--task", task, "--set", "eval.bootstrap=0",
                *more,
            )  # fmt: skip
            assert done.code == 0, done.stderr
            made[task, *more] = folder / "run", data
        return made[task, *more]

    return of


def distill(folder: Path, teacher: Path | str, data: Path, out: str, *more: str, steps: str = "5") -> Done:
    return run_cli(
        "distill", "--teacher", str(teacher), "--data", str(data), "--out", out, "--max-steps", steps, "--batch-size",
        "8", "--lr", "1e-3", *asked("log.every=1", f"teacher.cache={folder / 'answers'}", "eval.bootstrap=0"), *more,
        cwd=folder,
    )  # fmt: skip


def report_of(done: Done, folder: Path, out: str) -> dict[str, Any]:
    assert done.code == 0, done.stderr
    report: dict[str, Any] = json.loads((folder / out / "report.json").read_text(encoding="utf-8"))
    return report


def test_tags_are_learnt_word_by_word_whatever_the_tokens(teacher: Teacher, tmp_path: Path) -> None:
    run, data = teacher("token-classification")
    other = tiny_model("roberta", tmp_path / "roberta")
    done = distill(tmp_path, run, data, "other", "--student", str(other))
    assert report_of(done, tmp_path, "other")["distillation"]["agreement"]["rate"] >= 0
    refused = distill(tmp_path, run, data, "no", "--student", str(other), *asked("distill.attention=1"))
    assert refused.code == 2
    assert "states token by token" in refused.stderr


@pytest.mark.parametrize("task", ["token-classification", "extractive-qa"])
def test_rows_in_windows_from_the_cache_and_live(task: str, teacher: Teacher, tmp_path: Path) -> None:
    """States too, of rows that are several sequences each."""
    run, data = teacher(task, "--max-length", "9" if task == "token-classification" else "14")
    terms = asked("student.layers=1", "distill.hidden=1", "distill.relations=1", "distill.contrastive=0.1")
    settings = (*terms, *asked("regularize.dropout=0"))
    cached = distill(tmp_path, run, data, "cached", *settings, "--epochs", "9")
    assert cached.code == 0, cached.stderr
    assert "are read in windows" in cached.stderr
    live = distill(tmp_path, run, data, "live", *settings, *asked("teacher.cache=none", "teacher.batch_size=3"))
    assert live.code == 0, live.stderr
    assert curve(tmp_path / "live") == pytest.approx(curve(tmp_path / "cached"), rel=1e-4)


@pytest.mark.parametrize("loss", ["listwise", "pointwise"])
def test_a_ranking_by_a_cross_encoder(loss: str, teacher: Teacher, tmp_path: Path) -> None:
    run, data = teacher("ranking", *asked("ranking.kind=cross", f"ranking.loss={loss}"))
    same = distill(
        tmp_path, run, data, "same", "--student", str(run), *asked("distill.labels=0", "regularize.dropout=0"),
        steps="1",
    )  # fmt: skip
    assert same.code == 0, same.stderr
    assert curve(tmp_path / "same")[0] == pytest.approx(0, abs=1e-5)
    done = distill(tmp_path, run, data, "run", *asked("student.layers=1", "distill.hidden=1"))
    report = report_of(done, tmp_path, "run")
    scored = run_cli("evaluate", "run", "--data", str(data), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == pytest.approx(report["metrics"])
    unlabelled = distill(tmp_path, run, data, "no", "--unlabelled", str(data), *asked("student.layers=1"))
    assert unlabelled.code == 2
    assert "rows with answers alone" in unlabelled.stderr


def test_labels_with_two_teachers_and_rows_without_any(teacher: Teacher, tmp_path: Path) -> None:
    run, data = teacher("multi-label")
    second, _ = teacher("multi-label", "--seed", "5")
    rows = [{"text": row["text"]} for row in SAMPLES["multi-label"].rows(20, 9)]
    more = write_jsonl(rows, tmp_path / "more.jsonl")
    settings = asked("student.layers=1", "distill.augment=1", "distill.cosine=1")
    done = distill(tmp_path, f"{run}=3,{second}=1", data, "run", *settings, "--unlabelled", str(more), "--baseline",
                   steps="12")  # fmt: skip
    report = report_of(done, tmp_path, "run")
    assert report["distillation"]["rows"] == {"train": 24, "unlabelled": 20, "changed": 24, "changed unlabelled": 20}
    assert [model["role"] for model in report["distillation"]["models"]] == ["teacher", "student", "student alone"]
    saved = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["ftcli"]["thresholds"]
    assert set(saved) == {"food", "travel", "mood"}
    assert len(set(saved.values())) > 1, "tuned"


def test_a_stopped_run_with_rows_of_both_kinds_goes_on_as_if_it_had_not(teacher: Teacher, tmp_path: Path) -> None:
    from ftcli.runs import distill as work

    run, data = teacher("multi-label")
    more = write_jsonl([{"text": row["text"]} for row in SAMPLES["multi-label"].rows(20, 9)], tmp_path / "more.jsonl")
    given = {
        "teacher.name": str(run), "student.layers": 1, "data.name": str(data), "distill.unlabelled": str(more),
        "train.max_steps": 10, "train.batch_size": 8, "train.gradient_accumulation": 2, "checkpoint.every": 3,
        "log.every": 1, "optimizer.lr": 1e-3, "eval.bootstrap": 0, "teacher.cache": "none",
    }  # fmt: skip
    recipes = {out: resolve(None, {**given, "out": str(tmp_path / out)}) for out in ("whole", "parts")}
    work.run(recipes["whole"], Console(quiet=True))
    with pytest.raises(Stopped):
        work.run(recipes["parts"], Console(quiet=True), stop_at=5)
    work.run(recipes["parts"], Console(quiet=True), resume=True)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    one, other = ((tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("whole", "parts"))
    assert one == other


def test_pairs_with_changed_copies(teacher: Teacher, tmp_path: Path) -> None:
    run, data = teacher("pair")
    done = distill(tmp_path, run, data, "run", *asked("student.layers=1", "distill.augment=1", "distill.hidden=1"))
    assert report_of(done, tmp_path, "run")["distillation"]["rows"] == {"train": 24, "changed": 24}


def test_numbers_are_compared_in_the_unit_they_are_learnt_in(teacher: Teacher, tmp_path: Path) -> None:
    run, data = teacher("regression")
    second, _ = teacher("regression", "--seed", "5")
    fresh = ("--student", str(tiny_model("bert", tmp_path / "student")))
    done = distill(tmp_path, f"{run},{second}", data, "run", *fresh, "--baseline", steps="8")
    report = report_of(done, tmp_path, "run")
    about = report["distillation"]
    assert about["metric"] == "pearson", "of distances less is better, and nothing is kept of them"
    assert about["agreement"] is None
    assert max(curve(tmp_path / "run")) < 100, "scores from 100 to 130, their spread being 10"
    alone = about["models"][2]["metrics"]
    assert alone["mse"] < 50_000, "what the student settled is not its baseline's"
    ladder = asked("student.ladder=[layers=1 ffn=0.5, layers=2]")
    climbed = distill(tmp_path, run, data, "climbed", *ladder, "--until", "pearson >= teacher - 3", steps="2")
    assert report_of(climbed, tmp_path, "climbed")["distillation"]["chosen"] == "layers=1 ffn=0.5"
    wrong = distill(tmp_path, run, data, "wrong", *ladder, "--until", "accuracy >= 0.5")
    assert wrong.code == 2
    assert "nothing is measured as 'accuracy'" in wrong.stderr


def test_texts_that_the_teacher_writes(teacher: Teacher, tmp_path: Path) -> None:
    model = tiny_model("t5", tmp_path / "t5")
    run, data = teacher("seq2seq", *asked("seq2seq.max_target_length=8"), model=model)
    small = (
        "--student",
        "preset:t5-tiny",
        *asked("model.config={d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_decoder_layers: 1}"),
    )
    rows = [{"de": row["de"]} for row in SAMPLES["seq2seq"].rows(10, 9)]
    more = write_jsonl(rows, tmp_path / "more.jsonl")
    done = distill(
        tmp_path, run, data, "run", *small, *asked("distill.sequences=true"), "--unlabelled", str(more), "--baseline"
    )
    report = report_of(done, tmp_path, "run")
    assert done.stderr.count("teacher writes") == 2
    assert "tokenizer of" in done.stderr
    assert report["distillation"]["rows"] == {"train": 24, "unlabelled": 10}
    own = json.loads((tmp_path / "run" / "baseline" / "environment.json").read_text())["fingerprints"]["data"]
    given = json.loads((run / "environment.json").read_text())["fingerprints"]["data"]
    assert own == given, "alone it learns the targets as they are"
    refused = distill(tmp_path, run, data, "no", *small, *asked("seq2seq.max_target_length=3"))
    assert refused.code == 2
    assert "its teacher another number" in refused.stderr


def test_long_texts_in_windows(trained_run: Path, reviews_dir: Path, tmp_path: Path) -> None:
    settings = asked("student.layers=1", "distill.hidden=1", "long=windows", "teacher.max_length=8")
    refused = distill(tmp_path, trained_run, reviews_dir, "no", *settings, "--max-length", "8")
    assert refused.code == 2, refused.stderr
    assert "another number of tokens" in refused.stderr
    read = run_cli(
        "finetune", "--model", str(trained_run), "--data", str(reviews_dir), "--long", "windows", "--max-length", "8",
        "--max-steps", "2", "--out", "teacher", cwd=tmp_path,
    )  # fmt: skip
    assert read.code == 0, read.stderr
    done = distill(tmp_path, "teacher", reviews_dir, "run", *settings, "--max-length", "8")
    report = report_of(done, tmp_path, "run")
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == pytest.approx(report["metrics"])


@pytest.mark.parametrize(
    ("task", "teachers", "more", "said"),
    [
        ("extractive-qa", 2, (), "extractive-qa is learnt from one teacher"),
        ("extractive-qa", 1, ("--unlabelled", "DATA"), "rows with answers alone"),
        ("extractive-qa", 1, ("--student", "OTHER"), "extractive-qa is learnt token by token"),
        ("multi-label", 1, asked("distill.sequences=true"), "multi-label is not learnt from what a teacher writes"),
        ("token-classification", 1, asked("distill.augment=1"), "token-classification has other inputs"),
    ],
)
def test_what_a_task_cannot_is_refused(
    task: str, teachers: int, more: tuple[str, ...], said: str, teacher: Teacher, tmp_path: Path
) -> None:
    run, data = teacher(task)
    names = ",".join([str(run)] * teachers)
    places = {"DATA": str(data), "OTHER": str(tmp_path / "other")}
    if "OTHER" in more:
        tiny_model("roberta", tmp_path / "other")
    done = distill(tmp_path, names, data, "run", *asked("student.layers=1"), *(places.get(part, part) for part in more))
    assert done.code == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_task_without_soft_answers_is_refused_by_name(tmp_path: Path) -> None:
    done = distill(tmp_path, "self", tmp_path, "run", "--student", "preset:yolos-shapes", "--task", "object-detection")
    assert done.code == 2
    assert "object-detection cannot be distilled yet; text-classification, multi-label" in done.stderr
