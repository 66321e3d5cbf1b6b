"""`ftcli predict --watch-rate`: alerts as records come, a file of them, exit 4; the answers are as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import Done, run_cli, tiny_bert, tiny_model, write_jsonl

GOOD, BAD = "a good great film", "an awful dull film"


def watch(run: Path, cwd: Path, stdin: str, *rates: str, more: tuple[str, ...] = ()) -> Done:
    flags = [part for rate in rates for part in ("--watch-rate", rate)]
    return run_cli("predict", str(run), *flags, *more, stdin=stdin, cwd=cwd)


def lines(*texts: str) -> str:
    return "".join(text + "\n" for text in texts)


@pytest.fixture
def sides(trained_run: Path) -> dict[str, str]:
    """Label -> a text that the trained run gives it."""
    done = run_cli("predict", str(trained_run), "-q", stdin=lines(GOOD, BAD))
    found = {answer["prediction"]: answer["text"] for answer in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {"positive", "negative"}
    return found


def told(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("alert: ")]


def test_a_line_a_crossing_and_exit_4(trained_run: Path, tmp_path: Path, sides: dict[str, str]) -> None:
    good, bad = sides["positive"], sides["negative"]
    stream = lines(good, bad, "", bad, bad, good, good, good, bad, bad, bad)
    plain = run_cli("predict", str(trained_run), "-q", stdin=stream, cwd=tmp_path)
    assert plain.code == 3, "a blank line is no record"
    done = watch(trained_run, tmp_path, stream, "negative>0.7/4", more=("--alerts", "a.jsonl", "-q"))
    assert done.code == 4
    assert done.stdout == plain.stdout
    assert told(done) == [
        "alert: negative>0.7/4: 0.75 at record 5 (3 of the last 4)",
        "alert: negative>0.7/4: 0.75 at record 11 (3 of the last 4)",
    ]
    assert "2 alerts of negative>0.7/4 (1 record could not be used and does not count)" in done.stderr
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(alert.pop("time").endswith("+00:00") for alert in found)
    assert found[0] == {
        "alert": "negative>0.7/4", "label": "negative", "op": ">", "share": 0.7,
        "record": 5, "rate": 0.75, "count": 3, "window": 4,
    }  # fmt: skip
    assert [alert["record"] for alert in found] == [5, 11]
    again = watch(trained_run, tmp_path, stream, "negative>0.7/4", more=("--alerts", "a.jsonl"))
    assert again.code == 4
    assert len((tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()) == 4, "added to what is there"


def test_no_alert_no_code(trained_run: Path, tmp_path: Path, sides: dict[str, str]) -> None:
    done = watch(trained_run, tmp_path, lines(*[sides["negative"]] * 9), "negative>0.3/10", "positive>0.3/2")
    assert (done.code, told(done)) == (0, []), "the window is not full, and the other label not there"
    both = watch(trained_run, tmp_path, lines(*[sides["negative"]] * 9), "negative>0.3/8", "positive<=0.5/2")
    assert both.code == 4
    assert [line.split()[1] for line in told(both)] == ["positive<=0.5/2:", "negative>0.3/8:"]
    unused = watch(trained_run, tmp_path, lines("", sides["negative"]), "negative>0.3/2", more=("--alerts", "a.jsonl"))
    assert unused.code == 3
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == ""


def test_an_alert_comes_before_the_input_ends(trained_run: Path, tmp_path: Path, sides: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ftcli", "predict", str(trained_run), "-q",
         "--watch-rate", "negative>0.5/2", "--alerts", "a.jsonl"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(2):
        process.stdin.write(sides["negative"] + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["prediction"] == "negative"
    assert process.stderr.readline() == "alert: negative>0.5/2: 1 at record 2 (2 of the last 2)\n"
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))["record"] == 2
    process.stdin.close()
    assert process.wait(60) == 4
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--watch-rate", "negativ>0.3/100"], "did you mean 'negative'?"),
        (["--watch-rate", "negative>3/100"], "a share is from 0 to 1"),
        (["--watch-rate", "negative"], "LABEL>SHARE/WINDOW"),
        (["--alerts", "a.jsonl"], "no rate is watched"),
        (["--watch-rate", "negative>0.3/100", "--alerts", "-"], "name a file"),
        (["--watch-rate", "negative>0.3/100", "--alerts", "nowhere/a.jsonl"], "choose another --alerts"),
        (["--watch-rate", "negative>0.3/100", "--alerts", "o", "--output", "o"], "the same file"),
    ],
)
def test_what_is_refused(flags: list[str], said: str, trained_run: Path, tmp_path: Path) -> None:
    done = run_cli("predict", str(trained_run), *flags, stdin=GOOD, cwd=tmp_path)
    assert done.code == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_task_without_labels_is_refused(tmp_path: Path) -> None:
    t5 = tiny_model("t5", tmp_path / "t5")
    done = run_cli("predict", str(t5), "--task", "seq2seq", "--watch-rate", "x>0.3/10", stdin=GOOD, cwd=tmp_path)
    assert done.code == 2
    assert "seq2seq gives none" in done.stderr


def test_chinese_labels(tmp_path: Path) -> None:
    model = tiny_bert(tmp_path / "model", labels=["负面", "正面"])
    said = json.loads(run_cli("predict", str(model), "-q", stdin="股价大跌\n").stdout)["prediction"]
    done = watch(model, tmp_path, lines("股价大跌", "股价大跌"), f"{said}>0.5/2", more=("--alerts", "警报.jsonl"))
    assert done.code == 4, done.stderr
    assert told(done) == [f"alert: {said}>0.5/2: 1 at record 2 (2 of the last 2)"]
    assert json.loads((tmp_path / "警报.jsonl").read_text(encoding="utf-8"))["label"] == said
    wrong = watch(model, tmp_path, "", "负>0.5/2")
    assert wrong.code == 2
    assert "负面" in wrong.stderr


ROWS: dict[str, Any] = {
    "multi-label": [{"text": text, "labels": ["sad"] if text == BAD else ["glad", "fond"]} for text in (GOOD, BAD)],
    "token-classification": [
        {"tokens": ["Ann", "likes", "Bob"], "tags": ["B-PER", "O", "B-PER"]},
        {"tokens": ["to", "Paris", "go"], "tags": ["O", "B-LOC", "O"]},
    ],
}


@pytest.mark.parametrize(("task", "label"), [("multi-label", "sad"), ("token-classification", "LOC")])
def test_records_that_have_a_label_among_others(task: str, label: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    """The rate is that of the records with the label, counted here from the answers."""
    write_jsonl(ROWS[task] * 12, tmp_path / "d.jsonl")
    trained = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "d.jsonl", "--out", "run", "--epochs", "12", "-q",
        "--lr", "5e-3", "--batch-size", "6", "--set", "regularize.dropout=0", "--set", "eval.bootstrap=0", cwd=tmp_path,
    )  # fmt: skip
    assert trained.code == 0, trained.stderr
    done = run_cli("predict", "run", "d.jsonl", "-q", "--watch-rate", f"{label}>=0.4/5", cwd=tmp_path)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    has = [label in a["prediction"] if "entities" not in a else label in {e["label"] for e in a["entities"]}
           for a in answers]  # fmt: skip
    assert has == [False, True] * 12, "learnt"
    assert [line.split()[5] for line in told(done)] == ["5"], "two or three of five from then on"
    assert done.code == 4
    unknown = run_cli("predict", "run", "d.jsonl", "--watch-rate", f"{label}s>=0.4/5", cwd=tmp_path)
    assert unknown.code == 2
    assert f"'{label}'" in unknown.stderr
