"""`--task auto`: right on tables as people have them, and a question where two tasks are as good as each other."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import BertConfig

from ftcli.data.bundled import open_bundled
from ftcli.errors import UsageError
from ftcli.recipe.schema import DataRecipe, Recipe
from ftcli.runs.recognise import recognised
from ftcli.trackers.console import Console
from tests.tiny import GOOD, NEUTRAL, run_cli, write_csv, write_jsonl

Cell = Callable[[random.Random, int], Any]
TEXTS: Any = SimpleNamespace(takes="text", config=BertConfig())


def sentence(chance: random.Random, i: int) -> str:
    return " ".join(chance.choices([*NEUTRAL, *GOOD], k=chance.randint(5, 12)))


def passage(chance: random.Random, i: int) -> str:
    return f"Rome {sentence(chance, i)}"


def one_of(*values: Any) -> Cell:
    return lambda chance, i: values[i % len(values)]


def number(low: float, high: float) -> Cell:
    return lambda chance, i: round(chance.uniform(low, high), 2)


def whole(low: int, high: int) -> Cell:
    return lambda chance, i: chance.randint(low, high)


def some_of(*values: str) -> Cell:
    return lambda chance, i: [value for value in values if chance.random() < 0.4] or [values[0]]


def joined(sign: str, *values: str) -> Cell:
    return lambda chance, i: sign.join(some_of(*values)(chance, i))


def counted(chance: random.Random, i: int) -> int:
    return i


def words(chance: random.Random, i: int) -> list[str]:
    return f"we met anna number {i} in rome".split()


def tags(chance: random.Random, i: int) -> list[str]:
    return ["O", "O", "B-PER", "O", "O", "O", "B-LOC"]


FLAG = one_of(0, 1, 0)
TABLES: dict[str, tuple[str, dict[str, Cell]]] = {
    "reviews": ("text-classification", {"text": sentence, "label": one_of("positive", "negative")}),
    "imdb": ("text-classification", {"text": sentence, "label": one_of(0, 1)}),
    "banking77": ("text-classification", {"text": sentence, "category": one_of("card", "transfer", "top up")}),
    "app store": ("text-classification", {"id": counted, "review": sentence, "stars": whole(1, 5), "m": one_of("May")}),
    "ag news": ("text-classification", {"title": sentence, "description": sentence, "label": one_of(0, 1, 2, 3)}),
    "trec": ("text-classification", {"coarse_label": one_of(*range(6)), "question": sentence}),
    "unnamed": ("text-classification", {"a": sentence, "b": one_of("yes", "no")}),
    "snli": ("pair", {"premise": sentence, "hypothesis": sentence, "label": one_of(0, 1, 2)}),
    "mrpc": ("pair", {"sentence1": sentence, "sentence2": sentence, "label": one_of(0, 1), "idx": counted}),
    "qqp": ("pair", {"question1": sentence, "question2": sentence, "is_duplicate": FLAG}),
    "qnli": ("pair", {"question": sentence, "sentence": sentence, "label": one_of("entailment", "not")}),
    "stsb": ("regression", {"sentence1": sentence, "sentence2": sentence, "score": number(0, 5)}),
    "sick": ("regression", {"text_a": sentence, "text_b": sentence, "relatedness_score": number(1, 5)}),
    "wine": ("regression", {"description": sentence, "points": whole(60, 100)}),
    "readability": ("regression", {"excerpt": sentence, "target": number(-3, 2)}),
    "unnamed numbers": ("regression", {"a": sentence, "b": number(0, 1)}),
    "go emotions": ("multi-label", {"text": sentence, "labels": some_of("joy", "anger", "fear")}),
    "toxic": ("multi-label", {"comment": sentence, "toxic": FLAG, "insult": one_of(1, 0), "threat": one_of(0, 0, 1)}),
    "films": ("multi-label", {"plot": sentence, "genres": joined("|", "drama", "comedy", "crime")}),
    "triage": ("multi-label", {"text": sentence, "codes": joined(";", "A10", "B20", "C30")}),
    "conll 2003": ("token-classification", {"id": counted, "tokens": words, "ner_tags": tags}),
    "wikiann": ("token-classification", {"words": words, "labels": tags}),
    "squad": ("extractive-qa", {"id": counted, "title": one_of("a", "b"), "context": passage, "question": sentence,
                                "answers": lambda chance, i: {"text": ["Rome"], "answer_start": [0]}}),
    "squad 2": ("extractive-qa", {"question": sentence, "context": passage, "is_impossible": FLAG,
                                  "answers": lambda chance, i: [{"text": "Rome", "answer_start": 0}] * (i % 2)}),
    "swag": ("multiple-choice", {"sent1": sentence, "sent2": sentence, "ending0": sentence, "ending1": sentence,
                                 "ending2": sentence, "ending3": sentence, "label": whole(0, 3)}),
    "arc": ("multiple-choice", {"id": counted, "question": sentence, "answerKey": one_of("A", "B"), "choices":
                                lambda chance, i: {"text": ["one", "two"], "label": ["A", "B"]}}),
    "hellaswag": ("multiple-choice", {"ind": counted, "activity_label": one_of("a", "b"), "ctx_a": sentence,
                                      "ctx_b": sentence, "ctx": sentence, "label": one_of("0", "1"),
                                      "endings": lambda chance, i: [sentence(chance, i), sentence(chance, i)]}),
    "clicks": ("ranking", {"query": one_of("a b c", "d e f"), "candidate": sentence, "label": FLAG}),
    "grades": ("ranking", {"question": one_of("a b c", "d e f"), "candidate": sentence, "relevance": whole(0, 4)}),
    "lists": ("ranking", {"query": sentence, "label": lambda chance, i: [1, 0],
                          "candidates": lambda chance, i: [sentence(chance, i), sentence(chance, i)]}),
    "triplets": ("ranking", {"query": sentence, "positive": sentence, "negative": sentence}),
    "unnamed lists": ("token-classification", {"x": words, "y": tags}),
}  # fmt: skip
AMBIGUOUS: dict[str, tuple[set[str], dict[str, Cell]]] = {
    "two texts": ({"pair", "text-classification"}, {"a": sentence, "b": sentence, "c": one_of("x", "y")}),
    "a class and a score": (
        {"regression", "text-classification"}, {"text": sentence, "label": one_of("a", "b"), "score": number(0, 1)},
    ),
    "many whole numbers": ({"regression", "text-classification"}, {"text": sentence, "label": whole(1, 100)}),
    "many more whole numbers": ({"regression", "text-classification"}, {"text": sentence, "target": whole(1, 45)}),
    "a label and flags": (
        {"multi-label", "text-classification"}, {"text": sentence, "label": one_of("a", "b"), "toxic": FLAG,
                                                 "insult": FLAG, "threat": FLAG},
    ),
    "a class and a list": (
        {"multi-label", "text-classification"}, {"a": sentence, "b": one_of("x", "y"), "c": some_of("u", "v", "w")},
    ),
    "two texts and a number": ({"pair", "regression"}, {"sentence1": sentence, "sentence2": sentence,
                                                        "label": one_of("a", "b"), "score": number(0, 1)}),
}  # fmt: skip


def write(cells: dict[str, Cell], path: Path, rows: int = 60) -> Path:
    chance = random.Random(1)
    found = [{name: cell(chance, i) for name, cell in cells.items()} for i in range(rows)]
    return (write_csv if path.suffix == ".csv" else write_jsonl)(found, path)


def task_of(path: Path, **keys: Any) -> str:
    return recognised(Recipe(data=DataRecipe(name=str(path), **keys)), TEXTS, Console(quiet=True)).task


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, tmp_path: Path) -> None:
    task, cells = TABLES[name]
    assert task_of(write(cells, tmp_path / "t.jsonl")) == task
    if not any(isinstance(cell(random.Random(0), 0), list | dict) for cell in cells.values()):
        assert task_of(write(cells, tmp_path / "t.csv")) == task, "as text, too"


def test_real_tables(tmp_path: Path) -> None:
    of_builtin = {"reviews": "text-classification", "manuals": "extractive-qa", "tools": "multiple-choice",
                  "shop": "ranking"}  # fmt: skip
    for name, task in of_builtin.items():
        assert task_of(Path(f"builtin:{name}")) == task
    assert len(open_bundled("reviews")[0]) == 3
    (tmp_path / "train.conll").write_text("we\tO\nmet\tO\nanna\tB-PER\n\nhello\tO\nrome\tB-LOC\n", encoding="utf-8")
    assert task_of(tmp_path) == "token-classification"


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_tables_are_asked_about(name: str, tmp_path: Path) -> None:
    candidates, cells = AMBIGUOUS[name]
    with pytest.raises(UsageError) as asked:
        task_of(write(cells, tmp_path / "t.jsonl"))
    assert asked.value.exit_code == 2
    assert asked.value.hint is not None
    assert set(asked.value.hint.replace("--task ", "").split(" or ")) == candidates


def test_columns_that_are_named_settle_it(tmp_path: Path) -> None:
    _, cells = AMBIGUOUS["two texts"]
    path = write(cells, tmp_path / "t.jsonl")
    assert task_of(path, columns="text=a,text_b=b") == "pair"
    _, cells = AMBIGUOUS["a class and a score"]
    assert task_of(write(cells, tmp_path / "u.jsonl"), columns="score=score") == "regression"


def test_the_command_asks_and_says(tmp_path: Path, tiny_bert_dir: Path) -> None:
    _, cells = AMBIGUOUS["two texts"]
    write(cells, tmp_path / "t.jsonl")
    asked = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "t.jsonl", "--dry-run", cwd=tmp_path)
    assert asked.code == 2
    assert "--task text-classification or --task pair" in asked.stderr
    _, cells = TABLES["snli"]
    write(cells, tmp_path / "s.jsonl")
    said = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", "s.jsonl", "--dry-run", cwd=tmp_path)
    assert said.code == 0, said.stderr
    assert "task pair, since 'premise' and 'hypothesis' are texts and 'label' holds classes" in said.stderr
