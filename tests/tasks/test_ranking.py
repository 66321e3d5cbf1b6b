"""Ranking: the forms of groups, both kinds of model, what is saved, and files of candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from ftcli.data.groups import gather, group_fault, group_of
from ftcli.data.rows import ListColumn, Origins, TableRows, TextColumn
from ftcli.recipe.schema import Recipe
from ftcli.recipe.task_schema import RankingRecipe
from ftcli.runs.trained import inherited, open_trained
from ftcli.tasks.ranking import Ranking
from tests.tasks.samples import LEARNS, SAMPLES
from tests.tiny import run_cli, write_csv, write_jsonl

QUICK = ("--max-steps", "2", "--set", "eval.bootstrap=0", "--json")
PAIRS = SAMPLES["ranking"].rows(24, 0)


def lists() -> list[dict[str, Any]]:
    """The sample's rows with all candidates of a query in one."""
    found: dict[str, dict[str, Any]] = {}
    for row in PAIRS:
        group = found.setdefault(row["query"], {"query": row["query"], "candidates": [], "label": []})
        if row["candidates"] not in group["candidates"]:
            group["candidates"].append(row["candidates"])
            group["label"].append(row["label"])
    return list(found.values())


def of_lists(rows: list[dict[str, Any]]) -> TableRows:
    """Rows as they are read, one a query."""
    columns: dict[str, Any] = {"query": TextColumn(), "candidates": ListColumn(), "label": ListColumn()}
    for row in rows:
        for role, values in columns.items():
            values.add(row[role])
    return TableRows({role: values.finish() for role, values in columns.items()}, Origins())


def finetune(
    folder: Path, model: Path, name: str, rows: list[dict[str, Any]], *more: str, write: Any = write_jsonl
) -> Any:
    (folder / name).mkdir()
    for split in ("train", "validation", "test"):
        write(rows, folder / name / f"{split}.{'csv' if write is write_csv else 'jsonl'}")
    return run_cli("finetune", "--model", str(model), "--data", name, "--out", f"run-{name}", *more, cwd=folder)


