"""The loop: accumulation is exact, epochs hold every row once, schedules and decay groups are what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from ftcli.contract import Example
from ftcli.data.sampler import Sampler
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.optim import adamw, decay_groups
from ftcli.engine.precision import pick_precision
from ftcli.engine.schedule import factor
from ftcli.errors import UsageError
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import OptimizerRecipe, ScheduleRecipe, TokenizerRecipe, TrainRecipe
from ftcli.tasks.text_classification import TextClassification

WORDS = ["good", "bad", "film", "plot", "warm", "cold", "dull", "bright", "slow", "fine"]
TOKENIZER = train_wordpiece([" ".join(WORDS)] * 3, TokenizerRecipe(vocab_size=200), 64)


class Rows:
    """Just enough of a split to fit labels on."""

    def column(self, role: str) -> list[Any]:
        return ["negative", "positive", "neutral"]


def make_task() -> TextClassification:
    task = TextClassification(TOKENIZER, 64)
    task.fit_labels(Rows(), None)  # type: ignore[arg-type]
    return task


def make_model(task: TextClassification, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    task.prepare(model)
    return model


def make_examples(task: TextClassification, lengths: Sequence[int], seed: int) -> list[Example]:
    random = np.random.default_rng(seed)
    return task.encode(
        [
            {"text": " ".join(random.choice(WORDS, n)), "label": ["negative", "positive", "neutral"][i % 3]}
            for i, n in enumerate(lengths)
        ]
    )


def make_loop(task: TextClassification, examples: list[Example], recipe: TrainRecipe, seed: int = 0) -> Loop:
    model = make_model(task)
    sampler = Sampler([len(e["input_ids"]) for e in examples], recipe.batch_size * recipe.gradient_accumulation, seed)
    total = count_steps(recipe, sampler.steps)
    # SGD would hide nothing, but neither does AdamW with a large eps: updates stay proportional to gradients.
    optimizer = adamw(model, OptimizerRecipe(lr=1e-2, eps=1.0))
    precision = pick_precision("fp32", torch.device("cpu"))
    return Loop(task, model, examples, sampler, optimizer, factor(ScheduleRecipe(), total), precision, recipe, total)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=9, max_size=21),
    split=st.sampled_from([(4, 2), (2, 4), (1, 8), (3, 3), (5, 2)]),
    seed=st.integers(0, 1000),
)
def test_accumulation_equals_one_batch(lengths: list[int], split: tuple[int, int], seed: int) -> None:
    """4 x 2 rows give the losses and weights of 8, with unequal lengths and a partial last window."""
    micro, times = split
    task = make_task()
    examples = make_examples(task, lengths, seed)
    results = []
    for recipe in (
        TrainRecipe(epochs=2, batch_size=micro * times),
        TrainRecipe(epochs=2, batch_size=micro, gradient_accumulation=times),
    ):
        loop = make_loop(task, examples, recipe, seed)
        losses = [float(progress.loss) for progress in loop]
        results.append((losses, {k: v.detach().clone() for k, v in loop.model.state_dict().items()}))
    (whole_losses, whole), (parts_losses, parts) = results
    assert len(whole_losses) == len(parts_losses) >= 2
    assert parts_losses == pytest.approx(whole_losses, abs=1e-6)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-6, rtol=0)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=400),
    rows=st.integers(1, 33),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 50),
)
def test_every_epoch_holds_every_row_once(lengths: list[int], rows: int, seed: int, epoch: int) -> None:
    sampler = Sampler(lengths, rows, seed)
    plan = sampler.plan(epoch)
    assert sorted(int(i) for step in plan for i in step) == list(range(len(lengths)))
    assert len(plan) == sampler.steps(epoch)
    assert sum(len(step) < rows for step in plan) <= 1
    assert all(np.array_equal(a, b) for a, b in zip(plan, Sampler(lengths, rows, seed).plan(epoch), strict=True))


def test_steps_hold_rows_of_like_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 4000)
    plan = Sampler(lengths, 16, 0).plan(0)
    padded = sum(len(step) * lengths[step].max() for step in plan)
    assert lengths.sum() / padded > 0.95
    longest = [int(lengths[step].max()) for step in plan]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2
    assert not np.array_equal(plan[0], Sampler(lengths, 16, 0).plan(1)[0])


def test_loss_falls_and_progress_adds_up() -> None:
    task = make_task()
    examples = make_examples(task, [5, 9, 13, 2, 7, 30, 4], 1)
    loop = make_loop(task, examples, TrainRecipe(epochs=3, batch_size=2))
    steps = list(loop)
    assert [p.step for p in steps] == list(range(1, 13))
    assert [p.epoch_ended for p in steps] == [False, False, False, True] * 3
    assert sum(p.rows for p in steps[:4]) == 7
    assert sum(p.tokens for p in steps[:4]) == sum(len(e["input_ids"]) for e in examples)
    assert steps[-1].epoch == 3.0


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"), [(3.0, None, 30), (0.5, None, 5), (0.01, None, 1), (2.0, 7, 7), (1.0, 99, 10)]
)
def test_count_steps(epochs: float, max_steps: int | None, expected: int) -> None:
    assert count_steps(TrainRecipe(epochs=epochs, max_steps=max_steps), lambda epoch: 10) == expected


def test_schedules() -> None:
    at = factor(ScheduleRecipe(name="linear", warmup=0.1), 100)
    assert [at(i) for i in (0, 9, 10)] == pytest.approx([1 / 11, 10 / 11, 1.0])
    assert at(99) == pytest.approx(1 / 90)
    assert [factor(ScheduleRecipe(name="constant", warmup=0.0), 9)(i) for i in range(9)] == [1.0] * 9
    cosine = factor(ScheduleRecipe(name="cosine", warmup=0.0), 100)
    assert cosine(50) == pytest.approx(0.5)
    assert factor(ScheduleRecipe(warmup=4), 10)(3) == pytest.approx(4 / 5)
    assert factor(ScheduleRecipe(warmup=0.9), 1)(0) == 1.0
    with pytest.raises(UsageError, match="warmup is 20 steps, but the run has only 10"):
        factor(ScheduleRecipe(warmup=20), 10)


def test_decay_keeps_off_norms_and_biases() -> None:
    model = make_model(make_task())
    groups = decay_groups(model, 0.1)
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    kept_off = {id(p) for p in groups[1]["params"]}  # type: ignore[attr-defined]
    names = {n for n, p in model.named_parameters() if id(p) in kept_off}
    assert names == {n for n, _ in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))  # type: ignore[arg-type]


def test_same_bits_twice() -> None:
    task = make_task()
    examples = make_examples(task, [5, 9, 13, 2, 7], 1)
    runs = [[float(p.loss) for p in make_loop(task, examples, TrainRecipe(epochs=2, batch_size=2))] for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_loop_follows_the_plan_of_each_epoch() -> None:
    """Rows of every step, epoch after epoch, in an order of its own."""
    task = make_task()
    examples = make_examples(task, list(range(1, 31)), 3)
    loop = make_loop(task, examples, TrainRecipe(epochs=3, batch_size=4))
    followed: list[list[int]] = []
    whole = Loop._forward_backward

    def watched(self: Loop, rows: np.ndarray, following: np.ndarray | None) -> tuple[torch.Tensor, int]:
        followed.append([int(row) for row in rows])
        return whole(self, rows, following)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_forward_backward", watched)
        list(loop)
    planned = [step.tolist() for epoch in range(3) for step in loop.sampler.plan(epoch)]
    assert followed == planned
    assert followed[:8] != followed[8:16]
