"""Every form of data gives the same rows, and every way in which it can be broken is told with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.data.load import load
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.text_classification import LABEL, TEXT
from tests.data.conftest import Loader
from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet

ROWS = [
    {"text": 'a "quoted", comma', "label": "good"}, {"text": "NA", "label": "bad"}, {"text": "null", "label": "good"},
    {"text": "two\nlines", "label": "bad"}, {"text": "caf\u00e9 \u2028 \x85 \U0001f600", "label": "good"},
    {"text": "  spaces kept  ", "label": "bad"},
]  # fmt: skip


def as_tsv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", "label"], delimiter="\t")
        writer.writeheader()
        writer.writerows(ROWS)


def as_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


WRITERS = {
    "d.csv": lambda path: write_csv(ROWS, path),
    "d.tsv": as_tsv,
    "d.jsonl": lambda path: write_jsonl(ROWS, path),
    "d.json": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8"),
    "d.parquet": lambda path: write_parquet(ROWS, path),
    "d.arrow": as_arrow,
}


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_format_gives_the_same_rows(name: str, packed: str, tmp_path: Path, read: Loader) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    if packed:
        path = tmp_path / f"{name}{packed}"
        pack = {".gz": gzip.compress, ".zst": zstandard.compress}[packed]
        path.write_bytes(pack((tmp_path / name).read_bytes()))
    rows = read(path).splits["train"]
    assert [dict(row) for row in rows] == ROWS
    assert rows.column("label") == [row["label"] for row in ROWS]


@given(st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.sampled_from("ab")), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_text_comes_back_from_json_lines_and_parquet(pairs: list[tuple[str, str]]) -> None:
    import tempfile

    rows = [{"text": text.replace("\0", "?"), "label": label} for text, label in pairs]
    with tempfile.TemporaryDirectory() as folder:
        for write, name in ((write_jsonl, "d.jsonl"), (write_parquet, "d.parquet"), (write_csv, "d.csv")):
            recipe = DataRecipe(name=str(write(rows, Path(folder) / name)))
            found = load(recipe, (TEXT, LABEL), seed=1, splits=("train",)).splits["train"]
            expected = [row["text"] for row in rows]
            if name == "d.csv":  # a csv file cannot tell \r\n inside a field from \n
                assert [t.replace("\r\n", "\n").replace("\r", "\n") for t in found.column("text")] == [
                    t.replace("\r\n", "\n").replace("\r", "\n") for t in expected
                ]
            else:
                assert found.column("text") == expected


def test_places_are_lines_even_after_quoted_newlines(tmp_path: Path, read: Loader) -> None:
    (tmp_path / "d.csv").write_text('text,label\n"one\ntwo",a\nthree,b\n,a\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"d\.csv, line 5"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize("start", ["\ufeff", ""])
def test_bom_and_windows_line_ends(start: str, tmp_path: Path, read: Loader) -> None:
    (tmp_path / "d.csv").write_bytes(f"{start}text,label\r\none,a\r\ntwo,b\r\n".encode())
    assert read(tmp_path / "d.csv").splits["train"].column("text") == ["one", "two"]


def test_another_encoding(tmp_path: Path, read: Loader) -> None:
    (tmp_path / "d.csv").write_bytes("text,label\ncaf\u00e9,a\nth\u00e9,b\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2") as refused:
        read(tmp_path / "d.csv")
    assert "--encoding" in str(refused.value.hint)
    assert read(tmp_path / "d.csv", encoding="latin-1").splits["train"].column("text") == ["caf\u00e9", "th\u00e9"]


def test_all_problems_are_listed_or_skipped(tmp_path: Path, read: Loader) -> None:
    good = tiny_reviews(10)
    bad = [{"text": "", "label": "positive"}] * 12
    write_jsonl([*good, *bad], tmp_path / "d.jsonl")
    with pytest.raises(DataError) as refused:
        read(tmp_path / "d.jsonl")
    for line in range(11, 21):
        assert f"line {line}:" in refused.value.message
    assert "2 more" in refused.value.message
    assert "line 21" not in refused.value.message
    found = read(tmp_path / "d.jsonl", on_bad_row="skip")
    assert len(found.splits["train"]) == 10
    assert [problem.place.rsplit(" ", 1)[1] for problem in found.skipped] == [str(n) for n in range(11, 23)]


def test_an_id_column_and_extra_fields_do_no_harm(tmp_path: Path, read: Loader) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "review", "stars", "when"])
    for index, row in enumerate(tiny_reviews(12)):
        writer.writerow([index, row["text"], 1 + index % 5, "2026-01-01"])
    (tmp_path / "d.csv").write_text(out.getvalue(), encoding="utf-8")
    found = read(tmp_path / "d.csv")
    assert found.columns == {"text": "review", "label": "stars"}
    assert set(found.splits["train"].column("label")) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("separator", [" ", "\t"], ids=["space", "tab"])
def test_lines_of_class_and_text(separator: str, tmp_path: Path, read: Loader) -> None:
    """As in TREC: no header, and the text goes on to the end of the line whatever is in it."""
    lines = [f"{i % 3}{separator}what is the {row['text']}, then ?" for i, row in enumerate(tiny_reviews(12))]
    (tmp_path / "d.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read(tmp_path / "d.txt", columns="label=0,text=1")
    assert found.splits["train"].column("text") == [line[2:] for line in lines]
    assert found.splits["train"].column("label") == [0, 1, 2] * 4
    assert any("cut at each" in note for note in found.notes), "a guess is said"


def test_plain_lines_say_how_they_could_have_labels(tmp_path: Path, read: Loader) -> None:
    (tmp_path / "d.txt").write_text("0 one\n1 two\n", encoding="utf-8")
    assert "--columns label=0,text=1" in str(read(tmp_path / "d.txt").hint)


def test_a_first_row_is_not_lost_as_a_header(tmp_path: Path, read: Loader) -> None:
    rows = tiny_reviews(12)
    text = "".join(f"{row['text']},{row['label']}\n" for row in rows)
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="looks like a row") as refused:
        read(tmp_path / "d.csv")
    assert "--columns text=0,label=1" in str(refused.value.hint)
    found = read(tmp_path / "d.csv", columns="text=0,label=1")
    assert found.splits["train"].column("text") == [row["text"] for row in rows]
