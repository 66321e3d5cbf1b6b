"""`ftcli finetune` as users rely on it: what it writes, that it repeats, resumes, and loads elsewhere."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from sklearn.metrics import classification_report

from tests.tiny import run_cli, tiny_reviews, write_jsonl

TIMINGS = {"rows_per_s", "tokens_per_s"}


def records(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock says."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return found


def finetune(tmp_path: Path, model: Path, data: Path, out: str, *more: str) -> Path:
    done = run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", str(tmp_path / out), *more, cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    return tmp_path / out


def test_run_folder(trained_run: Path) -> None:
    names = {p.name for p in trained_run.iterdir()}
    assert names >= {
        "recipe.yaml", "model", "checkpoints", "metrics.jsonl", "report.json", "report.txt", "report.md",
        "environment.json", "log.txt",
    }  # fmt: skip
    assert not [n for n in names if "partial" in n or n.startswith(".")]
    assert {p.name for p in (trained_run / "model").iterdir()} >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md",
    }  # fmt: skip
    last = trained_run / "checkpoints" / "last"
    assert last.resolve().name.startswith("step-")
    assert {p.name for p in last.iterdir()} >= {"model.safetensors", "optimizer.safetensors", "state.json"}
    environment = json.loads((trained_run / "environment.json").read_text(encoding="utf-8"))
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0] or environment["versions"]["torch"]
    assert environment["fingerprints"]["data"].keys() == {"train", "validation", "test"}
    assert len(environment["fingerprints"]["model"]) == 64


def test_metrics_are_what_the_contract_says(trained_run: Path) -> None:
    lines = records(trained_run)
    train = [line for line in lines if line["split"] == "train"]
    assert train
    assert all({"step", "epoch", "split", "loss", "lr"} <= line.keys() for line in train)
    assert [line["step"] for line in train] == sorted({line["step"] for line in train})
    validation = [line for line in lines if line["split"] == "validation"]
    assert all({"loss", "accuracy", "f1_macro"} <= line.keys() for line in validation)
    assert [line["split"] for line in lines].count("test") == 1
    found = report(trained_run)
    assert found["command"] == "finetune"
    assert found["schema"] == 1
    assert found["data"]["split"] == "test"
    assert {k: found["metrics"][k] for k in ("loss", "f1_macro")} == {k: lines[-1][k] for k in ("loss", "f1_macro")}


def test_learns_saves_reloads_and_predicts_the_same(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Overfit a handful of rows; predictions from the run folder are those of the training run's own report."""
    rows = tiny_reviews(32, seed=3)
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        write_jsonl(rows, tmp_path / "data" / f"{split}.jsonl")
    more = ("--epochs", "30", "--lr", "3e-3", "--batch-size", "8", "--max-length", "48")
    run = finetune(tmp_path, tiny_bert_dir, tmp_path / "data", "run", *more)
    assert report(run)["metrics"]["accuracy"] == 1.0
    again = run_cli("evaluate", str(run), "--json", cwd=tmp_path)
    assert again.code == 0, again.stderr
    evaluated = json.loads(again.stdout)
    for part in ("metrics", "classes", "confusion_matrix", "intervals"):
        assert evaluated[part] == report(run)[part], part
    predicted = run_cli("predict", str(run), str(tmp_path / "data" / "test.jsonl"), cwd=tmp_path)
    answers = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [a["prediction"] for a in answers] == [r["label"] for r in rows]
    assert [a["text"] for a in answers] == [r["text"] for r in rows]


def test_report_equals_scikit_learn(trained_run: Path, reviews_dir: Path, tmp_path: Path) -> None:
    done = run_cli("predict", str(trained_run), str(reviews_dir / "test.jsonl"), cwd=tmp_path)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = classification_report(
        [a["label"] for a in answers], [a["prediction"] for a in answers], output_dict=True, zero_division=0
    )
    found = report(trained_run)
    for row in found["classes"]:
        for ours, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert row[ours] == expected[row["label"]][theirs]
    assert found["metrics"]["f1_macro"] == expected["macro avg"]["f1-score"]
    assert found["metrics"]["f1_weighted"] == expected["weighted avg"]["f1-score"]


def test_transformers_loads_the_model_as_it_is(trained_run: Path, reviews_dir: Path, tmp_path: Path) -> None:
    done = run_cli("predict", str(trained_run), str(reviews_dir / "test.jsonl"), cwd=tmp_path)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    limit = yaml.safe_load((trained_run / "recipe.yaml").read_text(encoding="utf-8"))["train"]["max_length"]
    classify = transformers.pipeline("text-classification", model=str(trained_run / "model"), top_k=None)
    for answer in answers:
        scores = {s["label"]: s["score"] for s in classify([answer["text"]], truncation=True, max_length=limit)[0]}
        assert scores == pytest.approx(answer["scores"], abs=1e-6)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(trained_run / "model")
    assert set(model.config.id2label.values()) == {"negative", "positive"}
    assert transformers.AutoTokenizer.from_pretrained(trained_run / "model")("a text")["input_ids"]


