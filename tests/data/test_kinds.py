"""Columns of every kind: found by name, by type or as told, read from every form, faults told with a place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftcli.contract import Column, Data
from ftcli.data.load import load
from ftcli.data.records import records
from ftcli.data.texts import FIRST, SECOND, TEXT
from ftcli.data.values import Unusable, read_labels, read_number, read_tags
from ftcli.data.words import TAGS, TOKENS, split_words
from ftcli.errors import DataError, UsageError
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import DataRecipe, TokenizerRecipe
from ftcli.tasks.multi_label import LABELS
from ftcli.tasks.regression import SCORE, Regression
from ftcli.tasks.token_classification import TokenClassification
from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet

CHOICES = (
    TEXT,
    Column("choices", "texts", ("choices", "options")),
    Column("extra", "json", ("extra",), required=False),
)


def read(path: Path, roles: tuple[Column, ...], splits: tuple[str, ...] = ("train",), **keys: Any) -> Data:
    return load(DataRecipe(name=str(path), **keys), roles, seed=7, splits=splits)


def rows_of(data: Data) -> list[dict[str, Any]]:
    return [dict(row) for row in data.splits["train"]]


def test_numbers_from_every_form(tmp_path: Path) -> None:
    rows = [{"text": f"film number {i}", "score": i / 4} for i in range(12)]
    paths = [write_csv(rows, tmp_path / "d.csv"), write_jsonl(rows, tmp_path / "d.jsonl")]
    paths.append(write_parquet(rows, tmp_path / "d.parquet"))
    found = [read(path, (TEXT, SCORE)) for path in paths]
    assert [rows_of(data) for data in found] == [rows] * 3
    assert len({data.fingerprints["train"] for data in found}) == 1, "the same content, the same fingerprint"


@pytest.mark.parametrize(
    ("value", "said"),
    [("many", "is 'many', not a number"), ("", "is empty"), ("nan", "'nan'"), ("1e999", "finite"), ("1,5", "'1,5'")],
)
def test_what_is_no_number(value: str, said: str, tmp_path: Path) -> None:
    rows = [{"text": f"film {i}", "score": value if i == 5 else i} for i in range(12)]
    with pytest.raises(DataError, match=r"d\.csv, line 7: score ") as refused:
        read(write_csv(rows, tmp_path / "d.csv"), (TEXT, SCORE))
    assert said in refused.value.message
    assert len(read(tmp_path / "d.csv", (TEXT, SCORE), on_bad_row="skip").splits["train"]) == 11


def test_numbers_are_read_as_they_are() -> None:
    assert [read_number(v) for v in (3, 2.5, " -1e3 ", ".5", "7.")] == [3.0, 2.5, -1000.0, 0.5, 7.0]
    for odd in (True, None, [1], float("inf"), "0x10", "１２x", 10**400):
        with pytest.raises(Unusable):
            read_number(odd)


def test_pairs_by_name_by_type_and_by_position(tmp_path: Path) -> None:
    rows = [{"n": i, "b": f"the first of {i}", "a": f"the second of {i}", "score": i / 3} for i in range(12)]
    found = read(write_csv(rows, tmp_path / "d.csv"), (FIRST, SECOND, SCORE))
    assert found.columns == {"text": "b", "text_b": "a", "score": "score"}, "in the order of the table"
    assert any("by its values" in note for note in found.notes)
    renamed = [{"hypothesis": r["a"], "premise": r["b"], "y": r["score"]} for r in rows]
    found = read(write_csv(renamed, tmp_path / "e.csv"), (FIRST, SECOND, SCORE))
    assert found.columns == {"text": "premise", "text_b": "hypothesis", "score": "y"}
    (tmp_path / "f.csv").write_text("one film,two films,2.5\nthree films,four films,1.0\n", encoding="utf-8")
    found = read(tmp_path / "f.csv", Regression.columns, columns="text=0,text_b=1,score=2")
    assert rows_of(found)[0] == {"text": "one film", "text_b": "two films", "score": 2.5}
    assert (
        "text_b"
        not in read(write_csv([{"text": "a film", "score": 1.5}] * 3, tmp_path / "g.csv"), Regression.columns).columns
    )


LABELLED = [{"text": f"film {i}", "labels": (["a"], ["a", "b c"], [])[i % 3]} for i in range(9)]


def test_sets_of_labels_from_every_form(tmp_path: Path) -> None:
    write_jsonl(LABELLED, tmp_path / "lists.jsonl")
    write_parquet(LABELLED, tmp_path / "lists.parquet")
    for sign in "|;,":
        cells = [{**row, "labels": f"{sign} ".join(row["labels"])} for row in LABELLED]
        write_csv(cells, tmp_path / f"joined{ord(sign)}.csv")
    flags = [{"text": r["text"], "a": int("a" in r["labels"]), "b c": int("b c" in r["labels"])} for r in LABELLED]
    write_csv(flags, tmp_path / "flags.csv")
    written = [{**row, "labels": str(row["labels"]).replace("'", '"')} for row in LABELLED]
    write_csv(written, tmp_path / "json.csv")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 7
    for file in files:
        found = read(file, (TEXT, LABELS))
        assert [row["labels"] for row in rows_of(found)] == [row["labels"] for row in LABELLED], file.name
        if file.name.startswith("joined"):
            assert any("are separated by" in note for note in found.notes)
    assert read(tmp_path / "flags.csv", (TEXT, LABELS)).columns["labels"] == "a+b c"
    told = read(tmp_path / "flags.csv", (TEXT, LABELS), columns="labels=b c+a")
    assert rows_of(told)[1]["labels"] == ["b c", "a"]
    other = read(tmp_path / "joined59.csv", (TEXT, LABELS), separator="/")
    assert rows_of(other)[1]["labels"] == ["a; b c"]


def test_what_is_no_set_of_labels(tmp_path: Path) -> None:
    write_csv([{"text": f"film {i}", "a": 1, "b": 2 if i == 3 else 0} for i in range(6)], tmp_path / "d.csv")
    with pytest.raises(DataError, match=r"line 5: labels \('a\+b'\) has '2' for 'b', where 0 or 1 is needed"):
        read(tmp_path / "d.csv", (TEXT, LABELS), columns="labels=a+b")
    with pytest.raises(DataError, match="no column 'c'"):
        read(tmp_path / "d.csv", (TEXT, LABELS), columns="labels=a+c")
    assert read_labels([1, 2.0, 1]) == [1, 2]
    assert read_labels({"x": True, "y": 0, "z": "yes"}) == ["x", "z"]
    for odd in ([None], [["a"]], [1.5], 2.5, None, [""]):
        with pytest.raises(Unusable):
            read_labels(odd)


CONLL = """-DOCSTART- -X- O

