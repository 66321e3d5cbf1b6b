"""The forms that data sets of several choices have, and what their labels name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftcli.data.choices import choices_of, place_of
from tests.tasks.samples import SAMPLES
from tests.tiny import run_cli, write_csv, write_jsonl

QUICK = ("--max-steps", "2", "--set", "eval.bootstrap=0", "--json")
FORMS: dict[str, Any] = {
    "arc": lambda row: {
        "id": "x", "question": row["question"], "answerKey": row["label"],
        "choices": {"text": row["choices"], "label": list("ABCD"[: len(row["choices"])])},
    },
    "ai2": lambda row: {
        "question": {"stem": row["question"],
                     "choices": [{"text": t, "label": n} for t, n in zip(row["choices"], "ABCD", strict=False)]},
        "answerKey": row["label"],
    },
    "race": lambda row: {"article": "a", "question": row["question"][1:], "options": row["choices"],
                         "answer": row["label"]} | {"article": row["question"][0]},
    "columns": lambda row: {
        "question": row["question"], **{f"choice{n}": (*row["choices"], "", "")[n] for n in range(4)},
        "label": "ABCD".index(row["label"]),
    },
    "from one": lambda row: {
        "question": row["question"], **{f"option_{'abcd'[n]}": (*row["choices"], "", "")[n] for n in range(4)},
        "label": "ABCD".index(row["label"]) + 1,
    },
    "words": lambda row: {"question": row["question"], "choices": row["choices"],
                          "correct_answer": row["choices"]["ABCD".index(row["label"])]},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_mean_the_same(form: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = SAMPLES["multiple-choice"].rows(24, 0)
    rows = [row for row in rows if len(set(row["choices"])) == len(row["choices"])]
    if form == "from one":  # with all of them there some label is as large as there are choices
        rows = [row for row in rows if len(row["choices"]) > 1]
    metrics = []
    for name, made in (("plain", list(rows)), ("other", [FORMS[form](row) for row in rows])):
        folder = tmp_path / name
        folder.mkdir()
        write = write_csv if name == "other" and form in ("columns", "from one") else write_jsonl
        for split in ("train", "validation", "test"):
            write(made, folder / f"{split}.{'csv' if write is write_csv else 'jsonl'}")
        done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", str(folder), *QUICK, cwd=tmp_path)
        assert done.code == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["task"] == "multiple-choice"
        metrics.append(report["metrics"])
        assert ("choices are numbered from 1" in done.stderr) == (name == "other" and form == "from one")
    assert metrics[0]["loss"] == pytest.approx(metrics[1]["loss"], abs=2e-2 if form == "race" else 1e-6)


def test_swag_begins_each_choice_with_the_second_sentence(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = [
        {"video-id": "v", "startphrase": "s", "sent1": "the film was good", "sent2": "it was", "gold-source": "gold",
         **{f"ending{n}": word for n, word in enumerate(("very bad", "superb", "slow", "rude"))}, "label": i % 4}
        for i in range(12)
    ]  # fmt: skip
    write_csv(rows, tmp_path / "train.csv")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "train.csv", "--out", "run", *QUICK, cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    assert "'ending0', 'ending1', 'ending2', 'ending3'" in done.stderr
    said = run_cli("predict", "run", "train.csv", "-q", cwd=tmp_path)
    answer = json.loads(said.stdout.splitlines()[0])
    assert answer["prediction"] == answer[f"ending{answer['index']}"]
    assert sum(answer["scores"]) == pytest.approx(1)
    joined = {"sent1": rows[0]["sent1"], "choices": [f"it was {rows[0][f'ending{n}']}" for n in range(4)]}
    other = run_cli("predict", "run", "-q", stdin=json.dumps(joined), cwd=tmp_path)
    assert json.loads(other.stdout)["scores"] == pytest.approx(answer["scores"], abs=1e-6)


@pytest.mark.parametrize(
    ("label", "names", "first", "place"),
    [(2, None, 0, 2), (2, None, 1, 1), ("1", None, 0, 1), ("b", None, 0, 1), ("C", ["A", "B", "C"], 0, 2),
     ("3", ["1", "2", "3"], 0, 2), ("blue", None, 0, 2), (3, None, 0, None), (0, None, 1, None), ("E", None, 0, None),
     (True, None, 0, None)],
)  # fmt: skip
def test_what_a_label_names(label: Any, names: list[str] | None, first: int, place: int | None) -> None:
    assert place_of(label, ["red", "green", "blue"], names, first) == place


@pytest.mark.parametrize(
    ("value", "said"),
    [("red", "not a list"), (["red"], "at least two"), (["red", "", "blue"], "choice 2 is empty"), (7, "a number"),
     ({"text": ["a", "b"], "label": ["A"]}, "as many labels"), ([None, None], "at least two")],
)  # fmt: skip
def test_faults_of_choices(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choices_of(value)
