"""Spilled rows, token stores and their cache give back exactly what went in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.data import spool, token_cache
from ftcli.data.reader import Places
from ftcli.data.rows import Coded, Origins, TableRows, TextColumn
from ftcli.data.token_cache import TokenCache
from ftcli.data.tokens import Tokens, TokensBuilder

texts = st.lists(st.none() | st.text() | st.text(alphabet="aé漢😀\u2028\0", max_size=200), max_size=60)
limits = st.sampled_from([1, 64, 1 << 20])


@pytest.fixture(autouse=True)
def _own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", spool.IN_MEMORY)  # put back after each test


def _rows(values: list[str | None], labels: list[Any]) -> TableRows:
    column, origins = TextColumn(), Origins()
    origins.begin(Places("d.jsonl"))
    for line, value in enumerate(values):
        column.add(value)
        if len(column._pending) > 7:
            column._flush()
        origins.add(2 * line + 1)
    known = sorted({repr(label): label for label in labels}.items())
    codes = np.array([[key for key, _ in known].index(repr(label)) for label in labels], dtype=np.uint8)
    return TableRows({"text": column.finish(), "label": Coded([v for _, v in known], codes)}, origins)


@given(texts, limits, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_rows_hold_exactly_what_was_read(values: list[str | None], limit: int, chance: Any) -> None:
    spool.IN_MEMORY = limit
    labels = [chance.choice([None, True, 3, "drei"]) for _ in values]
    rows = _rows(values, labels)
    expected = [{"text": text, "label": label} for text, label in zip(values, labels, strict=True)]
    assert list(rows) == expected
    assert [rows[i] for i in range(len(rows))] == expected
    assert rows.column("text") == values
    assert [rows.place(i) for i in range(len(rows))] == [f"d.jsonl, line {2 * i + 1}" for i in range(len(rows))]
    order = [chance.randrange(len(values)) for _ in values]
    chosen = rows.select(order).select(range(len(order) // 2))
    assert list(chosen) == [expected[i] for i in order[: len(order) // 2]]
    assert chosen.column("label") == [labels[i] for i in order[: len(order) // 2]]
    sizes = [len((text or "").encode("utf-8", "surrogatepass")) for text in values]
    assert rows.text_bytes() == sum(sizes)
    assert chosen.text_bytes() == sum(sizes[i] for i in order[: len(order) // 2])


def test_the_fingerprint_is_that_of_the_values_whatever_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (0, 1, 999, 1000, 1001, 2000):
        values: list[str | None] = [f"text {i} é" for i in range(count)]
        labels: list[Any] = [i % 3 for i in range(count)]
        found = set()
        for characters in (1, 50, 1_000_000):
            monkeypatch.setattr("ftcli.data.rows._HASHED_CHARACTERS", characters)
            found.add(_rows(values, labels).fingerprint())
        assert len(found) == 1
        assert _rows(values[:-1], labels[:-1]).fingerprint() not in found or not count


integers = st.sampled_from([np.int32, np.int64, np.uint8]).flatmap(
    lambda kind: st.lists(
        st.lists(st.integers(0, 255) | st.integers(np.iinfo(kind).min, np.iinfo(kind).max), max_size=12).map(
            lambda values: np.array(values, dtype=kind)
        ),
        min_size=30,
        max_size=30,
    )
)
fields = st.fixed_dictionaries(
    {"input_ids": integers, "label": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=30, max_size=30)},
    optional={
        "zeros": st.just([np.zeros(i % 5, dtype=np.int32) for i in range(30)]),
        "late": st.just([np.full(3, 70_000 * (i == 29), dtype=np.int32) for i in range(30)]),
        "truncated": st.lists(st.booleans(), min_size=30, max_size=30),
    },
)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def _equal(found: Any, expected: list[dict[str, Any]]) -> bool:
    return len(found) == len(expected) and all(
        list(left) == list(right) and all(_same(left[name], right[name]) for name in left)
        for left, right in zip(found, expected, strict=True)
    )


@given(fields, limits, st.integers(0, 30), st.integers(1, 30))
@settings(deadline=None)
def test_examples_come_back_as_they_went_in(columns: dict[str, Any], limit: int, count: int, chunk: int) -> None:
    spool.IN_MEMORY = token_cache.IN_MEMORY = limit
    examples = [{name: values[i] for name, values in columns.items()} for i in range(count)]
    builder = TokensBuilder()
    for start in range(0, count, chunk):
        builder.add(examples[start : start + chunk])
    store = builder.finish()
    assert isinstance(store, Tokens)
    assert _equal(store, examples)
    assert store.lengths().tolist() == [len(e["input_ids"]) for e in examples]
    assert _equal(store[2:7], examples[2:7])
    assert _equal([store[-1]] if count else [], examples[-1:])
    with tempfile.TemporaryDirectory() as folder:
        cache = TokenCache(Path(folder) / "tokens")
        assert cache.load("a" * 64) is None
        assert cache.save("a" * 64, store)
        again = cache.load("a" * 64)
        assert isinstance(again, Tokens)
        assert _equal(again, examples)
        assert again.total("truncated") == sum(bool(e.get("truncated")) for e in examples)


@pytest.mark.parametrize(
    "odd", [{"input_ids": [1, 2]}, {"input_ids": np.ones((2, 2), int)}, {"input_ids": np.ones(2)}, {"other": 1},
            {"input_ids": np.ones(1, int), "label": None}, {"input_ids": np.ones(1, int), "label": 2**70}]
)  # fmt: skip
def test_examples_of_another_shape_are_kept_as_they_are(odd: dict[str, Any]) -> None:
    plain = {"input_ids": np.arange(3)}
    for examples in ([plain, odd, plain], [odd, plain], [plain, plain, plain, odd]):
        builder = TokensBuilder()
        for example in examples:
            builder.add([example])
        store = builder.finish()
        assert len(store) == len(examples)
        assert all(
            list(left) == list(right) and all(np.array_equal(left[k], right[k]) for k in left)
            for left, right in zip(store, examples, strict=True)
        )


def _filled(folder: Path) -> tuple[TokenCache, Path]:
    builder = TokensBuilder()
    builder.add([{"input_ids": np.arange(i, dtype=np.int32), "label": i} for i in range(50)])
    store = builder.finish()
    assert isinstance(store, Tokens)
    cache = TokenCache(folder)
    assert cache.save("k", store)
    return cache, folder / "k.tokens"


def test_a_damaged_entry_is_a_miss(tmp_path: Path) -> None:
    cache, file = _filled(tmp_path)
    whole = file.read_bytes()
    for damage in (*range(0, len(whole), 7), len(whole) - 1):
        file.write_bytes(whole[:damage] + bytes([whole[damage] ^ 1]) + whole[damage + 1 :])
        assert cache.load("k") is None
        assert not file.exists()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert cache.load("k") is None
    file.write_bytes(whole)
    assert cache.load("k") is not None


def test_the_entries_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, file = _filled(tmp_path)
    size = file.stat().st_size
    monkeypatch.setattr(token_cache, "LARGEST", 2 * size)
    store = cache.load("k")
    assert store is not None
    for number, name in enumerate(("a", "b", "c")):
        os.utime(file, (number, number))
        if name == "c":
            assert cache.load("k") is not None  # used, so the other one goes
            os.utime(tmp_path / "b.tokens", (1, 1))
        cache.save(name, store)
        if name == "a":
            os.utime(tmp_path / "a.tokens", (0, 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tokens", "k.tokens"]


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    cache, _ = _filled(tmp_path / "good")
    store = cache.load("k")
    assert store is not None
    (tmp_path / "file").write_text("in the way")
    assert TokenCache(tmp_path / "file" / "below").save("k", store) is False
    assert TokenCache(tmp_path / "file" / "below").load("k") is None


def test_an_entry_stays_readable_while_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "IN_MEMORY", 1)
    cache, file = _filled(tmp_path)
    store = cache.load("k")
    assert store is not None
    file.unlink()
    assert [len(e["input_ids"]) for e in store] == list(range(50))
    assert json.dumps(store.total("label")) == str(sum(range(50)))