# a comment of five
EU NNP B-ORG
rejects VBZ O

Peter NNP B-PER


# O O
Blackburn NNP I-PER
"""


def test_conll_files(tmp_path: Path) -> None:
    (tmp_path / "d.conll").write_text(CONLL, encoding="utf-8")
    found = read(tmp_path / "d.conll", (TOKENS, TAGS))
    assert rows_of(found) == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Peter"], "tags": ["B-PER"]},
        {"tokens": ["#", "Blackburn"], "tags": ["O", "I-PER"]},
    ]
    assert found.splits["train"].place(1) == "d.conll, line 7"
    middle = read(tmp_path / "d.conll", (TOKENS, TAGS), columns="tokens=0,tags=1")
    assert rows_of(middle)[0]["tags"] == ["NNP", "VBZ"]
    (tmp_path / "e.conll").write_bytes("a\tO\r\n\t\r\nb c\tO\r\nd\r\n\r\n \tO\n".encode("latin-1"))
    with pytest.raises(DataError) as refused:
        read(tmp_path / "e.conll", (TOKENS, TAGS))
    assert "e.conll, line 3: line 4 has 1 columns, the first line has 2" in refused.value.message
    assert rows_of(read(tmp_path / "e.conll", (TOKENS, TAGS), on_bad_row="skip")) == [{"tokens": ["a"], "tags": ["O"]}]


def test_tokens_and_tags_from_every_form(tmp_path: Path) -> None:
    rows = [{"words": ["we", "met", "anna"], "ner": ["O", "O", "B-PER"]}, {"words": ["hello"], "ner": ["O"]}]
    files = [write_jsonl(rows, tmp_path / "d.jsonl"), write_parquet(rows, tmp_path / "d.parquet")]
    files.append(write_csv([{k: " ".join(v) for k, v in row.items()} for row in rows], tmp_path / "d.csv"))
    for file in files:
        found = rows_of(read(file, (TOKENS, TAGS)))
        assert [(row["tokens"], row["tags"]) for row in found] == [(r["words"], r["ner"]) for r in rows]
    assert read_tags([0, 3]) == [0, 3]
    assert TokenClassification.row_fault({"tokens": ["a", "b"], "tags": ["O"]}) == "2 tokens, but 1 tags"
    assert TokenClassification.row_fault({"tokens": "raw text"}) is None


def test_names_of_whole_numbers_in_lists(tmp_path: Path) -> None:
    """As the Hub's parquet files have tags and sets of labels."""
    table = pa.Table.from_pylist([{"tokens": ["we", "met", "anna"], "ner_tags": [0, 0, 1]}] * 4)
    feature = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "List"}
    metadata = json.dumps({"info": {"features": {"ner_tags": feature}}}).encode()
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / "d.parquet")
    found = read(tmp_path / "d.parquet", (TOKENS, TAGS))
    assert found.label_names == ("O", "B-PER")
    task = TokenClassification(train_wordpiece(["we met anna"] * 3, TokenizerRecipe(vocab_size=100), 32), 32)
    task.fit_labels(found.splits["train"], found.label_names)
    assert task.labels == ["O", "B-PER", "I-PER"]
    assert task.encode(list(found.splits["train"]))[0]["tags"].tolist() == [0, 0, 1]


