"""`ftcli compare`: the same rows through several models, what differs, gates, and mistakes people make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from ftcli.contract_options import Judging, Resampling
from ftcli.engine.ranks import ALONE
from ftcli.metrics.paired import draws
from ftcli.recipe.load import build
from ftcli.runs import cost
from ftcli.runs.compare import _anew, some
from ftcli.runs.evaluate import assembled, load
from ftcli.runs.trained import open_trained
from ftcli.trackers.console import Console
from tests.tiny import Done, run_cli, tiny_bert, tiny_reviews, write_csv, write_jsonl


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path) -> Path:
    """A run on the same data that learnt little, its head alone trained."""
    run = tmp_path_factory.mktemp("run") / "weak"
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--out", str(run), "--method", "head",
        "--max-steps", "3", "--seed", "7", "--limit", "32",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return run


def compared(*arguments: str, cwd: Path) -> dict[str, Any]:
    done = run_cli("compare", *arguments, "--json", cwd=cwd)
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def predictions(run: Path, data: Path) -> list[dict[str, Any]]:
    done = run_cli("predict", str(run), str(data / "test.jsonl"), "-q")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_runs(trained_run: Path, weak: Path, reviews_dir: Path, tmp_path: Path) -> None:
    found = compared(str(trained_run), str(weak), "--output", "flips.jsonl", "--flips", "3", cwd=tmp_path)
    rows, data = found["data"]["rows"], found["data"]
    assert (data["split"], rows) == ("test", 40)
    for place, run in enumerate((trained_run, weak)):
        own = json.loads(run_cli("evaluate", str(run), "--json", cwd=tmp_path).stdout)
        assert found["runs"][place]["metrics"] == own["metrics"]
        assert data["fingerprint"] == own["data"]["fingerprint"]
    first, second = found["runs"]
    difference = found["comparisons"][0]["differences"]["f1_macro"]
    assert difference["difference"] == second["metrics"]["f1_macro"] - first["metrics"]["f1_macro"] < 0
    low, high = difference["interval"]
    assert low < difference["difference"] < high < 0
    assert first["intervals"]["loss"][0] < first["metrics"]["loss"] < first["intervals"]["loss"][1]
    # What McNemar's test counts is what `predict` says.
    pairs = list(zip(predictions(trained_run, reviews_dir), predictions(weak, reviews_dir), strict=True))
    right = [(a["prediction"] == a["label"], b["prediction"] == b["label"]) for a, b in pairs]
    test = found["comparisons"][0]["mcnemar"]
    names = {"both_right": (True, True), "baseline_only": (True, False), "run_only": (False, True)}
    assert {name: right.count(sides) for name, sides in names.items()} == {name: test[name] for name in names}
    lost, won = test["baseline_only"], test["run_only"]
    assert lost > won
    assert test["p_value"] == pytest.approx(binomtest(lost, lost + won).pvalue)
    flips = [json.loads(line) for line in (tmp_path / "flips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [flip["row"] for flip in flips] == [row for row, (a, b) in enumerate(right) if a != b]
    for flip in flips:
        of_first, of_second = pairs[flip["row"]]
        assert flip["change"] == "lost" if right[flip["row"]][0] else "gained"
        assert flip["text"] == of_first["text"]
        assert (flip["expected"], flip["baseline"], flip["prediction"]) == (
            of_first["label"], of_first["prediction"], of_second["prediction"],
        )  # fmt: skip
        assert flip["place"].endswith(f"test.jsonl, line {flip['row'] + 1}")
    assert len(found["comparisons"][0]["flips"]) == 3


def test_what_a_run_takes_is_read_from_its_folder(trained_run: Path, weak: Path, tmp_path: Path) -> None:
    first, second = compared(str(trained_run), str(weak), cwd=tmp_path)["runs"]
    assert first["parameters"] == second["parameters"] == first["trained_parameters"]
    assert 0 < second["trained_parameters"] < second["parameters"] / 4
    for run, facts, steps in ((trained_run, first, 36), (weak, second, 3)):
        kept = json.loads((run / "environment.json").read_text())["training"]
        assert facts["training"] == {name: kept[name] for name in ("seconds", "steps", "peak_memory_bytes")}
        assert (kept["steps"], kept["running"]) == (steps, False)
        assert kept["seconds"] > 0
        assert kept["peak_memory_bytes"] > 1 << 20
        assert facts["size_bytes"] == sum(file.stat().st_size for file in (run / "model").iterdir())
        assert facts["timing"]["samples_per_second"] > 0


def test_a_run_in_two_sessions_adds_them_up_and_a_killed_one_is_not_known(tmp_path: Path) -> None:
    class Loop:
        step, ranks = 0, ALONE
        precision = build({"model.name": ("m", "")}) and type("P", (), {"device": type("D", (), {"type": "cpu"})})

    model = open_trained(build({"model.name": (str(tiny_bert(tmp_path / "m", labels=["a", "b"])), "")})).model

    def session(*, resume: bool, steps: int, killed: bool = False) -> dict[str, Any]:
        facts = {"training": cost.begun(model, tmp_path, resume=resume)}
        (tmp_path / "environment.json").write_text(json.dumps(facts))
        if not killed:
            with cost.measured(tmp_path, Loop()):  # type: ignore[arg-type]
                Loop.step += steps
        return cost.training_of(tmp_path)

    first = session(resume=False, steps=4)
    second = session(resume=True, steps=4)
    assert second["steps"] == 8
    assert second["seconds"] > first["seconds"] > 0
    assert session(resume=True, steps=0, killed=True)["running"] is True
    after = session(resume=True, steps=4)
    assert (after["steps"], after["seconds"]) == (12, None)
    Loop.step = 0  # nothing of the earlier sessions was kept: all of it is this one's
    assert session(resume=True, steps=4)["seconds"] > 0


def test_gates(trained_run: Path, weak: Path, tmp_path: Path) -> None:
    better = ("--fail-if-worse", "f1_macro=0.005", "--fail-if-worse", "loss=0.0001")
    passed = run_cli("compare", str(weak), str(trained_run), *better, "--json", cwd=tmp_path)
    assert passed.code == 0, passed.stderr
    assert [gate["passed"] for gate in json.loads(passed.stdout)["gates"]] == [True, True]
    failed = run_cli("compare", str(trained_run), str(weak), str(trained_run), *better, "--json", cwd=tmp_path)
    assert failed.code == 4
    report = json.loads(failed.stdout)
    gates = report["gates"]
    assert [(g["model"], g["metric"], g["op"], g["passed"]) for g in gates] == [
        (str(weak), "f1_macro", ">=", False), (str(weak), "loss", "<=", False),
        (str(trained_run), "f1_macro", ">=", True), (str(trained_run), "loss", "<=", True),
    ]  # fmt: skip
    assert gates[0]["value"] == report["runs"][0]["metrics"]["f1_macro"] - 0.005
    assert gates[0]["actual"] == report["runs"][1]["metrics"]["f1_macro"]
    assert "not adjusted" in report["notes"][0]
    missing = run_cli("compare", str(weak), str(trained_run), "--fail-if-worse", "f1_makro=1", cwd=tmp_path)
    assert missing.code == 4
    assert "did you mean 'f1_macro'" in missing.stderr
    assert "gate [2] f1_makro (n/a of [1]): FAILED" in missing.stdout
    bad = run_cli("compare", str(weak), str(trained_run), "--fail-if-worse", "f1_macro=-1", cwd=tmp_path)
    assert bad.code == 2


def test_plain_text_and_what_out_writes(trained_run: Path, weak: Path, tmp_path: Path) -> None:
    done = run_cli("compare", str(trained_run), str(weak), "--out", "both", "--flips", "4", cwd=tmp_path)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout + done.stderr
    assert max(map(len, lines)) <= 100
    shown = [line.split() for line in lines if line.startswith("accuracy")]
    kept = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert shown[0] == ["accuracy", *(f"{run['metrics']['accuracy']:.4f}" for run in kept["runs"])]
    low, high = kept["comparisons"][0]["differences"]["accuracy"]["interval"]
    assert shown[1][2:] == [f"{low:+.4f}", "to", f"{high:+.4f}", "worse"]
    assert any("worse" in line and line.startswith("f1_macro") for line in lines)
    assert any(line.startswith("McNemar's test (exact binomial, two-sided): p = ") for line in lines)
    assert sum(line.startswith(("  lost ", "  gained ")) for line in lines) == 4
    folder = tmp_path / "both"
    assert {p.name for p in folder.iterdir()} == {"compare.json", "compare.md", "compare.png"}
    assert kept["command"] == "compare"
    assert "| f1_macro | " in (folder / "compare.md").read_text()
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    again = run_cli("compare", str(trained_run), str(weak), "--out", "both", cwd=tmp_path)
    assert again.code == 2
    assert "already holds a run" in again.stderr


def test_same_inputs_same_bytes(trained_run: Path, weak: Path, tmp_path: Path) -> None:
    one, two = (compared(str(trained_run), str(weak), cwd=tmp_path) for _ in range(2))
    assert json.dumps(one["comparisons"]) == json.dumps(two["comparisons"])
    assert one["runs"][0]["intervals"] == two["runs"][0]["intervals"]


def test_other_data_is_asked_for(trained_run: Path, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for split, count in (("train", 24), ("validation", 8), ("test", 10)):
        write_jsonl(tiny_reviews(count, seed=count), other / f"{split}.jsonl")
    asked = ("finetune", "--model", str(tiny_bert_dir), "--data", "other", "--max-steps", "1", "--out", "else")
    assert run_cli(*asked, cwd=tmp_path).code == 0
    refused = run_cli("compare", str(trained_run), "else", cwd=tmp_path)
    assert refused.code == 2
    assert "else was trained on other data (other) than" in refused.stderr
    assert "--data D scores both" in refused.stderr
    found = compared(str(trained_run), "else", "--data", "other", "--limit", "6", cwd=tmp_path)
    assert (found["data"]["name"], found["data"]["rows"]) == ("other", 6)
    copied = shutil.copytree(reviews_dir, tmp_path / "copied")  # the same rows by another name
    again = ("finetune", "--model", str(tiny_bert_dir), "--data", str(copied), "--max-steps", "1", "--out", "copy")
    assert run_cli(*again, cwd=tmp_path).code == 0
    assert compared(str(trained_run), "copy", cwd=tmp_path)["data"]["rows"] == 40


def test_a_model_without_data_takes_the_runs(trained_run: Path, tmp_path: Path) -> None:
    """Its labels stand in another order: rows are compared by name."""
    tiny_bert(tmp_path / "plain", labels=["positive", "negative"])
    found = compared("plain", str(trained_run), "--flips", "2", cwd=tmp_path)
    assert found["data"]["rows"] == 40
    assert (found["baseline"], found["runs"][0]["trained_parameters"]) == ("plain", None)
    assert found["comparisons"][0]["flips"][0]["expected"] in ("positive", "negative")
    assert {f["prediction"] for f in found["comparisons"][0]["flips"]} <= {"positive", "negative"}
    nothing = run_cli("compare", "plain", "plain", cwd=tmp_path)
    assert nothing.code == 2
    assert "no data given" in nothing.stderr


def test_labels_that_cannot_be_compared(trained_run: Path, tmp_path: Path) -> None:
    tiny_bert(tmp_path / "turned", labels=["positive", "negative"])
    numbered = [{"text": r["text"], "label": int(r["label"] == "positive")} for r in tiny_reviews(12)]
    write_csv(numbered, tmp_path / "numbers.csv")
    refused = run_cli("compare", str(trained_run), "turned", "--data", "numbers.csv", cwd=tmp_path)
    assert refused.code == 3
    assert "numbers.csv" in refused.stderr
    assert "is 'positive' to" in refused.stderr or "is 'negative' to" in refused.stderr
    named = ("--data", "numbers.csv", "--set", "data.label_names=negative,positive")
    assert compared(str(trained_run), "turned", *named, cwd=tmp_path)["data"]["rows"] == 12
    tiny_bert(tmp_path / "three", labels=["negative", "neutral", "positive"])
    other = run_cli("compare", str(trained_run), "three", cwd=tmp_path)
    assert other.code == 2
    assert "knows other labels (negative, positive) than three (negative, neutral, positive)" in other.stderr
    tiny_bert(tmp_path / "nameless", labels=["LABEL_0", "LABEL_1"])
    assert compared(str(trained_run), "nameless", "--data", "numbers.csv", cwd=tmp_path)["data"]["rows"] == 12


def refusal(*arguments: str, cwd: Path) -> Done:
    done = run_cli("compare", *arguments, cwd=cwd)
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    assert "hint:" in done.stderr
    return done


def test_mistakes(trained_run: Path, tmp_path: Path) -> None:
    run = str(trained_run)
    assert "nothing to compare" in refusal(run, cwd=tmp_path).stderr
    (tmp_path / "empty").mkdir()
    assert "no config.json in 'empty'" in refusal(run, "empty", cwd=tmp_path).stderr
    assert "no model at './nowhere'" in refusal(run, "./nowhere", cwd=tmp_path).stderr
    (tmp_path / "stopped").mkdir()
    shutil.copy(trained_run / "recipe.yaml", tmp_path / "stopped")
    stopped = refusal(run, "stopped", cwd=tmp_path).stderr
    assert "run 'stopped' has no model yet" in stopped
    assert "--resume" in stopped
    assert "would mix rows" in refusal(run, run, "--output", "-", cwd=tmp_path).stderr
    missing = run_cli("compare", run, run, "--output", "no/such/place.jsonl", cwd=tmp_path)
    assert missing.code == 2
    assert run_cli("compare", cwd=tmp_path).code == 2


def test_pretrained_runs_have_metrics_and_no_paired_tests(
    trained_run: Path, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    asked = ("pretrain", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--objective", "mlm")
    for out, steps in (("one", "1"), ("two", "4")):
        done = run_cli(*asked, "--max-steps", steps, "--lr", "1e-2", "--out", out, cwd=tmp_path)
        assert done.code == 0, done.stderr
    gate = ("--fail-if-worse", "perplexity=1000000")
    found = compared("one", "two", "--data", str(reviews_dir), *gate, cwd=tmp_path)
    assert found["comparisons"][0]["mcnemar"] is None
    assert found["comparisons"][0]["differences"]["perplexity"]["interval"] is None
    assert found["comparisons"][0]["differences"]["perplexity"]["difference"] < 0
    assert found["notes"] == ["no paired tests: a pretrained model's metrics are sums over tokens, not answers to rows"]
    assert found["task"] == "mlm"
    text = run_cli("compare", "one", "two", "--data", str(reviews_dir), cwd=tmp_path)
    assert "note: no paired tests" in text.stdout
    assert "does text-classification and one mlm" in refusal(str(trained_run), "one", cwd=tmp_path).stderr


def test_a_task_without_a_shortcut_is_scored_anew_with_the_same_numbers(trained_run: Path, reviews_dir: Path) -> None:
    values = {"model.name": (str(trained_run), ""), "data.name": (str(reviews_dir), "")}
    trained = open_trained(build(values))
    parts = assembled(trained, load(trained, "test"), Console(quiet=True))
    task, rows = parts.task, parts.data.splits["test"]
    assert isinstance(task, Judging)
    assert isinstance(task, Resampling)
    said = [task.labels[i % 3 == 0] for i in range(len(rows))]  # type: ignore[attr-defined]
    answers = [{"prediction": s, "scores": {"negative": 0.5, "positive": 0.5}} for s in said]
    counts = next(draws(len(rows), 6, seed=0))
    quick, slow = task.score_resamples(rows, answers, counts), _anew(task, 0, rows, answers, counts)
    for name in set(quick) - {"loss"}:
        assert quick[name] == pytest.approx(slow[name], abs=1e-12), name
    assert len(set(quick) & set(slow)) >= 6
    assert quick["loss"] == pytest.approx(np.full(6, np.log(2)))


def test_rows_shown_are_of_both_kinds() -> None:
    flips = [{"change": change} for change in ("gained",) * 3 + ("lost",) * 8]
    kinds = [flip["change"] for flip in some(flips, 10)]
    assert (kinds.count("lost"), kinds.count("gained")) == (7, 3)
    kinds = [flip["change"] for flip in some(flips, 4)]
    assert (kinds.count("lost"), kinds.count("gained")) == (2, 2)
    assert some(flips, 0) == []
    assert len(some(flips, 99)) == 11