def test_recipe_repeats_the_run(trained_run: Path, tmp_path: Path) -> None:
    done = run_cli("finetune", str(trained_run / "recipe.yaml"), "--out", str(tmp_path / "again"), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert records(tmp_path / "again") == records(trained_run)
    assert report(tmp_path / "again")["metrics"] == report(trained_run)["metrics"]
    files = ("model.safetensors", "config.json", "tokenizer.json", "README.md")
    for name in files:
        assert (tmp_path / "again" / "model" / name).read_bytes() == (trained_run / "model" / name).read_bytes(), name
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"):
        first, second = (r / "checkpoints" / "last" / name for r in (trained_run, tmp_path / "again"))
        assert first.read_bytes() == second.read_bytes(), name


def test_preset_trains_its_tokenizer_and_repeats(tmp_path: Path, reviews_dir: Path) -> None:
    more = ("--max-steps", "4", "--set", "model.config.hidden_size=64", "--set", "model.config.num_attention_heads=2")
    runs = [
        finetune(tmp_path, Path("preset:bert-tiny"), reviews_dir, f"run{i}", *more, "--quiet") for i in range(2)
    ]  # fmt: skip
    assert records(runs[0]) == records(runs[1])
    assert (runs[0] / "model" / "tokenizer.json").read_bytes() == (runs[1] / "model" / "tokenizer.json").read_bytes()
    assert json.loads((runs[0] / "model" / "config.json").read_text())["hidden_size"] == 64


def test_seeds_differ(trained_run: Path, tmp_path: Path) -> None:
    done = run_cli("finetune", str(trained_run / "recipe.yaml"), "--seed", "7", "--out", "other", cwd=tmp_path)
    assert done.code == 0
    assert records(tmp_path / "other") != records(trained_run)


def test_json_is_one_document_and_quiet_is_quiet(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "2", "--json", "-q",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["command"] == "finetune"
    folders = [p.name for p in (tmp_path / "runs").iterdir()]
    assert folders == [f"finetune-{tiny_bert_dir.name}-{reviews_dir.name}"]


def test_an_earlier_run_is_never_written_over(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    arguments = ("finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "1", "-q")
    for _ in range(2):
        assert run_cli(*arguments, cwd=tmp_path).code == 0
    stem = f"finetune-{tiny_bert_dir.name}-{reviews_dir.name}"
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {stem, f"{stem}-2"}
    refused = run_cli(*arguments, "--out", f"runs/{stem}", cwd=tmp_path)
    assert refused.code == 2
    assert "already holds a run" in refused.stderr


def test_dry_run_checks_and_writes_nothing(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--dry-run", "--json", cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["labels"] == ["negative", "positive"]
    assert facts["estimated_memory_bytes"] > 4 * facts["parameters"]
    assert facts["estimated_seconds"] > 0
    assert facts["steps"] == -(-facts["rows"]["train"] // 16) * 10  # a small pretrained model
    assert list(tmp_path.iterdir()) == []


def test_skipped_rows_are_counted_and_listed(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = tiny_reviews(60, seed=1)
    data = tmp_path / "data"
    data.mkdir()
    write_jsonl(
        [*rows[:40], {"text": "", "label": "negative"}, {"text": None, "label": "positive"}], data / "train.jsonl"
    )
    write_jsonl([*rows[40:], {"text": "fine", "label": "unheard-of"}], data / "test.jsonl")
    arguments = ("finetune", "--model", str(tiny_bert_dir), "--data", str(data), "--max-steps", "1", "--out", "run")
    refused = run_cli(*arguments, cwd=tmp_path)
    assert refused.code == 3
    assert "train.jsonl, line 41" in refused.stderr
    assert not (tmp_path / "run").exists()
    done = run_cli(*arguments, "--on-bad-row", "skip", cwd=tmp_path)
    assert done.code == 0, done.stderr
    listed = (tmp_path / "run" / "skipped.txt").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 3
    assert "unheard-of" in listed[2]
    assert report(tmp_path / "run")["data"]["rows"] == 20


def test_early_stopping_and_best_state(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """With a learning rate that never learns, patience ends the run; the report is of the best state's step."""
    more = ("--epochs", "20", "--lr", "1e-9", "--set", "eval.patience=2", "--set", "checkpoint.keep=2")
    run = finetune(tmp_path, tiny_bert_dir, reviews_dir, "run", *more)
    validations = [r for r in records(run) if r["split"] == "validation"]
    assert len(validations) == 3
    best = max(validations, key=lambda r: (r["f1_macro"], -r["step"]))
    assert records(run)[-1]["step"] == best["step"]
    assert len(list((run / "checkpoints").glob("step-*"))) == 2
    assert not (run / "checkpoints" / "best").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_stopped_and_resumed_equals_uninterrupted(
    number: int, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path
) -> None:
    settings = ("--epochs", "12", "--batch-size", "4", "--set", "log.every=3", "--set", "checkpoint.every=50")
    whole = finetune(tmp_path, tiny_bert_dir, reviews_dir, "whole", *settings)
    command = ("finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--out", "parts", *settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "ftcli", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_steps(tmp_path / "parts" / "metrics.jsonl", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 75, signal.SIGINT: 130}[signal.Signals(number)], stderr
    assert "checkpoint saved" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "parts" / "report.json").exists()
    resumed = run_cli(*command, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "resumed from step-" in resumed.stderr
    assert records(tmp_path / "parts") == records(whole)
    first, second = (r / "model" / "model.safetensors" for r in (whole, tmp_path / "parts"))
    assert first.read_bytes() == second.read_bytes()
    again = run_cli(*command, "--resume", cwd=tmp_path)
    assert again.code == 0
    assert "finished already" in again.stderr
    document = run_cli("finetune", "--out", "parts", "--resume", "--json", cwd=tmp_path)
    assert json.loads(document.stdout) == report(tmp_path / "parts"), "one document all the same"


def wait_for_steps(metrics: Path, process: subprocess.Popen[str]) -> None:
    """Until a first record is written; the run has hundreds of steps to go then."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.is_file() and metrics.read_text(encoding="utf-8"):
            return
        time.sleep(0.02)
    pytest.fail(f"no step in time; exit code {process.poll()}")


def test_divergence_is_exit_5(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--lr", "1e30", "--out", "run",
        "--set", "train.clip=null", "--set", "schedule.warmup=0", "--set", "log.every=1", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 5, done.stderr
    assert "diverged" in done.stderr
    assert "hint:" in done.stderr


def test_finetuning_a_run_again_keeps_its_head_for_the_same_labels(
    trained_run: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    same = run_cli(
        "finetune", "--model", str(trained_run), "--data", str(reviews_dir), "--max-steps", "1", cwd=tmp_path
    )
    assert same.code == 0, same.stderr
    assert "starts fresh" not in same.stderr
    rows = [
        {"text": r["text"], "label": {"negative": "no", "positive": "yes"}[r["label"]]}
        for r in tiny_reviews(40, seed=2)
    ]
    write_jsonl(rows, tmp_path / "other.jsonl")
    other = run_cli("finetune", "--model", str(trained_run), "--data", "other.jsonl", "--max-steps", "1", cwd=tmp_path)
    assert other.code == 0, other.stderr
    assert "starts fresh: classifier" in other.stderr


def test_a_limit_keeps_every_class(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """A few rows of many classes: those that none of the rows chosen for training has are classes still."""
    rows = [{"text": row["text"], "label": f"class {i % 30:02d}"} for i, row in enumerate(tiny_reviews(300))]
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        write_jsonl(rows, tmp_path / "data" / f"{split}.jsonl")
    run = finetune(tmp_path, tiny_bert_dir, tmp_path / "data", "run", "--limit", "20", "--max-steps", "1")
    assert report(run)["data"]["rows"] == 20
    assert [entry["label"] for entry in report(run)["classes"]] == sorted({row["label"] for row in rows})
    scored = run_cli("evaluate", str(run), "--data", str(tmp_path / "data"), "--json", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    assert json.loads(scored.stdout)["data"]["rows"] == 300


def test_what_a_person_needs_afterwards(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """The log keeps what --quiet hid, others may read the model, and the commands shown can be pasted."""
    data = write_jsonl(tiny_reviews(60), tmp_path / "my reviews.jsonl")
    (tmp_path / "two words").mkdir()
    for split in ("train", "test"):
        write_jsonl(tiny_reviews(40), tmp_path / "two words" / f"{split}.jsonl")
    run = finetune(tmp_path, tiny_bert_dir, data, "run", "--max-steps", "1", "-q")
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "held out for validation" in log
    assert "WARNING" in log
    mode = (run / "model" / "config.json").stat().st_mode
    assert {file.stat().st_mode for file in (run / "model").iterdir()} == {mode}
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "two words", "--max-steps", "1", cwd=tmp_path)
    assert done.code == 0, done.stderr
    shown = next(line for line in done.stderr.splitlines() if line.startswith("evaluate"))
    pasted = run_cli(*shlex.split(shown)[2:], "-q", cwd=tmp_path)
    assert pasted.code == 0, pasted.stderr
