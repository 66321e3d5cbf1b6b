"""`ftcli evaluate` in scripts and pipelines: gates, JSON, other data than the run's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import run_cli, tiny_reviews, write_csv, write_jsonl


def test_gate_passes_and_fails(trained_run: Path, tmp_path: Path) -> None:
    passed = run_cli("evaluate", str(trained_run), "--fail-under", "accuracy=0", "--json", cwd=tmp_path)
    assert passed.code == 0
    assert json.loads(passed.stdout)["gates"][0]["passed"] is True
    failed = run_cli("evaluate", str(trained_run), "--fail-under", "f1_macro=1.01", "--json", cwd=tmp_path)
    assert failed.code == 4
    gate = json.loads(failed.stdout)["gates"][0]
    assert (gate["metric"], gate["op"], gate["value"], gate["passed"]) == ("f1_macro", ">=", 1.01, False)
    missing = run_cli("evaluate", str(trained_run), "--fail-under", "f1_makro=0.5", cwd=tmp_path)
    assert missing.code == 4


def test_same_inputs_same_bytes(trained_run: Path, tmp_path: Path) -> None:
    documents = [json.loads(run_cli("evaluate", str(trained_run), "--json", cwd=tmp_path).stdout) for _ in range(2)]
    for part in ("metrics", "classes", "confusion_matrix", "intervals"):
        assert json.dumps(documents[0][part]) == json.dumps(documents[1][part])


def test_batch_size_changes_nothing_that_counts(trained_run: Path, tmp_path: Path) -> None:
    documents = [
        json.loads(run_cli("evaluate", str(trained_run), "--json", "--batch-size", str(n), cwd=tmp_path).stdout)
        for n in (1, 7, 64)
    ]
    for document in documents[1:]:
        assert document["confusion_matrix"] == documents[0]["confusion_matrix"]
        assert document["metrics"]["loss"] == pytest.approx(documents[0]["metrics"]["loss"], abs=1e-5)


def test_another_file_and_labels_as_numbers(trained_run: Path, tmp_path: Path) -> None:
    """The run's label names are 'negative' and 'positive'; a file that counts 0 and 1 is scored by position."""
    rows = tiny_reviews(30, seed=9)
    numbered = [{"review": r["text"], "stars": int(r["label"] == "positive")} for r in rows]
    write_csv(numbered, tmp_path / "other.csv")
    write_csv([{"review": r["text"], "stars": r["label"]} for r in rows], tmp_path / "named.csv")
    first = run_cli("evaluate", str(trained_run), "--data", "other.csv", "--json", cwd=tmp_path)
    assert first.code == 0, first.stderr
    second = run_cli("evaluate", str(trained_run), "--data", "named.csv", "--json", cwd=tmp_path)
    assert json.loads(first.stdout)["confusion_matrix"] == json.loads(second.stdout)["confusion_matrix"]
    assert json.loads(first.stdout)["data"]["rows"] == 30


def test_out_writes_reports(trained_run: Path, tmp_path: Path) -> None:
    done = run_cli("evaluate", str(trained_run), "--split", "validation", "--out", "scores", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert {p.name for p in (tmp_path / "scores").iterdir()} >= {"report.json", "report.txt", "report.md"}
    assert (tmp_path / "scores" / "report.txt").read_text(encoding="utf-8").split()[:4] == done.stdout.split()[:4]
    assert (
        json.loads((tmp_path / "scores" / "report.json").read_text(encoding="utf-8"))["data"]["split"] == "validation"
    )


def test_plain_text_has_scikit_learns_columns(trained_run: Path, tmp_path: Path) -> None:
    done = run_cli("evaluate", str(trained_run), cwd=tmp_path)
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == ["precision", "recall", "f1-score", "support"]
    assert [line[0] for line in lines[1:7]] == ["negative", "positive", "accuracy", "micro", "macro", "weighted"]
    assert "\x1b" not in done.stdout + done.stderr


def test_rows_seen_in_training_are_said(trained_run: Path, reviews_dir: Path, tmp_path: Path) -> None:
    assert "trained on" not in run_cli("evaluate", str(trained_run), cwd=tmp_path).stderr
    again = run_cli("evaluate", str(trained_run), "--data", str(reviews_dir / "train.jsonl"), cwd=tmp_path)
    assert "was trained on: its score says nothing" in again.stderr
    write_csv(tiny_reviews(40), tmp_path / "one.csv")
    whole = ("finetune", "--model", str(trained_run), "--data", "one.csv", "--max-steps", "1", "--out", "run")
    assert run_cli(*whole, cwd=tmp_path).code == 0
    assert "no split 'test': training rows are scored too" in run_cli("evaluate", "run", cwd=tmp_path).stderr


def test_named_numbers_are_read_by_name(trained_run: Path, tmp_path: Path) -> None:
    """The data counts its classes the other way round than the model: names decide, not positions."""
    rows = tiny_reviews(30, seed=9)
    write_csv([{"text": r["text"], "label": int(r["label"] == "negative")} for r in rows], tmp_path / "turned.csv")
    write_csv(rows, tmp_path / "named.csv")
    names = ("--set", "data.label_names=Positive,Negative")
    turned = run_cli("evaluate", str(trained_run), "--data", "turned.csv", "--json", *names, cwd=tmp_path)
    assert turned.code == 0, turned.stderr
    named = run_cli("evaluate", str(trained_run), "--data", "named.csv", "--json", cwd=tmp_path)
    assert json.loads(turned.stdout)["confusion_matrix"] == json.loads(named.stdout)["confusion_matrix"]
    other = ("--set", "data.label_names=good,bad,so-so")
    refused = run_cli("evaluate", str(trained_run), "--data", "turned.csv", *other, cwd=tmp_path)
    assert refused.code == 3
    assert "are not the model's (negative, positive)" in refused.stderr


def test_a_held_out_split_is_the_one_of_training(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Of the run's own seed: no row that it trained on is scored."""
    (tmp_path / "data").mkdir()
    write_jsonl(tiny_reviews(60, seed=9), tmp_path / "data" / "train.jsonl")
    write_jsonl(tiny_reviews(9, seed=8), tmp_path / "data" / "test.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "data", "--out", "run", "--max-steps", "3", "--seed", "7",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    facts = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    again = run_cli("evaluate", "run", "--split", "validation", "--json", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["data"]["fingerprint"] == facts["fingerprints"]["data"]["validation"]
    other = run_cli("evaluate", "run", "--split", "validation", "--json", "--seed", "8", cwd=tmp_path)
    assert json.loads(other.stdout)["data"]["fingerprint"] != facts["fingerprints"]["data"]["validation"]