def test_columns_that_were_joined_are_found_again(tmp_path: Path) -> None:
    write_csv([{"text": f"film {i}", "A": i % 2, "B": 0, "c": 1} for i in range(6)], tmp_path / "d.csv")
    known = replace(LABELS, names=("a+b", *LABELS.names))
    assert read(tmp_path / "d.csv", (TEXT, known)).columns["labels"] == "A+B"


def test_texts_and_json(tmp_path: Path) -> None:
    rows = [{"text": "which?", "a": "one", "b": "two", "extra": {"n": [i, None]}} for i in range(3)]
    found = read(write_jsonl(rows, tmp_path / "d.jsonl"), CHOICES, columns="choices=a+b")
    assert rows_of(found)[2] == {"text": "which?", "choices": ["one", "two"], "extra": {"n": [2, None]}}
    assert found.splits["train"].text_bytes() > 0


def test_an_unanswered_test_split_is_left_out_for_every_kind(tmp_path: Path) -> None:
    write_jsonl([{"text": f"film {i}", "score": i} for i in range(20)], tmp_path / "train.jsonl")
    write_jsonl([{"text": f"film {i}", "score": None} for i in range(5)], tmp_path / "test.jsonl")
    found = read(tmp_path, (TEXT, SCORE), ("train", "validation", "test"))
    assert "test" not in found.splits
    assert any("no labels" in note for note in found.notes)
    assert len(found.splits["validation"]) == 2, "held out without regard to the numbers"


def test_flags_of_the_command_go_by_what_a_task_has(tmp_path: Path) -> None:
    rows = [{"a": r["text"], "b": r["text"][::-1], "c": i} for i, r in enumerate(tiny_reviews(12))]
    write_csv(rows, tmp_path / "d.csv")
    assert read(tmp_path / "d.csv", (TEXT, SCORE), text_column="b", label_column="c").columns == {
        "text": "b",
        "score": "c",
    }
    by_role = read(tmp_path / "d.csv", (TEXT, SCORE), columns="text=b,label=c")
    assert by_role.columns == {"text": "b", "score": "c"}, "as the flags of these names mean it"
    with pytest.raises(UsageError, match="unknown role 'labels'"):
        read(tmp_path / "d.csv", (TEXT, SCORE), columns="labels=c")
    with pytest.raises(UsageError, match="two columns for score: 'a' and 'c'"):
        read(tmp_path / "d.csv", (TEXT, SCORE), columns="score=a,label=c")


def test_records_to_predict(tmp_path: Path) -> None:
    lines = "one\ttwo\nthree\n"
    (tmp_path / "in.txt").write_text(lines, encoding="utf-8")
    found = list(records(str(tmp_path / "in.txt"), DataRecipe(), (FIRST, SECOND, SCORE)))
    assert found[0].row == {"text": "one", "text_b": "two"}
    assert found[1].error == "1 field where 2 are needed, with tabs between them: text, text_b"
    write_jsonl([{"id": 1, "tokens": ["a", "b"]}, {"id": 2, "tokens": "raw text"}], tmp_path / "in.jsonl")
    found = list(records(str(tmp_path / "in.jsonl"), DataRecipe(), (TOKENS, TAGS)))
    assert [record.row for record in found] == [{"tokens": ["a", "b"]}, {"tokens": "raw text"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna, 5.", ["Anna", ",", "5", "."]),
        ("@anna_b #now a@b", ["@anna_b", "#now", "a", "@b"]),
        ("东京 is 大", ["东", "京", "is", "大"]),
        ("जीवन है", ["जीवन", "है"]),
        ("  ", []),
        ("🎬x", ["🎬", "x"]),
    ],
)
def test_words_of_raw_text(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words
