"""Folders, columns, labels and splits, as people have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.sampler import Sampler
from ftcli.errors import DataError, UsageError
from tests.data.conftest import Loader
from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet

ALL = ("train", "validation", "test")


def test_split_files_by_any_usual_name(tmp_path: Path, read: Loader) -> None:
    write_csv(tiny_reviews(20), tmp_path / "train.csv")
    write_jsonl(tiny_reviews(6, 1), tmp_path / "dev.jsonl")
    write_parquet(tiny_reviews(8, 2), tmp_path / "test.parquet")
    found = read(tmp_path, ALL)
    assert {name: len(rows) for name, rows in found.splits.items()} == {"train": 20, "validation": 6, "test": 8}
    assert len(set(found.fingerprints.values())) == 3


def test_class_folders_as_unpacked(tmp_path: Path, read: Loader) -> None:
    """The layout of aclImdb, whose unlabelled texts are no class."""
    for split in ("train", "test"):
        for kind in ("pos", "neg"):
            folder = tmp_path / "aclImdb" / split / kind
            folder.mkdir(parents=True)
            for number in range(5):
                (folder / f"{number}_7.txt").write_text(f"{kind} film {number}\n", encoding="utf-8")
    (tmp_path / "aclImdb" / "train" / "unsup").mkdir()
    (tmp_path / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("who knows", encoding="utf-8")
    (tmp_path / "aclImdb" / "README").write_text("words", encoding="utf-8")
    found = read(tmp_path / "aclImdb", ALL)
    assert set(found.splits["train"].column("label")) == {"neg", "pos"}
    assert len(found.splits["train"]) + len(found.splits["validation"]) == 10
    assert len(found.splits["test"]) == 5 * 2
    row = found.splits["test"][0]
    assert row["text"].startswith(row["label"])


def test_validation_is_held_out_stratified_and_seeded(tmp_path: Path, read: Loader) -> None:
    rows = [{"text": f"text number {i}", "label": "rare" if i % 10 == 0 else "common"} for i in range(200)]
    write_jsonl(rows, tmp_path / "d.jsonl")
    first, again, other = (read(tmp_path / "d.jsonl", ("train", "validation"), seed=s) for s in (1, 1, 2))
    counts = Counter(first.splits["validation"].column("label"))
    assert counts == {"rare": 2, "common": 18}
    texts = [data.splits["validation"].column("text") for data in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    everything = first.splits["train"].column("text") + first.splits["validation"].column("text")
    assert sorted(everything) == sorted(row["text"] for row in rows)
    assert any("held out" in note for note in first.notes)


def test_the_test_split_is_never_held_out_or_trained_on(tmp_path: Path, read: Loader) -> None:
    write_jsonl(tiny_reviews(40), tmp_path / "train.jsonl")
    write_jsonl(tiny_reviews(10, 3), tmp_path / "test.jsonl")
    found = read(tmp_path, ALL)
    assert found.splits["test"].column("text") == [row["text"] for row in tiny_reviews(10, 3)]
    seen = {*found.splits["train"].column("text"), *found.splits["validation"].column("text")}
    assert seen <= {row["text"] for row in tiny_reviews(40)}


def test_columns_by_flag_and_position(tmp_path: Path, read: Loader) -> None:
    (tmp_path / "d.csv").write_text("x,one film,good\ny,two films,bad\n", encoding="utf-8")
    found = read(tmp_path / "d.csv", columns="text=1,label=2")
    assert [dict(row) for row in found.splits["train"]] == [
        {"text": "one film", "label": "good"}, {"text": "two films", "label": "bad"},
    ]  # fmt: skip
    write_csv([{"a": r["text"], "b": r["text"][::-1], "c": r["label"]} for r in tiny_reviews(20)], tmp_path / "e.csv")
    with pytest.raises(DataError, match="more than one column"):
        read(tmp_path / "e.csv")
    assert read(tmp_path / "e.csv", text_column="b").columns == {"text": "b", "label": "c"}
    with pytest.raises(UsageError, match="cannot be both"):
        read(tmp_path / "e.csv", text_column="c", label_column="c")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0", "1", "0", "1"], {0, 1}),
        ([0, 1, 0, 1], {0, 1}),
        ([True, False, True, False], {True, False}),
        (["yes", "no", "yes", "no"], {"yes", "no"}),
        (["1.0", "2.0", "1.0", "2.0"], {1, 2}),
    ],
    ids=["digits", "ints", "bools", "words", "whole fractions"],
)
def test_kinds_of_labels(values: list[object], expected: set[object], tmp_path: Path, read: Loader) -> None:
    rows = [{"text": f"film number {i}", "label": value} for i, value in enumerate(values)]
    path = (
        write_csv(rows, tmp_path / "d.csv") if isinstance(values[0], str) else write_jsonl(rows, tmp_path / "d.jsonl")
    )
    assert set(read(path).splits["train"].column("label")) == expected


def test_one_word_among_numbers_is_a_slip_with_a_place(tmp_path: Path, read: Loader) -> None:
    rows = [{"text": f"film number {i}", "label": "bad" if i == 17 else i % 2} for i in range(40)]
    write_jsonl(rows, tmp_path / "d.jsonl")
    with pytest.raises(DataError, match="line 18"):
        read(tmp_path / "d.jsonl")


def test_class_names_of_the_schema_survive(tmp_path: Path, read: Loader) -> None:
    table = pa.Table.from_pylist([{"text": f"film {i}", "label": i % 2} for i in range(8)])
    names = b'{"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": names}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").label_names == ("neg", "pos")


def test_an_unlabelled_test_split_is_left_out_and_said(tmp_path: Path, read: Loader) -> None:
    write_jsonl(tiny_reviews(30), tmp_path / "train.jsonl")
    write_jsonl([{"text": row["text"], "label": None} for row in tiny_reviews(5)], tmp_path / "test.jsonl")
    found = read(tmp_path, ALL)
    assert "test" not in found.splits
    assert any("no labels" in note for note in found.notes)


def test_a_limit_is_a_seeded_choice(tmp_path: Path, read: Loader) -> None:
    write_jsonl(tiny_reviews(50), tmp_path / "d.jsonl")
    first, again = (read(tmp_path / "d.jsonl", limit=10).splits["train"].column("text") for _ in range(2))
    assert first == again
    assert len(first) == 10
    assert first != [row["text"] for row in tiny_reviews(50)][:10]


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 9), st.integers(0, 3)
)
def test_every_row_once_an_epoch(lengths: list[int], rows_per_step: int, seed: int, epoch: int) -> None:
    sampler = Sampler(lengths, rows_per_step, seed)
    plan = sampler.plan(epoch)
    assert len(plan) == sampler.steps(epoch)
    assert sorted(int(row) for step in plan for row in step) == list(range(len(lengths)))
    assert sum(len(step) != rows_per_step for step in plan) <= 1
    assert [step.tolist() for step in plan] == [
        step.tolist() for step in Sampler(lengths, rows_per_step, seed).plan(epoch)
    ]


def test_rows_of_a_step_are_alike_in_length() -> None:
    lengths = [1 + (i * 37) % 400 for i in range(2000)]
    widths = [max(lengths[row] for row in step) * len(step) for step in Sampler(lengths, 16, 1).plan(0)]
    assert sum(lengths) / sum(widths) > 0.85, "little is padding"
    assert Sampler(lengths, 16, 1).plan(0)[0].tolist() != Sampler(lengths, 16, 1).plan(1)[0].tolist()
