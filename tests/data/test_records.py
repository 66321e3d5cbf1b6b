"""Records for prediction: a stream in order, with an error in the place of what cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ftcli.data.records import Record, records
from ftcli.errors import DataError, FtcliError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.text_classification import LABEL, TEXT
from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet


def answers(path: Path, **keys: str) -> list[Record]:
    return list(records(str(path), DataRecipe(**keys), (TEXT, LABEL)))


def test_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text('one film\n"two", it says\n\n{ not json\nlast without an end', encoding="utf-8")
    found = answers(tmp_path / "d.txt")
    assert [r.row["text"] if r.error is None and r.row else None for r in found] == [
        "one film", '"two", it says', None, "{ not json", "last without an end",
    ]  # fmt: skip
    assert found[2].error is not None


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.parquet", "d.jsonl.gz"])
def test_tables_keep_their_fields_and_their_order(name: str, tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": row["text"]} for i, row in enumerate(tiny_reviews(30))]
    writers = {"d.jsonl": write_jsonl, "d.csv": write_csv, "d.parquet": write_parquet, "d.jsonl.gz": write_jsonl}
    path = writers[name](rows, tmp_path / name)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert [dict(record.values) for record in answers(path)] == rows


def test_a_bad_record_is_told_in_its_place_and_the_rest_go_on(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', '{"text": 5}', '{"text": null}', "[1]", '{"text": ', '{"other": "x"}', '{"text": "z"}']
    (tmp_path / "d.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = answers(tmp_path / "d.jsonl")
    assert [record.error is None for record in found] == [True, False, False, False, False, False, True]
    assert [record.line for record in found] == list(range(1, 8))


def test_no_text_anywhere_is_an_error_at_once(tmp_path: Path) -> None:
    write_parquet([{"n": 1}, {"n": 2}], tmp_path / "d.parquet")
    with pytest.raises(DataError, match="text"):
        answers(tmp_path / "d.parquet")
    with pytest.raises(FtcliError, match="absent"):
        answers(tmp_path / "absent.jsonl")
