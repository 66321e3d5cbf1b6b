"""Long texts: read whole in windows that overlap, or cut and said; every token is in a window, every word in one."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ftcli.data.texts import tokenize
from ftcli.data.windows import owners, windows
from ftcli.recipe.schema import Recipe
from ftcli.recipe.task_schema import LongRecipe
from ftcli.runs.trained import inherited, open_trained
from ftcli.tasks.pair import PairClassification
from ftcli.tasks.text_classification import TextClassification
from ftcli.tasks.token_classification import TokenClassification
from tests.tiny import BAD, GOOD, NEUTRAL, run_cli, tiny_model, write_jsonl


@given(st.integers(0, 500), st.integers(1, 60), st.floats(0, 0.9))
def test_windows_cover_everything(tokens: int, room: int, overlap: float) -> None:
    found = windows(tokens, room, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == tokens
    assert all(end - start <= room for start, end in found)
    assert all(after[0] <= before[1] for before, after in pairwise(found)), "no token between"
    wanted = min(round(overlap * room), room - 1)
    assert all(b[1] - a[0] >= wanted - 1 for b, a in pairwise(found))
    places = np.arange(tokens)
    for place, owner in zip(places, owners(found, places), strict=True):
        assert found[owner][0] <= place < found[owner][1], "a token is looked at in a window it is in"


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5"])
def test_a_text_that_fits_is_read_as_ever(kind: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    task = TextClassification(tokenizer, 16, Recipe(long=LongRecipe(name="windows")))
    short, long = "a good film", " ".join(["good film"] * 30)
    examples = task.encode([{"text": short}, {"text": long}])
    assert examples[0]["input_ids"].tolist() == tokenize(tokenizer, [short], 16)[0]["input_ids"].tolist()
    assert examples[0]["windows"].tolist() == [len(examples[0]["input_ids"])]
    assert len(examples[1]["windows"]) > 4
    assert max(examples[1]["windows"]) <= 16
    assert sum(examples[1]["windows"]) == len(examples[1]["input_ids"])


def long_reviews(count: int, seed: int) -> list[dict[str, str]]:
    """What tells the label comes after sixty words that do not."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        kind = (GOOD, BAD)[i % 2]
        words = [*chance.choices(NEUTRAL, k=60), *chance.choices(kind[:3], k=8)]
        rows.append({"text": " ".join(words), "label": ("positive", "negative")[i % 2]})
    return rows


