"""Questions whose answers are marked in a text: SQuAD's forms, long texts, places of answers, none at all."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftcli.data.squad import answers_of
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import LongRecipe, Recipe, TokenizerRecipe
from ftcli.tasks.extractive_qa import ExtractiveQA
from tests.tasks.samples import SAMPLES
from tests.tiny import NEUTRAL, run_cli, tiny_model, write_csv, write_jsonl

QUICK = ("--max-steps", "2", "--set", "eval.bootstrap=0", "-q")


def long_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Contexts of many windows, the answer anywhere in them."""
    chance, rows = random.Random(seed), []
    for _ in range(count):
        words = chance.choices(NEUTRAL, k=chance.randint(40, 90))
        at = chance.randint(0, len(words))
        context = "  ".join([*words[:at], "superb", "clever", *words[at:]])
        rows.append({"question": "great film", "context": context,
                     "answers": {"text": ["superb  clever"], "answer_start": [context.index("superb")]}})  # fmt: skip
    return rows


def nested(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as SQuAD is published."""
    paragraphs = [
        {"context": row["context"], "qas": [{"id": str(i), "is_impossible": not row["answers"], **row}]}
        for i, row in enumerate(rows)
    ]
    for paragraph in paragraphs:
        del paragraph["qas"][0]["context"]
    return {"version": "v2.0", "data": [{"title": "one", "paragraphs": paragraphs[:5]},
                                        {"title": "two", "paragraphs": paragraphs[5:]}]}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
def test_as_published(indent: int | None, tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Nested JSON trains as flat rows do, and bad rows in it are named."""
    rows = SAMPLES["extractive-qa"].rows(16, 0)
    (tmp_path / "squad").mkdir()
    (tmp_path / "flat").mkdir()
    write_jsonl(rows, tmp_path / "flat" / "train.jsonl")
    write_jsonl(rows, tmp_path / "flat" / "dev.jsonl")
    for name in ("train-v2.0", "dev-v2.0"):
        (tmp_path / "squad" / f"{name}.json").write_text(json.dumps(nested(rows), indent=indent), encoding="utf-8")
    reports = []
    for data in ("flat", "squad"):
        done = run_cli(
            "finetune", "--model", str(tiny_bert_dir), "--data", data, "--out", f"run-{data}", "--json", *QUICK,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        reports.append(json.loads(done.stdout))
    assert reports[0]["task"] == reports[1]["task"] == "extractive-qa"
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert "accuracy_unanswerable" in reports[0]["metrics"]
    rows[11]["answers"] = [{"text": "hotel", "answer_start": 1}]
    (tmp_path / "squad" / "train-v2.0.json").write_text(json.dumps(nested(rows)), encoding="utf-8")
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "squad", *QUICK, cwd=tmp_path)
    assert done.code == 3
    assert "train-v2.0.json, row 12: answers has 'hotel' at character 1" in done.stderr


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"text": ["b c"], "answer_start": [2]}, [("b c", 2)]),
        ([{"text": "a", "answer_start": 0}, {"text": "c", "answer_start": 4}], [("a", 0), ("c", 4)]),
        ('[{"text": "b", "answer_start": 2}]', [("b", 2)]),
        ("b c", [("b c", 2)]),
        ([], []),
        ({"text": [], "answer_start": []}, []),
        ({"text": "", "answer_start": -1}, []),
    ],
)
def test_forms_of_answers(value: Any, found: list[tuple[str, int]]) -> None:
    assert answers_of(value, "a b c") == found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": ["b"], "answer_start": [0]}, "it is at 2"),
        ({"text": ["d"], "answer_start": [2]}, "does not occur"),
        ({"text": ["a", "b"], "answer_start": [0]}, "as many places"),
        ({"text": ["a"], "answer_start": [-3]}, "at character -3"),
        ({"text": ["a"], "answer_start": [True]}, "whole number"),
        ({"text": [3], "answer_start": [0]}, "a number"),
        ("", "is empty"),
        (7, "a number"),
        ([None], "null"),
    ],
)
def test_faults_of_answers(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        answers_of(value, "a b c")


def test_windows_hold_every_token_and_mark_the_answer() -> None:
    """Each target names a token whose place in the text is the answer's; together windows leave nothing out."""
    rows = long_rows(20, 1)
    tokenizer = train_wordpiece([row["context"] for row in rows], TokenizerRecipe(vocab_size=150), 32)
    task = ExtractiveQA(tokenizer, 32, Recipe(long=LongRecipe(overlap=0.4)))
    for row, example in zip(rows, task.encode(rows), strict=True):
        assert len(example["windows"]) > 1
        assert max(example["windows"]) <= 32
        ends = np.cumsum(example["windows"])
        begin, finish = (example[name] for name in ("begin", "finish"))
        assert len(begin) == len(finish) >= 1
        for first, last in zip(begin, finish, strict=True):
            window = int(np.searchsorted(ends, first, side="right"))
            inside = [int(p - (ends[window] - example["windows"][window])) for p in (first, last)]
            tokens = [p - example["first"] + example["parts"][window] for p in inside]
            start, end = int(example["starts"][tokens[0]]), int(example["ends"][tokens[1]])
            assert row["context"][start:end] == "superb  clever"
        covered = set()
        for part, length in zip(example["parts"], example["windows"], strict=True):
            covered |= set(range(part, part + length - example["first"] - 1))
        assert covered == set(range(len(example["starts"])))


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_jsonl(long_rows(32, 0), folder / "train.jsonl")
    write_jsonl(long_rows(8, 1), folder / "validation.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(folder), "--out", str(folder / "run"),
        "--max-length", "32", "--epochs", "25", "--lr", "4e-3", "--batch-size", "8", "-q", "--set", "eval.every=50",
        "--set", "regularize.dropout=0",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run"


def test_answers_in_long_texts_with_their_places(long_run: Path, tmp_path: Path) -> None:
    """Beyond the first window, from JSON lines and from plain ones, characters and not bytes."""
    rows = long_rows(6, 5)
    lines = "".join(json.dumps({"question": r["question"], "context": "🎬 电影 " + r["context"]}) + "\n" for r in rows)
    done = run_cli("predict", str(long_run), "-q", stdin=lines)
    assert done.code == 0, done.stderr
    right = 0
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        assert answer["context"][answer["start"] : answer["end"]] == answer["prediction"]
        assert 0 < answer["score"] <= 1
        assert "no_answer" not in answer, "all training questions have an answer"
        right += answer["prediction"] == "superb  clever"
    assert right >= 5
    plain = run_cli("predict", str(long_run), "-q", stdin=f"great film\t{rows[0]['context']}\nno context\n")
    assert plain.code == 3
    answers = [json.loads(line) for line in plain.stdout.splitlines()]
    assert answers[0]["prediction"] == "superb  clever"
    assert "question, context" in answers[1]["error"]


def test_the_threshold_is_tuned_saved_and_read_back(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = SAMPLES["extractive-qa"].rows(24, 0)
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        write_jsonl(rows, tmp_path / "data" / f"{split}.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "data", "--out", "run", "--max-steps", "8", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "tuned on validation" in done.stderr
    facts = json.loads((tmp_path / "run" / "model" / "config.json").read_text(encoding="utf-8"))["ftcli"]
    assert facts["no_answer"] is True
    report = json.loads(done.stdout)
    assert report["details"]["threshold"] == facts["threshold"]
    again = json.loads(run_cli("evaluate", "run/model", "--data", "data", "--json", "-q", cwd=tmp_path).stdout)
    assert again["metrics"] == pytest.approx(report["metrics"], nan_ok=True)
    always = run_cli("evaluate", "run", "--data", "data", "--json", "-q", "--set", "qa.no_answer=false", cwd=tmp_path)
    metrics = json.loads(always.stdout)["metrics"]
    assert "accuracy_unanswerable" not in metrics


def test_cells_of_a_table_and_other_tokenizers(tmp_path: Path) -> None:
    """Byte-level tokens, some of which begin with a space; answers as words alone in a csv file."""
    model = tiny_model("roberta", tmp_path / "model")
    rows = [
        {"question": row["question"], "context": row["context"], "answer": row["answers"]["text"][0]}
        for row in long_rows(12, 0)
    ]
    write_csv(rows, tmp_path / "train.csv")
    done = run_cli("finetune", "--model", str(model), "--data", "train.csv", "--out", "run", *QUICK, cwd=tmp_path)
    assert done.code == 0, done.stderr
    said = run_cli("predict", "run", "train.csv", "-q", cwd=tmp_path)
    assert said.code == 0
    for line in said.stdout.splitlines():
        answer = json.loads(line)
        assert answer["prediction"] == answer["prediction"].strip() != ""
