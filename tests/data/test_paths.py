"""What is inside of columns of objects, by a path: in every format and task, and what is said where it is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.contract import Column, Data
from ftcli.data.load import load
from ftcli.data.paths import Absent, column_of, find_path, get, reach, texts_by_key, there
from ftcli.data.records import records
from ftcli.data.texts import TEXT
from ftcli.errors import DataError, FtcliError, UsageError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.classification import LABEL
from ftcli.tasks.multi_label import LABELS
from ftcli.tasks.seq2seq import SOURCE, TARGET
from tests.tiny import write_jsonl

ROLES = (TEXT, LABEL)
WORDS = st.text("ab.", min_size=1, max_size=3)


def read(path: Path, roles: tuple[Column, ...] = ROLES, **keys: Any) -> Data:
    return load(DataRecipe(name=str(path), **keys), roles, seed=7, splits=("train",))


def rows_of(data: Data) -> list[dict[str, Any]]:
    return [dict(row) for row in data.splits["train"]]


NESTED = [
    {"id": i, "review": {"body": f"text {i}", "of": {"kind": "xy"[i % 2]}, "tags": ["u", "v"][: i % 3]}}
    for i in range(6)
]


def as_parquet(path: Path, rows: list[dict[str, Any]], features: dict[str, Any] | None = None) -> Path:
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


@given(st.dictionaries(WORDS, st.integers() | st.dictionaries(WORDS, st.integers(), max_size=3), max_size=4), WORDS)
def test_a_column_of_that_name_comes_before_a_path(values: dict[str, Any], name: str) -> None:
    """Against looking at every way to cut the name once into a column and a key."""
    if name in values:
        assert (column_of(name, values), reach(values, name)) == (name, values[name])
        return
    cuts = [(name[:at], name[at + 1 :]) for at, sign in enumerate(name) if sign == "."]
    column = next((start for start, _ in reversed(cuts) if start in values), name)
    assert column_of(name, values) == column
    rest = name[len(column) + 1 :]
    inside = values.get(column)
    if isinstance(inside, dict) and "." not in rest and rest in inside:
        assert get(values, name) == inside[rest]
        assert there(values, name)
    elif "." not in rest:
        assert not there(values, name)
        with pytest.raises(Absent):
            reach(values, name)


def test_paths_by_hand() -> None:
    values = {"a": {"b": None, "B": 1, "c": {"d": 2}}, "a.x": 3, "cell": '{"k": "v"}', "text": "words", "none": None}
    assert [get(values, name) for name in ("a.b", "a.c.d", "a.x", "cell.k", "none.k")] == [None, 2, 3, "v", None]
    for name, said in (("a.z", "'a' has b, B, c"), ("a.c.e", "'a.c' has d"), ("text.k", "'text' is a string"),
                       ("other.k", "fields: a, a.x")):  # fmt: skip
        with pytest.raises(Absent) as caught:
            reach(values, name)
        assert said in caught.value.what
    assert there(values, "none.k"), "nothing is there, as in a record without a value"
    assert find_path("A.C.D", list(values), [values]) == "a.c.d"
    assert find_path("a.q", list(values), [values]) is None
    assert texts_by_key([{"de": "x"}, None, {"de": "y", "en": "z"}]) == ["de", "en"]
    assert texts_by_key([{"de": "x"}, {"de": 3}]) == []


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.parquet", "d.csv"])
def test_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "d.parquet":
        as_parquet(path, NESTED)
    elif name == "d.jsonl":
        write_jsonl(NESTED, path)
    elif name == "d.json":
        path.write_text(json.dumps(NESTED, indent=1), encoding="utf-8")
    else:
        cells = (json.dumps(row["review"]).replace('"', '""') for row in NESTED)
        path.write_text("id,review\n" + "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells)), encoding="utf-8")
    data = read(path, columns="text=review.body,label=review.of.kind")
    assert data.columns == {"text": "review.body", "label": "review.of.kind"}
    assert rows_of(data) == [{"text": f"text {i}", "label": "xy"[i % 2]} for i in range(6)]
    sets = read(path, (TEXT, LABELS), columns="text=review.body,labels=review.tags")
    assert [row["labels"] for row in rows_of(sets)] == [["u", "v"][: i % 3] for i in range(6)]
    known = replace(TEXT, names=("REVIEW.Body".lower(), *TEXT.names))
    [first, *_] = records(str(path), DataRecipe(), (known, LABEL))
    assert first.row == {"text": "text 0"}
    assert set(first.values) == {"id", "review"}, "the record goes out as it came in"


def test_names_of_whole_numbers_inside(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "meta": {"kind": i % 2, "year": 1990 + i}} for i in range(6)]
    kind = {"names": ["bad", "good"], "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"},
                "meta": {"kind": kind, "year": {"dtype": "int64", "_type": "Value"}}}  # fmt: skip
    data = read(as_parquet(tmp_path / "d.parquet", rows, features), columns="label=meta.kind")
    assert data.label_names == ("bad", "good")


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ("text=review.bodi,label=id", DataError, "no field 'review.bodi' (for text); 'review' has body, of, tags"),
        (
            "text=review.body,label=review.of.kin",
            DataError,
            "no field 'review.of.kin' (for label); 'review.of' has kind",
        ),
        ("text=review.body.x,label=id", DataError, "'review.body' is a string, not an object"),
        ("text=revue.body,label=id", DataError, "no column 'revue.body' (for text); columns: 'id', 'review'"),
        ("text=review.body,label=review.body", UsageError, "cannot be both"),
        ("texts=review.body", UsageError, "unknown role 'texts'"),
    ],
)
def test_a_path_that_is_not_there(columns: str, error: type[FtcliError], said: str, tmp_path: Path) -> None:
    path = write_jsonl(NESTED, tmp_path / "d.jsonl")
    with pytest.raises(error) as caught:
        read(path, columns=columns)
    assert said in caught.value.message
    if "'review.of.kin'" in said:
        assert caught.value.hint == "did you mean 'review.of.kind'?"
    if "bodi" in said:
        assert str(caught.value.hint).startswith("did you mean 'review.body'")


def test_a_record_without_it_is_a_bad_row(tmp_path: Path) -> None:
    rows = [*NESTED, {"id": 6, "review": {"of": {"kind": "x"}}}, {"id": 7, "review": None}, {"id": 8}]
    path = write_jsonl(rows, tmp_path / "d.jsonl")
    with pytest.raises(DataError) as caught:
        read(path, columns="text=review.body,label=review.of.kind")
    assert "line 7: no field 'review.body'; 'review' has of" in caught.value.message
    assert "line 8: text ('review.body') is null" in caught.value.message
    assert "line 9: no field 'review.body'; fields: id" in caught.value.message


LANGUAGES = (SOURCE, TARGET)
TRANSLATIONS = [{"id": i, "translation": {"ro": f"ro {i}", "en": f"en {i}"}} for i in range(4)]


def test_two_languages_in_one_column(tmp_path: Path) -> None:
    path = write_jsonl(TRANSLATIONS, tmp_path / "d.jsonl")
    data = read(path, LANGUAGES)
    assert data.columns == {"source": "translation.ro", "target": "translation.en"}
    assert rows_of(data)[1] == {"source": "ro 1", "target": "en 1"}
    assert any(
        note == "source 'translation.ro', target 'translation.en'; the other way round: "
        "--columns source=translation.en,target=translation.ro" for note in data.notes
    )  # fmt: skip
    for told in ("text=translation.en,target=translation.ro", "source=translation.en", "target=translation.ro"):
        assert rows_of(read(path, LANGUAGES, columns=told))[1] == {"source": "en 1", "target": "ro 1"}, told
    by_name = [{**row, "source": "s", "target": "t"} for row in TRANSLATIONS]
    other = read(write_jsonl(by_name, tmp_path / "o.jsonl"), LANGUAGES)
    assert other.columns == {"source": "source", "target": "target"}, "columns of such names come first"


def test_the_order_of_the_source(tmp_path: Path) -> None:
    """A table keeps its languages by the alphabet; the data set says which comes first."""
    rows = [{"translation": dict(sorted(row["translation"].items()))} for row in TRANSLATIONS]
    plain = read(as_parquet(tmp_path / "p.parquet", rows), LANGUAGES)
    assert plain.columns["source"] == "translation.en"
    said = {"translation": {"languages": ["ro", "en"], "_type": "Translation"}}
    assert read(as_parquet(tmp_path / "d.parquet", rows, said), LANGUAGES).columns["source"] == "translation.ro"


def test_more_languages_are_asked_about(tmp_path: Path) -> None:
    rows = [{"translation": {"de": "a", "en": "b", "fr": "c"}} for _ in range(4)]
    path = write_jsonl(rows, tmp_path / "d.jsonl")
    with pytest.raises(DataError) as caught:
        read(path, LANGUAGES)
    assert "'translation' has 3 languages: 'de', 'en', 'fr'" in caught.value.message
    assert caught.value.hint == "--columns source=translation.de,target=translation.en says which"
    assert rows_of(read(path, LANGUAGES, columns="source=translation.fr,target=translation.de"))[0]["source"] == "c"
