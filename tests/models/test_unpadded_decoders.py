"""Decoders without padding give what they give with it: each text sees itself alone, and generation is untouched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from ftcli.models.unpadded import DECODERS, FlatRows, computed_tokens, run_unpadded

GPT2 = {"vocab_size": 100, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 80, "attn_pdrop": 0.0,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0}  # fmt: skip
LLAMA = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 80}  # fmt: skip
ENDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 8},
    "qwen2": {**LLAMA, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {**LLAMA, "head_dim": 8},
}
LENGTHS = [50, 17, 3, 48, 50, 9, 1]


def build(kind: str, auto: Any = AutoModelForCausalLM, **changes: Any) -> Any:
    torch.manual_seed(0)
    return auto.from_config(AutoConfig.for_model(kind, **{**KINDS[kind], **ENDS, **changes}))


def pair(kind: str, **changes: Any) -> tuple[Any, Any]:
    padded = build(kind, **changes)
    unpadded = copy.deepcopy(padded)
    assert run_unpadded(unpadded)
    return padded, unpadded


def batch(lengths: list[int], seed: int = 1) -> dict[str, Tensor]:
    ids = torch.randint(4, 100, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {
        "input_ids": torch.where(inside, ids, 1),
        "attention_mask": inside.long(),
        "labels": torch.where(inside, ids, -100),
    }


def step(model: Any, given: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, loss and gradients."""
    model.zero_grad()
    out = model.train()(**given, use_cache=False)
    out.loss.backward()
    return out.logits, out.loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def same(a: Any, b: Any, given: dict[str, Tensor]) -> None:
    real = given["attention_mask"] == 1
    (logits, loss, grads), (others, other_loss, other_grads) = step(a, given), step(b, given)
    assert torch.allclose(logits[real], others[real], atol=1e-5)
    assert torch.allclose(loss, other_loss, atol=1e-5)
    assert grads.keys() == other_grads.keys()
    for name in grads:
        assert torch.allclose(grads[name], other_grads[name], atol=1e-5), name
    with torch.inference_mode():
        logits, others = (model.eval()(**given, use_cache=False).logits for model in (a, b))
    assert torch.allclose(logits[real], others[real], atol=1e-5)


def flattened(model: Any) -> list[int]:
    """Grows by the tokens of each forward pass that its embeddings see, padding among them."""
    seen: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].numel()))
    return seen


def test_every_architecture_of_the_table_is_tested() -> None:
    assert KINDS.keys() == DECODERS


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_padded(kind: str) -> None:
    padded, unpadded = pair(kind)
    seen = flattened(unpadded)
    same(padded, unpadded, batch(LENGTHS))
    assert seen == [sum(LENGTHS)] * 2, "it ran without padding"
    same(padded, unpadded, batch([20, 20, 20]))
    same(padded, unpadded, batch([5]))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_padded_in_bf16(kind: str) -> None:
    padded, unpadded = pair(kind)
    given = batch(LENGTHS)
    assert computed_tokens(unpadded, {**given, "rows": FlatRows.of(given["attention_mask"])}, half=True) == 192
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (logits, _, grads), (others, _, other_grads) = step(padded, given), step(unpadded, given)
    real = given["attention_mask"] == 1
    assert torch.allclose(logits[real].float(), others[real].float(), atol=0.02)
    for name, grad in grads.items():
        # As close as two orders of rounding to 8 bits are.
        assert (grad - other_grads[name]).norm() <= 0.1 * grad.norm() + 1e-4, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_text_sees_another(kind: str, dropout: float) -> None:
    """The loss of each text stays, to the bit, when another one of its length takes another's place beside it."""
    rates = {"attn_pdrop": dropout, "resid_pdrop": dropout} if kind == "gpt2" else {"attention_dropout": dropout}
    _, model = pair(kind, **rates)
    model.train()
    given, others = batch(LENGTHS, seed=1), batch(LENGTHS, seed=2)
    for changed in range(len(LENGTHS)):
        mixed = {n: torch.cat([x[:changed], y[changed : changed + 1], x[changed + 1 :]])
                 for (n, x), y in zip(given.items(), others.values(), strict=True)}  # fmt: skip
        losses = []
        for each in (given, mixed):
            torch.manual_seed(3)
            logits = model(each["input_ids"], attention_mask=each["attention_mask"], use_cache=False).logits
            found = torch.nn.functional.cross_entropy(
                logits[:, :-1].transpose(1, 2), each["labels"][:, 1:], reduction="none"
            )
            losses.append(found.sum(1))
        equal = losses[0] == losses[1]
        assert all(equal[row] for row in range(len(LENGTHS)) if row != changed)
        if LENGTHS[changed] > 1:
            assert not equal[changed]


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_sees_a_later_one(kind: str) -> None:
    _, model = pair(kind)
    model.eval()
    given = batch([30, 20])
    changed = given["input_ids"].clone()
    changed[:, 12:] = torch.where(given["attention_mask"][:, 12:] == 1, 50, 1)
    before, after = (model(ids, attention_mask=given["attention_mask"], use_cache=False).logits
                     for ids in (given["input_ids"], changed))  # fmt: skip
    assert torch.allclose(before[:, :12], after[:, :12], atol=1e-6)
    assert not torch.allclose(before[:, 12:20], after[:, 12:20], atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_classification(kind: str) -> None:
    padded = build(kind, AutoModelForSequenceClassification, num_labels=3)
    unpadded = copy.deepcopy(padded)
    assert run_unpadded(unpadded, first_only=True)
    given = batch(LENGTHS)
    del given["labels"]
    a, b = (model.eval()(**given).logits for model in (padded, unpadded))
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_is_as_it_was(kind: str, use_cache: bool) -> None:
    padded, unpadded = pair(kind)
    given = batch(LENGTHS[:3])
    given = {n: given[n].flip(1) for n in ("input_ids", "attention_mask")}  # padding on the left
    options = {"max_new_tokens": 5, "do_sample": False, "use_cache": use_cache}
    a, b = (model.eval().generate(**given, **options) for model in (padded, unpadded))
    assert torch.equal(a, b)
    full = torch.ones(2, 7, dtype=torch.long)
    a, b = (model.generate(full * 5, attention_mask=full, **options) for model in (padded, unpadded))
    assert torch.equal(a, b)


def test_gradient_checkpointing_changes_nothing() -> None:
    _, plain = pair("gpt2")
    _, checkpointed = pair("gpt2")
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    same(plain, checkpointed, batch(LENGTHS))


def test_a_cache_that_is_asked_for_is_kept() -> None:
    padded, unpadded = pair("llama")
    given = batch([9, 9])
    del given["labels"]
    a, b = (model.eval()(**given, use_cache=True) for model in (padded, unpadded))
    assert torch.equal(a.logits, b.logits)
    assert b.past_key_values.get_seq_length() == 9
