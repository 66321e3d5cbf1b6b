"""What is particular to tasks over texts: a saved model answers others the same, settings do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, pipeline

from ftcli.data.words import pieces_of
from ftcli.losses.supervised import distance
from ftcli.tasks.pair import PairClassification
from tests.tasks.samples import SAMPLES
from tests.tiny import run_cli, tiny_model, write_jsonl


def trained(task: str, folder: Path, model: Path, *more: str) -> Path:
    sample = SAMPLES[task]
    data = sample.data(folder / "data", train=sample.rows(24, 0), validation=sample.rows(24, 0), test=sample.rows(8, 2))
    options = ["--task", task, "--max-steps", "40", *sample.options, "--epochs", "30", *more]
    done = run_cli("finetune", "--model", str(model), "--data", str(data), "--out", str(folder / "run"), *options)
    assert done.code == 0, done.stderr
    return folder / "run"


def answers(run: Path, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    done = run_cli("predict", str(run), "-q", stdin="".join(json.dumps(row) + "\n" for row in rows))
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_numbers_come_out_of_the_model_itself(loss: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Around 100 while the model learns them around 0: put into its last layer once it is trained."""
    run = trained("regression", tmp_path, tiny_bert_dir, "--set", f"regression.loss={loss}")
    rows = [{"text": row["text"]} for row in SAMPLES["regression"].rows(5, 3)]
    own = [answer["prediction"] for answer in answers(run, rows)]
    scorer = pipeline("text-classification", model=str(run / "model"), function_to_apply="none", device="cpu")
    assert own == pytest.approx([found["score"] for found in scorer([row["text"] for row in rows])], rel=1e-4)
    assert all(80 < number < 150 for number in own)
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["ftcli"] == {"task": "regression", "pair": False, "mean": 0.0, "std": 1.0}


def test_distances_by_hand() -> None:
    off = torch.tensor([0.5, -2.0, 0.0])
    zero = torch.zeros(3)
    assert float(distance(off, zero, "mse")) == pytest.approx(4.25)
    assert float(distance(off, zero, "mae")) == pytest.approx(2.5)
    assert float(distance(off, zero, "huber", 1.0)) == pytest.approx(0.125 + 1.5)


def test_thresholds_are_tuned_and_saved(tmp_path: Path, tiny_bert_dir: Path) -> None:
    run = trained("multi-label", tmp_path, tiny_bert_dir)
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    thresholds = config["ftcli"]["thresholds"]
    assert set(thresholds) == {"food", "travel", "mood"}
    assert set(thresholds.values()) != {0.5}
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["details"]["thresholds"] == thresholds
    for answer in answers(run, [{"text": row["text"]} for row in SAMPLES["multi-label"].rows(6, 3)]):
        scores = answer["scores"]
        assert isinstance(scores, dict)
        assert answer["prediction"] == [name for name, score in scores.items() if score >= thresholds[name]]


def test_entities_are_those_of_transformers(tmp_path: Path, tiny_bert_dir: Path) -> None:
    run = trained("token-classification", tmp_path, tiny_bert_dir)
    rows = [{"text": " ".join(row["tokens"])} for row in SAMPLES["token-classification"].rows(6, 3)]
    tagger = pipeline("token-classification", model=str(run / "model"), aggregation_strategy="first", device="cpu")
    seen = 0
    for row, answer in zip(rows, answers(run, rows), strict=True):
        expected = [(e["entity_group"], e["start"], e["end"]) for e in tagger(row["text"])]
        entities = answer["entities"]
        assert isinstance(entities, list)
        assert [(e["label"], e["start"], e["end"]) for e in entities] == expected
        assert all(e["text"] == row["text"][e["start"] : e["end"]] and 0 < e["score"] <= 1 for e in entities)
        seen += len(entities)
    assert seen >= 6


@pytest.mark.parametrize("scheme", ["bioes", "iob1"])
def test_answers_are_in_the_scheme_of_the_data(scheme: str, tmp_path: Path, tiny_bert_dir: Path) -> None:
    from ftcli.metrics.tags import spans
    from ftcli.tasks.schemes import written

    rows = [
        {"tokens": r["tokens"], "tags": written(spans(r["tags"]), len(r["tags"]), scheme)}
        for r in SAMPLES["token-classification"].rows(24, 0)
    ]
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        write_jsonl(rows, tmp_path / "data" / f"{split}.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "data", "--out", "run", "--epochs", "24", "--lr", "4e-3",
        "--batch-size", "8", "--json", "--set", "regularize.dropout=0", "--set", "eval.every=36", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert f"tags in the {scheme} scheme, 2 types of entities" in done.stderr
    assert json.loads(done.stdout)["metrics"]["f1"] > 0.9
    found = answers(tmp_path / "run", [{"tokens": row["tokens"]} for row in rows])
    right = sum(answer["prediction"] == row["tags"] for answer, row in zip(found, rows, strict=True))
    assert right >= 20


def test_tags_that_mark_no_entities(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = [
        {"tokens": ["the", "film", "was", "good"][: 1 + i % 4], "tags": ["D", "N", "V", "A"][: 1 + i % 4]}
        for i in range(24)
    ]
    write_jsonl(rows, tmp_path / "d.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "d.jsonl", "--out", "run", "--max-steps", "30", "--lr",
        "5e-3", "--batch-size", "8", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["metrics"]["accuracy"] > 0.9
    assert report["confusion_matrix"]["labels"] == ["A", "D", "N", "V"]


def test_unknown_types_are_named(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = SAMPLES["token-classification"].rows(12, 0)
    odd = [{"tokens": ["we", "met"], "tags": ["O", "B-ORG"]}]
    data = SAMPLES["token-classification"].data(tmp_path / "data", train=rows, test=[*rows[:2], *odd])
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", str(data), cwd=tmp_path)
    assert done.code == 3
    assert "test.jsonl, line 3: tag 'B-ORG' is of none of the known kinds: LOC, PER" in done.stderr


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_texts_of_a_pair_are_told_apart(kind: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    task = PairClassification(tokenizer, 32)
    both, other = (
        task.encode([{"text": a, "text_b": b}])[0]["input_ids"].tolist()
        for a, b in (("good film", "bad"), ("good", "film bad"))
    )
    assert both != other
    assert sorted(set(both) - set(tokenizer.all_special_ids)) == sorted(set(other) - set(tokenizer.all_special_ids))
    long = task.encode([{"text": "good " * 50, "text_b": "bad"}])[0]
    assert long["truncated"]
    assert len(long["input_ids"]) == 32
    assert set(both) & set(long["input_ids"].tolist()), "the shorter text stays"


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5"])
def test_a_word_begins_with_its_first_token(kind: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    words = ["good", "zyxzyx", "\u200b", "film", "é"]
    [found] = pieces_of(tokenizer, [words])
    assert found.first[0] == 0
    assert (found.first[found.first >= 0][1:] > found.first[found.first >= 0][:-1]).all()
    for word, first in zip(words, found.first, strict=True):
        if word in ("good", "film"):
            assert tokenizer.decode([int(found.ids[first])]).strip() == word
