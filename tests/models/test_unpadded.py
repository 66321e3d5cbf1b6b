"""Running without padding gives what running with it gives, for every architecture that can, and leaves no trace."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftcli.models.unpadded import ENCODERS, FlatRows, computed_tokens, known_rows, run_unpadded
from tests.tiny import run_cli, tiny_model, tiny_reviews, write_jsonl

SIZE = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 80, "num_labels": 3, "pad_token_id": 1}  # fmt: skip
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}
WINDOWED = {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3,
            "bos_token_id": 2, "eos_token_id": 3}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "bert": {**SIZE, **NO_DROPOUT},
    "roberta": {**SIZE, **NO_DROPOUT},
    "xlm-roberta": {**SIZE, **NO_DROPOUT},
    "camembert": {**SIZE, **NO_DROPOUT},
    "electra": {**SIZE, **NO_DROPOUT, "embedding_size": 16},
    "albert": {**SIZE, **NO_DROPOUT, "embedding_size": 16},
    "distilbert": {"vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "num_labels": 3,
                   "max_position_embeddings": 80, "dropout": 0.0, "attention_dropout": 0.0,
                   "seq_classif_dropout": 0.0, "pad_token_id": 1},
    "modernbert": {**SIZE, **WINDOWED},
}  # fmt: skip
LENGTHS = [50, 17, 3, 48, 50, 9, 1]


def build(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **{**KINDS[kind], **changes}))


def batch(lengths: list[int], *, left: bool = False) -> dict[str, Tensor]:
    ids = torch.randint(4, 100, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    place = torch.arange(max(lengths))
    inside = place < torch.tensor(lengths)[:, None]
    mask = (inside.flip(1) if left else inside).long()
    labels = torch.arange(len(lengths)) % 3
    return {"input_ids": torch.where(mask == 1, ids, 1), "attention_mask": mask, "labels": labels}


def step(model: Any, given: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, loss and gradients."""
    model.zero_grad()
    out = model.train()(**given)
    out.loss.backward()
    return out.logits, out.loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def same(a: Any, b: Any, given: dict[str, Tensor]) -> None:
    (logits, loss, grads), (others, other_loss, other_grads) = step(a, given), step(b, given)
    assert torch.allclose(logits, others, atol=1e-5)
    assert torch.allclose(loss, other_loss, atol=1e-5)
    assert grads.keys() == other_grads.keys()
    for name in grads:
        assert torch.allclose(grads[name], other_grads[name], atol=1e-5), name
    with torch.inference_mode():
        assert torch.allclose(a.eval()(**given).logits, b.eval()(**given).logits, atol=1e-5)


def test_every_architecture_of_the_table_is_tested() -> None:
    assert KINDS.keys() == ENCODERS.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_only", [False, True])
def test_equal_to_padded(kind: str, first_only: bool) -> None:
    padded = build(kind)
    unpadded = copy.deepcopy(padded)
    assert run_unpadded(unpadded, first_only=first_only)
    same(padded, unpadded, batch(LENGTHS))
    same(padded, unpadded, batch([20, 20, 20]))
    same(padded, unpadded, batch([5]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_only", [False, True])
def test_equal_to_padded_in_bf16(kind: str, first_only: bool) -> None:
    padded = build(kind)
    unpadded = copy.deepcopy(padded)
    run_unpadded(unpadded, first_only=first_only)
    given = batch(LENGTHS)
    assert sum(LENGTHS) % 16, "these are filled up"
    assert computed_tokens(unpadded, {**given, "rows": FlatRows.of(given["attention_mask"])}, half=True) == 192
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (logits, _, grads), (others, _, other_grads) = step(padded, given), step(unpadded, given)
    assert torch.allclose(logits.float(), others.float(), atol=0.02)
    for name, grad in grads.items():
        # As close as two orders of rounding to 8 bits are.
        assert (grad - other_grads[name]).norm() <= 0.1 * grad.norm() + 1e-4, name


def test_pooling_over_all_tokens() -> None:
    padded = build("modernbert", classifier_pooling="mean")
    unpadded = copy.deepcopy(padded)
    assert run_unpadded(unpadded, first_only=True)
    same(padded, unpadded, batch(LENGTHS))


def test_rows_known_on_the_host_are_used() -> None:
    padded = build("bert")
    unpadded = copy.deepcopy(padded)
    run_unpadded(unpadded)
    given = batch(LENGTHS)
    with known_rows(FlatRows.of(given["attention_mask"])):
        same(padded, unpadded, given)


@pytest.mark.parametrize("what", ["left", "hidden_states", "embeddings", "empty_row"])
def test_calls_that_do_not_fit_run_padded(what: str) -> None:
    padded = build("bert")
    unpadded = copy.deepcopy(padded)
    run_unpadded(unpadded, first_only=True)
    given: dict[str, Any] = batch(LENGTHS, left=what == "left")
    del given["labels"]
    if what == "hidden_states":
        given["output_hidden_states"] = True
    if what == "embeddings":
        given["inputs_embeds"] = padded.get_input_embeddings()(given.pop("input_ids"))
    if what == "empty_row":
        given["attention_mask"][2] = 0
    a, b = padded.eval()(**given), unpadded.eval()(**given)
    rows = [i for i in range(len(LENGTHS)) if what != "empty_row" or i != 2]
    assert torch.equal(a.logits[rows], b.logits[rows])
    if what == "hidden_states":
        assert len(b.hidden_states) == 4
        assert b.hidden_states[-1].shape == (len(LENGTHS), 50, 32)


def test_dropout_differs_by_seed_and_repeats_with_it() -> None:
    model = build("bert", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.3)
    run_unpadded(model, first_only=True)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(step(model, batch(LENGTHS))[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_gradient_checkpointing_changes_nothing() -> None:
    plain = build("bert")
    run_unpadded(plain, first_only=True)
    checkpointed = build("bert")
    run_unpadded(checkpointed, first_only=True)
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    same(plain, checkpointed, batch(LENGTHS))


def test_other_architectures_are_left_alone() -> None:
    config = AutoConfig.for_model("deberta-v2", **SIZE, **NO_DROPOUT)
    assert not run_unpadded(AutoModelForSequenceClassification.from_config(config))
    eager = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("bert", **KINDS["bert"]), attn_implementation="eager"
    )
    assert not run_unpadded(eager)


def test_saved_model_is_untouched(tmp_path: Path) -> None:
    plain = build("bert")
    unpadded = copy.deepcopy(plain)
    run_unpadded(unpadded, first_only=True)
    for name, model in (("a", plain), ("b", unpadded)):
        model.save_pretrained(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "albert", "modernbert"])
def test_a_run_without_padding_ends_where_one_with_it_does(kind: str, tmp_path: Path) -> None:
    """Dropout off: then the two differ by rounding only."""
    model = tiny_model(kind, tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    for split, count in (("train", 48), ("validation", 16), ("test", 24)):
        write_jsonl(tiny_reviews(count, seed=count), data / f"{split}.jsonl")
    curves, reports = [], []
    for unpadded in ("true", "false"):
        out = tmp_path / unpadded
        done = run_cli(
            "finetune", "--model", str(model), "--data", str(data), "--out", str(out), "--epochs", "2", "-q",
            "--set", f"train.unpadded={unpadded}", "--set", "regularize.dropout=0", "--set", "log.every=1", "--json",
            "--set", "eval.bootstrap=0", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if line["split"] == "train"])
        reports.append(json.loads(done.stdout)["metrics"])
    assert len(curves[0]) == 6
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert reports[0]["loss"] == pytest.approx(reports[1]["loss"], abs=1e-4)