def test_rows_by_query_are_lists_by_query(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Scattered over the file or not, in csv or JSON; and a split held out is one of queries."""
    scattered = PAIRS[::3] + PAIRS[1::3] + PAIRS[2::3]
    found = []
    for name, rows, write in (
        ("lists", lists(), write_jsonl),
        ("pairs", PAIRS, write_csv),
        ("parts", scattered, write_csv),
    ):
        done = finetune(tmp_path, tiny_bert_dir, name, rows, *QUICK, write=write)
        assert done.code == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["task"] == "ranking"
        assert report["data"]["rows"] == len(lists())
        found.append(report["metrics"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["ndcg@10"] == pytest.approx(found[2]["ndcg@10"], abs=0.05)
    write_jsonl(PAIRS, tmp_path / "alone.jsonl")
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "alone.jsonl", *QUICK, cwd=tmp_path)
    assert f"1 of {len(lists())} training rows" in done.stderr


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"candidates": "a", "label": "2"}, (["a"], [2.0])),
        ({"candidates": ["a", "b"], "label": [0, True]}, (["a", "b"], [0.0, 1.0])),
        ({"candidates": '["a", "b"]', "label": "[1, 0]"}, (["a", "b"], [1.0, 0.0])),
        ({"candidates": ["a", "b", "c"], "label": 2}, (["a", "b", "c"], [0.0, 0.0, 1.0])),
        ({"positives": "a", "negatives": ["b", "c"]}, (["a", "b", "c"], [1.0, 0.0, 0.0])),
        ({"positives": ["a"], "candidates": ["b"]}, (["b", "a"], [0.0, 1.0])),
        ({"candidates": [{"id": 1, "text": "a"}]}, (["a"], None)),
    ],
)
def test_forms_of_groups(row: dict[str, Any], found: Any) -> None:
    assert group_of({"query": "q", **row}) == found


@pytest.mark.parametrize(
    ("row", "said"),
    [({"candidates": ["a"], "label": [1, 2]}, "2 entries for 1"), ({"candidates": ["a", " "]}, "entry 2 is empty"),
     ({"candidates": [], "label": []}, "no candidates"), ({"candidates": "a", "label": -1}, "relevance from 0"),
     ({"candidates": "a", "label": "x"}, "not a number"), ({"candidates": ["a", "b"], "label": 2}, "none of the 2"),
     ({"positives": 3}, "positives is a number")],
)  # fmt: skip
def test_faults_of_groups(row: dict[str, Any], said: str) -> None:
    assert said in str(group_fault({"query": "q", **row}))
    assert group_fault({"query": "q"}) is None, "a query alone, where a file of candidates is given"


def test_the_same_candidate_twice_has_its_highest_relevance() -> None:
    rows = [{"query": "q", "candidates": "a", "label": 0}, {"query": "q", "candidates": ["b", "a"], "label": [1, 3]}]
    assert gather(rows) == {"query": "q", "candidates": ["a", "b"], "label": [3.0, 1.0]}


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Path:
    """Pairs alone: the others' replies are what is not relevant."""
    folder = tmp_path_factory.mktemp("replies")
    words = ["good", "bad", "film", "soup", "hotel", "phone", "book", "plot"]
    rows = [{"message": f"the {word} {word} was", "reply": f"we {word} it"} for word in words]
    done = finetune(
        folder, tiny_bert_dir, "data", rows, "--task", "ranking", "--columns", "query=message,positives=reply", *LEARNS,
        "--json", "--set", "ranking.pooling=cls",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder


def test_pairs_alone_are_ranked_among_all(replies: Path) -> None:
    report = json.loads((replies / "run-data" / "report.json").read_text(encoding="utf-8"))
    assert report["details"]["candidates"] == 8
    assert report["metrics"]["recall@1"] >= 0.85
    assert set(report["metrics"]) == {"loss", "ndcg@10", "mrr", "map", "recall@1", "recall@10"}
    assert set(report["intervals"]) == set(report["metrics"]) - {"loss"}


def test_a_file_of_candidates(replies: Path) -> None:
    offers = [{"id": n, "text": f"we {word} it"} for n, word in enumerate(["hotel", "soup", "film", "bad", "book"])]
    write_csv(offers, replies / "offers.csv")
    (replies / "offers.txt").write_text("".join(f"{offer['text']}\n" for offer in offers), encoding="utf-8")
    questions = "the film film was\nthe soup soup was\n\n"
    done = run_cli("predict", "run-data", "-q", "--candidates", "offers.csv", stdin=questions, cwd=replies)
    assert done.code == 3, "an empty line is no query"
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("prediction") for answer in answers] == ["we film it", "we soup it", None]
    assert answers[0]["ranking"][0]["index"] == 2
    assert answers[0]["ranking"][0]["id"] in ("2", 2)
    scores = [entry["score"] for entry in answers[0]["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert answers[0]["score"] == scores[0]
    assert len(scores) == 5
    top = run_cli("predict", "run-data", "-q", "--candidates", "offers.txt", "--set", "ranking.top=2",
                  stdin="the film film was\n", cwd=replies)  # fmt: skip
    assert [e["candidate"] for e in json.loads(top.stdout)["ranking"]] == [
        e["candidate"] for e in answers[0]["ranking"][:2]
    ]
    by_column = {"query": "the film film was", "candidates": [offer["text"] for offer in offers]}
    other = run_cli("predict", "run-data", "-q", stdin=json.dumps(by_column), cwd=replies)
    got = {entry["index"]: entry["score"] for entry in json.loads(other.stdout)["ranking"]}
    assert got == pytest.approx({entry["index"]: entry["score"] for entry in answers[0]["ranking"]}, abs=1e-5)
    missing = run_cli("predict", "run-data", "-q", "--candidates", "none.txt", stdin=questions, cwd=replies)
    assert missing.code == 2


def test_runs_are_compared_query_by_query(replies: Path, tiny_bert_dir: Path) -> None:
    """Right is a query whose first candidate is relevant, among those of all."""
    words = ["good", "bad", "film", "soup", "hotel", "phone", "book", "plot"]
    wrong = [{"message": f"the {a} {a} was", "reply": f"we {b} it"} for a, b in zip(words, words[::-1], strict=True)]
    misled = finetune(
        replies, tiny_bert_dir, "wrong", wrong, "--task", "ranking", "--columns", "query=message,positives=reply",
        *LEARNS, "--json", "--set", "ranking.pooling=cls",
    )  # fmt: skip
    assert misled.code == 0, misled.stderr
    done = run_cli(
        "compare", "run-data", "run-wrong", "--data", "data", "--json", "--output", "flips.jsonl", "-q",
        "--columns", "query=message,positives=reply", cwd=replies,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    right = [round(8 * run["metrics"]["recall@1"]) for run in found["runs"]]
    test = found["comparisons"][0]["mcnemar"]
    assert [test["both_right"] + test[own] for own in ("baseline_only", "run_only")] == right
    assert right[0] > right[1]
    flips = [json.loads(line) for line in (replies / "flips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(flips) == test["baseline_only"] + test["run_only"]
    for flip in flips:
        word = flip["query"].split()[1]
        assert flip["expected"] == f"we {word} it"
        assert flip["change"] == "lost"
        assert flip["baseline"] == flip["expected"] != flip["prediction"]
    low, high = found["runs"][0]["intervals"]["mrr"]
    assert low <= found["runs"][0]["metrics"]["mrr"] <= high
    assert found["comparisons"][0]["differences"]["mrr"]["interval"][1] < 0


def test_verdicts_by_hand(tiny_bert_dir: Path) -> None:
    task = Ranking(AutoTokenizer.from_pretrained(tiny_bert_dir), 16)
    texts, grades = ["x", "y", "z"], [[0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    rows = of_lists([{"query": f"q{i}", "candidates": texts, "label": own} for i, own in enumerate(grades)])
    scores = [[0.1, 0.2, 0.9], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]]
    found = task.judge(rows, [{"scores": own} for own in scores])
    assert [(v.right, v.expected, v.said) for v in found] == [
        (True, "y", "z"), (False, "x", "y"), (False, "none", "x"),
    ], "a tie is no right answer, nor is any where nothing is relevant"  # fmt: skip


def test_only_rankings_take_candidates(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "offers.txt").write_text("a film\n", encoding="utf-8")
    done = run_cli("predict", str(trained_run), "--candidates", "offers.txt", stdin="a\n", cwd=tmp_path)
    assert done.code == 2
    assert "ranks no candidates" in done.stderr


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_bi_encoder_is_a_plain_model(pooling: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Vectors by transformers alone, pooled as the configuration says, give the cosines that predict gives."""
    done = finetune(tmp_path, tiny_bert_dir, "lists", lists(), *QUICK, "--set", f"ranking.pooling={pooling}")
    assert done.code == 0, done.stderr
    folder = tmp_path / "run-lists" / "model"
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    facts = model.config.ftcli
    assert (facts["kind"], facts["pooling"], facts["normalize"]) == ("bi", pooling, True)
    texts = ["a good film", "the very bad soup was cold", "good"]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    model.eval()
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    pooled = (hidden * mask).sum(1) / mask.sum(1) if pooling == "mean" else hidden[:, 0]
    vectors = torch.nn.functional.normalize(pooled, dim=-1)
    record = json.dumps({"query": texts[0], "candidates": texts[1:]})
    said = run_cli("predict", "run-lists", "-q", stdin=record, cwd=tmp_path)
    by_index = {entry["index"]: entry["score"] for entry in json.loads(said.stdout)["ranking"]}
    assert [by_index[0], by_index[1]] == pytest.approx((vectors[0] @ vectors[1:].T).tolist(), abs=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "AutoModel" in card
    assert (".sum(1) / mask" if pooling == "mean" else "[:, 0]") in card


@pytest.mark.parametrize("loss", ["listwise", "pointwise"])
def test_cross_encoders(loss: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    more = ("--set", "ranking.kind=cross", "--set", f"ranking.loss={loss}")
    done = finetune(tmp_path, tiny_bert_dir, "lists", lists(), *LEARNS, *more, "--json", "--batch-size", "4")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["metrics"]["ndcg@10"] >= 0.95
    folder = tmp_path / "run-lists" / "model"
    assert AutoModelForSequenceClassification.from_pretrained(folder).num_labels == 1
    again = json.loads(run_cli("evaluate", str(folder), "--data", "lists", "--json", "-q", cwd=tmp_path).stdout)
    assert again["metrics"] == pytest.approx(report["metrics"], rel=1e-5)
    outputs = []
    for unpadded in (True, False):
        trained = open_trained(inherited(str(tmp_path / "run-lists"), {"train.unpadded": unpadded}, None))
        trained.model.eval()
        with torch.inference_mode():
            outputs.append(trained.task.forward(trained.model, trained.task.collate(trained.task.encode(lists()))))
    assert torch.allclose(*outputs, atol=1e-5)
    lora = finetune(tmp_path, tiny_bert_dir, "again", lists(), *QUICK, *more, "--method", "lora")
    assert lora.code == 0, lora.stderr
    said = run_cli(
        "predict", "run-again", "-q", stdin=json.dumps({"query": "a", "candidates": ["b", "c"]}), cwd=tmp_path
    )
    scores = [entry["score"] for entry in json.loads(said.stdout)["ranking"]]
    assert len(scores) == 2
    assert loss == "listwise" or all(0 < score < 1 for score in scores)


def test_a_cross_encoder_needs_what_is_not_relevant(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = [{"query": f"a {n}", "positive": "b"} for n in range(8)]
    done = finetune(tmp_path, tiny_bert_dir, "data", rows, *QUICK, "--set", "ranking.kind=cross")
    assert done.code == 3
    assert "ranking.kind=bi" in done.stderr


def test_a_model_made_elsewhere_is_scored_as_it_is(tmp_path: Path, tiny_bert_dir: Path) -> None:
    write_jsonl(PAIRS, tmp_path / "test.jsonl")
    done = run_cli(
        "evaluate", str(tiny_bert_dir), "--task", "ranking", "--data", "test.jsonl", "--json", "-q", cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    assert 0 < json.loads(done.stdout)["metrics"]["mrr"] <= 1


def test_what_is_relevant_to_a_query_is_no_negative_of_it(tiny_bert_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    task = Ranking(tokenizer, 16, Recipe(ranking=RankingRecipe()))
    rows = [{"query": "a", "candidates": ["good", "bad"], "label": [1.0, 0.0]},
            {"query": "the", "candidates": ["good", "film"], "label": [0.0, 1.0]}]  # fmt: skip
    batch = task.collate(task.encode(rows))
    assert np.array_equal(batch["labels"], [[1, 0, 0, 0], [0, 0, 0, 1]])
    assert np.array_equal(batch["allowed"], [[True, True, False, True], [True, True, True, True]])
    assert task.counts(batch) == {"loss": 2}


@pytest.mark.parametrize("method", ["head", "head-then-full", "bitfit"])
def test_methods_that_need_a_head_are_refused(method: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    done = finetune(tmp_path, tiny_bert_dir, "lists", lists(), *QUICK, "--method", method)
    assert done.code == (0 if method == "bitfit" else 2), done.stderr
    assert method == "bitfit" or "a bi-encoder has none" in done.stderr
