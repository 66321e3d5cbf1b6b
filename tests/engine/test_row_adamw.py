"""AdamW by rows is AdamW: the same weights, whatever is accumulated, clipped, decayed, saved or restored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from ftcli.data.sampler import Sampler
from ftcli.engine import row_adamw
from ftcli.engine.checkpoint import own_tensors, take_snapshot, write_snapshot
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.optim import adamw, clip_gradients, decay_groups, flush
from ftcli.engine.precision import pick_precision
from ftcli.engine.restore import load_checkpoint
from ftcli.engine.row_adamw import MANY, RowAdamW, row_embedding
from ftcli.engine.schedule import factor
from ftcli.recipe.schema import OptimizerRecipe, ScheduleRecipe, TrainRecipe
from tests.engine.test_loop import TOKENIZER, make_examples, make_task

ROWS, WIDTH = 90, 6
WIDE = 2**16
"""Rows of an embedding 16 wide that is large enough to be updated by rows."""


class Bag(nn.Module):
    """A mean of embeddings under a small head: its output depends on the rows it reads, late ones too."""

    def __init__(self, padding: int | None, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.words = nn.Embedding(ROWS, WIDTH, padding_idx=padding, dtype=dtype)
        self.head = nn.Linear(WIDTH, 3, dtype=dtype)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.words(ids)).mean(1))
        return out


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    vocabulary=st.integers(2, ROWS),
    steps=st.integers(1, 25),
    passes=st.integers(1, 3),
    padding=st.sampled_from([None, 0]),
    decay=st.sampled_from([0.0, 0.01, 5.0]),
    clip=st.sampled_from([None, 0.05, 100.0]),
    flushes=st.sets(st.integers(0, 24)),
    seed=st.integers(0, 10_000),
)
def test_equals_dense_adamw(
    dtype: torch.dtype, vocabulary: int, steps: int, passes: int, padding: int | None, decay: float,
    clip: float | None, flushes: set[int], seed: int,
) -> None:  # fmt: skip
    """Rows touched early, late, repeatedly or never; a vocabulary above a third of the rows goes dense in mid-run."""
    dense, rows = Bag(padding, dtype), Bag(padding, dtype)
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6}
    expected = torch.optim.AdamW(decay_groups(dense, decay), **settings)
    ours = RowAdamW(decay_groups(rows, decay), rows.words, **settings)
    draw = torch.Generator().manual_seed(seed)
    norm = torch.zeros(())
    for step in range(steps):
        norms = []
        batches = [torch.randint(0, vocabulary, (2, 3), generator=draw) for _ in range(passes)]
        for model, optimizer in ((dense, expected), (rows, ours)):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (1 + math.cos(step))
            for ids in batches:
                nn.functional.cross_entropy(model(ids), ids[:, 0] % 3).backward()
            if clip is not None:
                norm = (
                    clip_gradients(model, clip) if model is rows else nn.utils.clip_grad_norm_(model.parameters(), clip)
                )
                norms.append(float(norm))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        assert norms[:1] == pytest.approx(norms[1:], rel=1e-5)
        if step in flushes:
            flush(ours)
    flush(ours)
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    for (name, one), two in zip(dense.named_parameters(), rows.parameters(), strict=True):
        torch.testing.assert_close(two, one, atol=limit, rtol=limit, msg=lambda m, name=name: f"{name}: {m}")
    state, reference = ours.state[rows.words.weight], expected.state[dense.words.weight]
    assert float(state["step"]) == float(reference["step"]) == steps
    for moment in ("exp_avg", "exp_avg_sq"):
        held = state.get("rows", torch.arange(ROWS))
        whole = torch.zeros_like(rows.words.weight).index_copy(0, held, state[moment])
        torch.testing.assert_close(whole, reference[moment], atol=limit, rtol=limit)


def make_loop(*, plain: bool = False, decay: float = 1.0, dropout: float = 0.1) -> Loop:
    """A BERT whose embedding has far more rows than the texts have words, accumulating and clipping."""
    task = make_task()
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=WIDE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                   num_labels=3, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    )  # fmt: skip
    assert len(TOKENIZER) < WIDE
    task.prepare(model)
    examples = make_examples(task, [3, 9, 1, 14, 5, 2, 8, 4, 6, 11], seed=1)
    recipe = TrainRecipe(epochs=4, batch_size=2, gradient_accumulation=2, clip=0.1)
    sampler = Sampler([len(e["input_ids"]) for e in examples], 4, 3)
    total = count_steps(recipe, sampler.steps)
    wanted = OptimizerRecipe(lr=1e-2, weight_decay=decay)
    own: dict[str, Any] = {"lr": 1e-2, "betas": (wanted.beta1, wanted.beta2), "eps": wanted.eps}
    optimizer = torch.optim.AdamW(decay_groups(model, decay), **own) if plain else adamw(model, wanted)
    precision = pick_precision("fp32", torch.device("cpu"))
    schedule = factor(ScheduleRecipe(warmup=0.2), total)
    return Loop(task, model, examples, sampler, optimizer, schedule, precision, recipe, total)


def words(loop: Loop) -> nn.Embedding:
    found = loop.model.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(found, nn.Embedding)
    return found


def contents(loop: Loop) -> dict[str, Tensor]:
    """Weights and the optimiser's state, copied."""
    snapshot = take_snapshot(loop, {}, None)
    numbers = {name: torch.tensor(float(n), dtype=torch.float64) for name, n in snapshot.state["optimizer"].items()}
    return {f"{file}/{name}": t for file, ts in snapshot.tensors.items() for name, t in ts.items()} | numbers


WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.mark.parametrize("many", [MANY, 12 / WIDE], ids=["rows", "dense in mid-run"])
def test_restored_is_uninterrupted_bit_for_bit(many: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh loop that takes up the checkpoint, and in one that has gone on and is rolled back to it."""
    monkeypatch.setattr(row_adamw, "MANY", many)
    torch.manual_seed(9)
    loop = make_loop()
    paths = [write_snapshot(tmp_path, take_snapshot(loop, {}, None), keep=99)]
    by_rows = []
    for _ in loop:
        paths.append(write_snapshot(tmp_path, take_snapshot(loop, {}, None), keep=99))
        by_rows.append("rows" in loop.optimizer.state[words(loop).weight])
    whole = contents(loop)
    if many == MANY:
        assert all(by_rows)
        rows = whole[f"optimizer.safetensors/{WORDS}/rows"]
        assert 5 < len(rows) <= len(TOKENIZER)
        assert whole[f"optimizer.safetensors/{WORDS}/exp_avg"].shape == (len(rows), 16)
    else:
        assert by_rows[0]
        assert not by_rows[-1]
    for path in (paths[step] for step in (5, 11, 0, 1)):
        for other in (loop, make_loop()):
            load_checkpoint(path, other)
            for _ in other:
                pass
            end = contents(other)
            assert end.keys() == whole.keys()
            assert [name for name in end if not end[name].equal(whole[name])] == []


def test_a_checkpoint_goes_on_under_plain_adamw(tmp_path: Path) -> None:
    """As where a run moves from a CPU to a GPU: to the end that plain AdamW reaches alone."""
    torch.manual_seed(9)
    loop = make_loop()
    for progress in loop:
        if progress.step == 5:
            break
    path = write_snapshot(tmp_path, take_snapshot(loop, {}, None), keep=1)
    moved = make_loop(plain=True)
    load_checkpoint(path, moved)
    for _ in moved:
        pass
    torch.manual_seed(9)
    alone = make_loop(plain=True)
    for _ in alone:
        pass
    for name, value in own_tensors(alone.model).items():
        torch.testing.assert_close(own_tensors(moved.model)[name], value, atol=2e-5, rtol=0)


def test_memory_that_runs_out_in_mid_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one of two forward and backward passes: the window is done anew by single rows, to the same weights."""
    expected, halved = make_loop(dropout=0.0), make_loop(dropout=0.0)
    passes = 0
    forward = halved.task.forward

    def failing(*arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == 4:
            raise MemoryError
        return forward(*arguments)

    monkeypatch.setattr(halved.task, "forward", failing)
    for loop in (expected, halved):
        assert len(list(loop)) == 12
    assert halved.micro_batch == 1
    for (name, one), two in zip(expected.model.named_parameters(), halved.model.parameters(), strict=True):
        torch.testing.assert_close(two, one, atol=2e-5, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("change", "by_rows"),
    [("nothing", True), ("frozen", False), ("tied", False), ("half", False), ("limited", False), ("small", False)],
)
def test_which_embeddings_are_updated_by_rows(change: str, by_rows: bool) -> None:
    embedding = nn.Embedding(
        100 if change == "small" else WIDE, 16, max_norm=1.0 if change == "limited" else None,
        dtype=torch.bfloat16 if change == "half" else None,
    )  # fmt: skip
    head = nn.Linear(16, WIDE, bias=False)
    if change == "tied":
        head.weight = embedding.weight
    embedding.weight.requires_grad_(change != "frozen")
    assert (row_embedding(nn.Sequential(embedding, head)) is not None) == by_rows
