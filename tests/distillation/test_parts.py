"""Layer maps, ramps, the store of answers, changed texts, and what is enough: each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.changed import CHANGES, changed, read_ways, without
from ftcli.data.rows import Origins, TableRows, TextColumn
from ftcli.distillation.layer_map import evenly, layer_map
from ftcli.distillation.ramp import ramp
from ftcli.distillation.store import PORTION, AnswerStore
from ftcli.errors import UsageError
from ftcli.metrics.until import gates, parse


def test_layer_maps() -> None:
    assert layer_map("skip", 3, 12) == [3, 7, 11]
    assert layer_map("skip", 3, 6) == [1, 3, 5]
    assert layer_map("last", 3, 12) == [9, 10, 11]
    assert layer_map([0, 2, 5], 3, 6) == [0, 2, 5]
    assert evenly(3, 6) == [0, 2, 5]
    assert evenly(1, 6) == [0]
    with pytest.raises(UsageError, match="expected 3 numbers from 0 to 5"):
        layer_map([0, 6, 1], 3, 6)


@given(st.integers(1, 24), st.integers(1, 24))
def test_a_map_goes_up_and_ends_at_the_top(student: int, teacher: int) -> None:
    for asked in ("skip", "last"):
        found = layer_map(asked, student, teacher)
        assert len(found) == student
        assert found == sorted(found)
        assert found[-1] == teacher - 1
        assert found[0] >= 0


def test_ramps() -> None:
    assert [ramp("soft", 2.0).at(step, 11) for step in (0, 10)] == [2.0, 2.0]
    assert [ramp("soft", "1 -> 0").at(step, 11) for step in (0, 5, 10, 20)] == [1.0, 0.5, 0.0, 0.0]
    assert [ramp("soft", "4->2 @ 0.5").at(step, 11) for step in (0, 5, 10)] == [4.0, 2.0, 2.0]
    for wrong in ("1 to 0", "1 -> x", "1 -> 0 @ 2", "-1 -> 0", "1 -> inf"):
        with pytest.raises(UsageError, match=r"distill\.soft"):
            ramp("soft", wrong)
    with pytest.raises(UsageError, match=r"distill\.temperature"):
        ramp("temperature", "0 -> 1", above_zero=True)


def answers(row: int, length: int) -> dict[str, torch.Tensor]:
    soft = torch.full((1 + row % 2, row % 4), float(row))  # targets and choices of its own, maybe none
    return {"logits": soft, "hidden.2": torch.full((length, 4), row / 8, dtype=torch.float16)}


def test_answers_are_found_again_and_what_is_damaged_counts_as_missing(tmp_path: Path) -> None:
    count = PORTION + 5
    store = AnswerStore(tmp_path, "key", count, ["logits", "hidden.2"])
    assert [len(rows) for rows in store.missing()] == [PORTION, 5]
    for rows in store.missing():
        store.write(rows, [answers(row, 1 + row % 3) for row in rows])
    again = AnswerStore(tmp_path, "key", count, ["hidden.2", "logits"])
    assert not again.missing()
    for row in (0, 7, PORTION - 1, PORTION, count - 1):
        found = again.row(row)
        assert torch.equal(found["logits"], torch.full((1 + row % 2, row % 4), float(row)))
        assert found["hidden.2"].shape == (1 + row % 3, 4)
    file = sorted((tmp_path / "key").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-10])
    assert [rows.start for rows in AnswerStore(tmp_path, "key", count, ["logits", "hidden.2"]).missing()] == [0]
    assert AnswerStore(tmp_path, "key", count, ["logits"]).missing(), "another question"


def texts(*values: str) -> TableRows:
    column, origins = TextColumn(), Origins()
    origins.begin(lambda row: f"row {row}")
    for row, value in enumerate(values):
        column.add(value)
        origins.add(row)
    return TableRows({"text": column.finish()}, origins)


def test_changed_copies_depend_on_seed_and_row_alone() -> None:
    rows = texts("a b c d e f g h", "one", "")
    ways = read_ways("mask,delete,swap,sample")
    found = changed(rows, 3, ways, 0.3, 1, "[MASK]").column("text")
    assert found == changed(rows, 3, ways, 0.3, 1, "[MASK]").column("text")
    assert found != changed(rows, 3, ways, 0.3, 2, "[MASK]").column("text")
    assert len(found) == 9
    assert found[6:] == ["", "", ""]
    assert changed(rows, 3, ways, 0.3, 1, "[MASK]").place(4) == "row 1 (changed, copy 2)"
    for name in CHANGES:
        words = set(changed(rows.select([0]), 8, [name], 0.3, 1, "[MASK]").column("text"))
        assert len(words) > 1, name
        assert set(" ".join(words).split()) <= {*"abcdefgh", "[MASK]"}
    with pytest.raises(UsageError, match="unknown way 'maks'"):
        read_ways("maks")


def test_rows_of_another_split_are_left_out() -> None:
    kept, left = without(texts("a", "b", "c"), [texts("b"), texts("c", "d")], ["text"])
    assert kept.column("text") == ["a"]
    assert left == 2


def test_what_is_enough() -> None:
    text = "f1_macro >= teacher - 0.01 and cpu_ms_per_row<=2 and parameters <= 0.5 * teacher and rows_per_s >= teacher"
    found = gates(parse(text), {"f1_macro": 0.9, "parameters": 100.0, "rows_per_s": 7.0})
    assert [(gate.metric, gate.op, round(gate.value, 9)) for gate in found] == [
        ("f1_macro", ">=", 0.89), ("cpu_ms_per_row", "<=", 2.0), ("parameters", "<=", 50.0), ("rows_per_s", ">=", 7.0),
    ]  # fmt: skip
    assert gates(parse("x <= teacher / 2"), {"x": 3.0})[0].value == 1.5
    for wrong in ("", "f1_macro", "f1_macro > 0.9", "f1_macro >= best", "a >= 1 and", "a >= teacher / 0"):
        with pytest.raises(UsageError, match=r"bound|number"):
            parse(wrong)
