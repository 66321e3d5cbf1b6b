"""Soft answers of every form against computations by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ftcli.distillable import SoftForm
from ftcli.distillation.soft import apart, as_wide, by_row, mixed, stacked
from ftcli.errors import UsageError
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe
from ftcli.tasks.extractive_qa import ExtractiveQA
from tests.tasks.samples import SAMPLES
from tests.tiny import tiny_reviews

NONE = -math.inf
SOFTMAX, SIGMOID = SoftForm("softmax", ragged=True), SoftForm("sigmoid", ragged=True)


def softmax(values: list[float]) -> np.ndarray:
    powers = np.exp(np.array(values))
    return powers / powers.sum()


def divergence(p: np.ndarray, q: np.ndarray, how: str) -> float:
    if how == "forward":
        return float((p * np.log(p / q)).sum())
    if how == "reverse":
        return divergence(q, p, "forward")
    middle = (p + q) / 2
    return (divergence(p, middle, "forward") + divergence(q, middle, "forward")) / 2


@pytest.mark.parametrize("how", ["forward", "reverse", "js"])
def test_choices_of_any_number(how: str) -> None:
    """Three targets of three, two and no choices, the teacher's batch wider than the student's."""
    student = torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, NONE], [NONE, NONE, NONE]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, 2.0, NONE], [2.0, 1.0, NONE, NONE], [0.0, 1.0, NONE, NONE]])
    found = apart(SOFTMAX, student, [teacher], [1.0], 2.0, how)
    expected = 4 * sum(
        divergence(softmax([t / 2 for t in theirs]), softmax([s / 2 for s in own]), how)
        for own, theirs in (([1.0, 2.0, 0.5], [0.0, 1.0, 2.0]), ([0.3, -1.0], [2.0, 1.0]))
    )
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad[0].abs().sum() > 0
    assert student.grad[1, 2] == 0
    assert student.grad[2].abs().sum() == 0


@pytest.mark.parametrize("how", ["forward", "reverse", "js"])
def test_labels_each_by_itself(how: str) -> None:
    """The binary divergence of each label, averaged over a row's own labels."""
    student, teacher = (
        torch.tensor([[1.0, -2.0, 0.0], [0.5, NONE, NONE]]),
        torch.tensor([[0.0, 1.0, 3.0], [2.0, NONE, NONE]]),
    )
    found = apart(SIGMOID, student.requires_grad_(), [teacher], [1.0], 3.0, how)
    rows = []
    for own, theirs in (([1.0, -2.0, 0.0], [0.0, 1.0, 3.0]), ([0.5], [2.0])):
        each = [divergence(softmax([t / 3, 0]), softmax([s / 3, 0]), how) for s, t in zip(own, theirs, strict=True)]
        rows.append(sum(each) / len(each))
    assert float(found.detach()) == pytest.approx(9 * sum(rows), rel=1e-5)
    found.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_numbers_and_several_teachers() -> None:
    one, other = torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [0.0]])
    form = SoftForm("number", unit=2.0)
    assert mixed(form, [one, other], [0.75, 0.25]).tolist() == [[1.5], [3.0]]
    found = apart(form, torch.tensor([[2.5], [3.0]]), [one, other], [0.75, 0.25], 5.0, "js")
    assert float(found) == pytest.approx((1.0 / 2) ** 2)
    flags = mixed(SIGMOID, [torch.tensor([[0.0, 2.0]]), torch.tensor([[math.log(3), 2.0]])], [0.5, 0.5])
    assert torch.sigmoid(flags)[0, 0] == pytest.approx((0.5 + 0.75) / 2)
    assert flags[0, 1] == pytest.approx(2.0)
    classes = mixed(SOFTMAX, [torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3), 0.0]])], [0.5, 0.5])
    assert classes.exp()[0].tolist() == pytest.approx([(0.5 + 0.2) / 2, (0.5 + 0.6) / 2, 0.1])
    with pytest.raises(UsageError, match="its teacher another number"):
        apart(SOFTMAX, torch.zeros(3, 2), [torch.zeros(2, 2)], [1.0], 1.0, "forward")


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=1, max_size=5))
def test_rows_come_back_as_they_went_in(shapes: list[tuple[int, int]]) -> None:
    rows = [torch.arange(float(targets * choices)).view(targets, choices) for targets, choices in shapes]
    batch = stacked(rows)
    assert batch.shape == (sum(t for t, _ in shapes), max(c for _, c in shapes))
    back = by_row(batch, [targets for targets, _ in shapes])
    assert all(torch.equal(one, other) for one, other in zip(rows, back, strict=True))
    assert {x.shape[1] for x in as_wide(rows)} == {batch.shape[1]}


def test_answers_in_a_context_do_not_depend_on_its_windows() -> None:
    """Each token once, however many windows hold it: what they say of it is added up."""
    tokenizer = train_wordpiece([row["text"] for row in tiny_reviews(100)], TokenizerRecipe(vocab_size=200), 512)
    rows = [{k: v for k, v in row.items() if k != "answers"} for row in SAMPLES["extractive-qa"].rows(6, 0)]
    task = ExtractiveQA(tokenizer, 14)
    examples = task.encode(rows)
    batch = task.collate(examples)
    assert max(batch["per_row"]) > 1
    outputs = torch.full((2, *batch["allowed"].shape), NONE)
    held: list[list[int]] = []
    window = 0
    for example, at in batch["known"]:
        count = [0] * len(example["starts"])
        for start, before, size in zip(example["parts"], at, example["windows"], strict=True):
            first = int(before) + int(example["first"])
            last = int(before) + int(size) - len(task.frame.after)
            for place in range(first, last):
                token = int(start) + place - first
                count[token] += 1
                outputs[0, window, place], outputs[1, window, place] = token, -token
            outputs[:, window, int(before)] = 7.0
            window += 1
        held.append(count)
    soft: Tensor = task.soft(outputs.masked_fill(~batch["allowed"], NONE), batch)
    for row, (own, count) in enumerate(zip(by_row(soft, task.targets_per_row(batch)), held, strict=True)):
        many = len(batch["known"][row][1])
        logs = np.log(count)
        assert own[0].tolist() == pytest.approx([7 + math.log(many), *(np.arange(len(count)) + logs)], rel=1e-5)
        assert own[1].tolist() == pytest.approx(
            [7 + math.log(many), *(logs - np.arange(len(count)))], rel=1e-5, abs=1e-5
        )