def test_what_is_cut_is_said_and_what_is_read_in_windows_is_learnt(tmp_path: Path, tiny_bert_dir: Path) -> None:
    (tmp_path / "data").mkdir()
    for split, seed in (("train", 0), ("validation", 1), ("test", 2)):
        write_jsonl(long_reviews(32, seed), tmp_path / "data" / f"{split}.jsonl")
    reports = {}
    for long in ("cut", "windows"):
        done = run_cli(
            "finetune", "--model", str(tiny_bert_dir), "--data", "data", "--max-length", "24", "--long", long,
            "--out", long, "--max-steps", "2" if long == "cut" else "32", "--lr", "5e-3", "--batch-size", "8", "--json",
            "--set", "regularize.dropout=0", "--set", "long.pooling=max", "--set", "eval.every=16", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        reports[long] = json.loads(done.stdout)
        word = "were cut; --long windows reads" if long == "cut" else "are read in windows"
        assert f"train: 32 of 32 texts (100.0%) are longer than 24 tokens and {word}" in done.stderr
    assert reports["cut"]["metrics"]["accuracy"] < 0.8, "the label is beyond what is read"
    assert reports["windows"]["metrics"]["accuracy"] > 0.9
    assert reports["cut"]["details"]["truncated"] == 1.0
    assert "truncated" not in reports["windows"].get("details", {})
    text = long_reviews(1, 5)[0]["text"]
    for long in ("cut", "windows"):
        done = run_cli("predict", long, stdin=text, cwd=tmp_path)
        assert ("truncated" in json.loads(done.stdout)) == (long == "cut")
        assert ("1 of 1 texts (100.0%) are longer than 24 tokens and were cut" in done.stderr) == (long == "cut")
    again = run_cli("evaluate", "windows", "--data", "data", "--json", "-q", cwd=tmp_path)
    assert json.loads(again.stdout)["metrics"] == pytest.approx(reports["windows"]["metrics"], rel=1e-5)
    trained = [
        open_trained(inherited(str(tmp_path / "windows"), {"train.unpadded": flat}, None)) for flat in (True, False)
    ]
    rows = [{"text": row["text"]} for row in [*long_reviews(3, 6), {"text": "a good film"}]]
    found = []
    for it in trained:
        it.model.eval()
        with torch.inference_mode():
            found.append(it.task.forward(it.model, it.task.collate(it.task.encode(rows))))
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "gpt2"])
def test_a_pair_that_fits_is_read_as_ever_and_the_longer_text_of_another_in_windows(kind: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    task = PairClassification(tokenizer, 20, Recipe(long=LongRecipe(name="windows")))
    cut = PairClassification(tokenizer, 20)
    long, words = " ".join([*NEUTRAL, *GOOD, *BAD]), "the film"
    pairs = [(words, "a plot"), (words, long), (long, words), (long, long), ("", "it"), (long, "")]
    rows = [{"text": first, "text_b": second} for first, second in pairs]
    found, usual = task.encode(rows), cut.encode(rows)
    for place in (0, 4):
        assert found[place]["windows"].tolist() == [len(usual[place]["input_ids"])]
        for name in usual[place]:
            assert np.array_equal(found[place][name], usual[place][name]), name
    assert [bool(example["truncated"]) for example in found] == [False, False, False, True, False, False]
    long_ids, short_ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (long, words))
    for place in (1, 2, 3, 5):
        ids, ends = found[place]["input_ids"].tolist(), np.cumsum(found[place]["windows"]).tolist()
        own = [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        assert len(own) > 1
        assert max(map(len, own)) <= 20
        assert all(id in ids for id in long_ids), "every token of the longer text is in some window"
        if place in (1, 2):
            for window in own:
                starts = range(len(window) - len(short_ids) + 1)
                assert any(window[i : i + len(short_ids)] == short_ids for i in starts), "the other text is in each"
    batch = task.collate(found)
    assert batch["input_ids"].shape == (sum(batch["windows"]), min(24, batch["input_ids"].shape[1]))
    if kind == "bert":
        types, lengths = found[1]["token_type_ids"], found[1]["windows"].tolist()
        first = 2 + len(short_ids)
        assert types.tolist() == [t for n in lengths for t in [0] * first + [1] * (n - first)]


def test_what_lies_past_the_cut_of_a_pair_is_learnt(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """The answer is at the end of a long text: cut off, or in the last window."""
    (tmp_path / "data").mkdir()
    for split, seed in (("train", 0), ("validation", 1), ("test", 2)):
        rows = [
            {"premise": r["text"], "hypothesis": "the film was", "label": r["label"]} for r in long_reviews(32, seed)
        ]
        write_jsonl(rows, tmp_path / "data" / f"{split}.jsonl")
    accuracy = {}
    for long in ("cut", "windows"):
        done = run_cli(
            "finetune", "--model", str(tiny_bert_dir), "--data", "data", "--max-length", "24", "--long", long,
            "--out", long, "--max-steps", "2" if long == "cut" else "32", "--lr", "5e-3", "--batch-size", "8", "--json",
            "--set", "regularize.dropout=0", "--set", "long.pooling=max", "--set", "eval.every=16", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["task"] == "pair"
        accuracy[long] = report["metrics"]["accuracy"]
        word = "were cut; --long windows reads them whole" if long == "cut" else "are read in windows"
        assert f"train: 32 of 32 texts (100.0%) are longer than 24 tokens and {word}" in done.stderr
    assert accuracy["cut"] < 0.8
    assert accuracy["windows"] > 0.9
    row = {"premise": long_reviews(1, 5)[0]["text"], "hypothesis": "the film was"}
    said = json.loads(run_cli("predict", "windows", stdin=json.dumps(row), cwd=tmp_path).stdout)
    assert "truncated" not in said
    row["hypothesis"] = row["premise"]
    said = run_cli("predict", "windows", stdin=json.dumps(row), cwd=tmp_path)
    assert json.loads(said.stdout)["truncated"] is True, "of two long texts one is not seen whole"


def test_scores_of_pairs_in_windows(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = [{"text_a": r["text"], "text_b": "a film", "score": i / 3} for i, r in enumerate(long_reviews(20, 0))]
    write_jsonl(rows, tmp_path / "d.jsonl")
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "d.jsonl", "--long", "windows", "--max-length", "24",
        "--max-steps", "2", "--out", "run", "--json", "--task", "regression", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "are read in windows" in done.stderr


def test_windows_of_several_texts_a_row_are_refused(tmp_path: Path, tiny_bert_dir: Path) -> None:
    rows = [{"query": f"film {i}", "candidates": ["a good film", "a bad film"], "label": [1, 0]} for i in range(20)]
    write_jsonl(rows, tmp_path / "d.jsonl")
    done = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "d.jsonl", "--long", "windows", cwd=tmp_path)
    assert done.code == 2
    assert "--long cut" in done.stderr


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "t5"])
def test_each_word_is_looked_at_once_where_it_is(kind: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind, tmp_path))
    task = TokenClassification(tokenizer, 12)
    words = [random.Random(i).choice([*NEUTRAL, *GOOD, "zyx"]) for i in range(40)]
    whole = TokenClassification(tokenizer, 500).encode([{"tokens": words}])[0]
    cut = task.encode([{"tokens": words}])[0]
    assert len(cut["windows"]) > 3
    assert (cut["places"] >= 0).all()
    assert len(set(cut["places"].tolist())) == len(words)
    assert cut["input_ids"][cut["places"]].tolist() == whole["input_ids"][whole["places"]].tolist()
    batch = task.collate([cut, cut])
    assert batch["input_ids"].shape[1] <= 12
    assert batch["input_ids"].flatten()[batch["places"]].tolist() == 2 * cut["input_ids"][cut["places"]].tolist()
