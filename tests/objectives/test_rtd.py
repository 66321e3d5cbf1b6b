"""Replaced-token detection: two models, two losses, one of them kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from ftcli.engine.checkpoint import own_tensors
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.evaluate import run_model
from ftcli.engine.forward import speed_up
from ftcli.engine.precision import pick_precision
from ftcli.errors import UsageError
from ftcli.models.load import open_source
from ftcli.objectives.rtd import MASKED, WEIGHT, Pair, ReplacedTokenDetection, generator_config, sampled
from ftcli.recipe.schema import ModelRecipe, Recipe
from tests.tiny import tiny_model, tiny_reviews

ROWS = tiny_reviews(40)
CPU = torch.device("cpu")
FP32 = pick_precision("fp32", CPU)


def opened(folder: Path, kind: str = "electra") -> tuple[ReplacedTokenDetection, Pair]:
    source = open_source(ModelRecipe(name=str(tiny_model(kind, folder))))
    objective = ReplacedTokenDetection(source.tokenizer, 32, Recipe())
    model, _ = objective.build_model(source)
    assert isinstance(model, Pair)
    return objective, model


def examples(objective: ReplacedTokenDetection, count: int = 12) -> list[Any]:
    pieces = objective.arrange(objective.documents(ROWS[:count]), 0)
    return list(Corrupted(pieces, drawing(objective.corrupt, 7)))


def test_the_generator_is_small_and_shares_the_embeddings(tmp_path: Path) -> None:
    _, model = opened(tmp_path)
    generator, discriminator = model.generator, model.discriminator
    assert isinstance(generator, ElectraForMaskedLM)
    assert isinstance(discriminator, ElectraForPreTraining)
    assert generator.config.hidden_size <= discriminator.config.hidden_size
    assert generator.config.num_hidden_layers == discriminator.config.num_hidden_layers
    words = discriminator.electra.embeddings.word_embeddings.weight
    assert generator.electra.embeddings.word_embeddings.weight is words
    assert generator.generator_lm_head.weight is words
    names = own_tensors(model)
    assert sum("word_embeddings" in name for name in names) == 1
    assert not any(name.endswith("generator_lm_head.weight") for name in names)


@pytest.mark.parametrize(
    ("size", "heads", "found"),
    [((768, 3072), 12, ((192, 768), 3)), ((128, 512), 2, ((64, 256), 1)), ((32, 64), 4, ((32, 64), 4))],
)
def test_the_generator_is_a_quarter_as_wide_but_not_too_narrow(
    size: tuple[int, int], heads: int, found: tuple[tuple[int, int], int]
) -> None:
    config = ElectraConfig(hidden_size=size[0], intermediate_size=size[1], num_attention_heads=heads)
    small = generator_config(config)
    assert ((small.hidden_size, small.intermediate_size), small.num_attention_heads) == found


@pytest.mark.parametrize("unpadded", [True, False])
def test_the_losses_are_the_models_own(unpadded: bool, tmp_path: Path) -> None:
    objective, model = opened(tmp_path)
    found = examples(objective)
    batch = objective.collate(found)
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"]
    model.eval()
    with torch.no_grad():
        labels = torch.full(ids.shape, -100)
        labels.view(-1)[batch["places"]] = batch["labels"]
        generator = model.generator(input_ids=ids, attention_mask=mask, labels=labels)
        chosen = sampled(generator.logits.view(-1, generator.logits.shape[-1])[batch["places"]], batch["draws"])
        filled = ids.clone()
        filled.view(-1)[batch["places"]] = chosen
        originals = ids.clone()
        originals.view(-1)[batch["places"]] = batch["labels"]
        own = model.discriminator(input_ids=filled, attention_mask=mask, labels=(filled != originals).long())
        speed_up(model, CPU, unpadded=unpadded, first_only=False)
        sums = objective.losses(objective.forward(model, batch), batch)
    counts = objective.counts(batch)
    assert counts == {"mlm": sum(len(e["labels"]) for e in found), "rtd": int(mask.sum())}
    assert float(sums["mlm"]) / counts["mlm"] == pytest.approx(generator.loss.item(), abs=1e-5)
    assert float(sums["rtd"]) / counts["rtd"] == pytest.approx(WEIGHT * own.loss.item(), rel=1e-5)
    attention = {part.config._attn_implementation for part in (model.generator, model.discriminator)}
    assert attention == {"ftcli_unpadded" if unpadded else "sdpa"}


def test_the_discriminator_s_loss_teaches_the_discriminator_alone(tmp_path: Path) -> None:
    objective, model = opened(tmp_path)
    batch = objective.collate(examples(objective))
    objective.losses(objective.forward(model, batch), batch)["rtd"].backward()
    assert all(p.grad is None for n, p in model.generator.named_parameters() if "embeddings." not in n)
    assert all(p.grad is not None for p in model.discriminator.parameters())


def test_what_is_chosen_is_masked_or_kept_and_nothing_else(tmp_path: Path) -> None:
    objective, _ = opened(tmp_path)
    pieces = objective.arrange(objective.documents(ROWS), 0)
    random, masked, kept = np.random.default_rng(3), 0, 0
    for piece in [*pieces] * 40:
        special = np.isin(piece["input_ids"], objective.tokenizer.all_special_ids)
        example = objective.corrupt(piece, random)
        seen = example["input_ids"][example["places"]]
        hidden = seen == objective.tokenizer.mask_token_id
        assert (hidden | (seen == example["labels"])).all()
        assert not special[example["places"]].any()
        untouched = np.delete(np.arange(len(piece["input_ids"])), example["places"])
        assert np.array_equal(example["input_ids"][untouched], piece["input_ids"][untouched])
        masked, kept = masked + hidden.sum(), kept + (~hidden).sum()
    assert abs(masked / (masked + kept) - MASKED) < 4 * (MASKED * (1 - MASKED) / (masked + kept)) ** 0.5
    example = objective.corrupt(pieces[0], np.random.default_rng(3))
    again = objective.corrupt(pieces[0], np.random.default_rng(3))
    assert all(np.array_equal(example[name], again[name]) for name in example)


def test_a_batch_s_company_does_not_change_what_is_drawn(tmp_path: Path) -> None:
    objective, model = opened(tmp_path)
    found = examples(objective)
    model.eval()
    with torch.inference_mode():
        together = objective.forward(model, objective.collate(found))
        alone = [objective.forward(model, objective.collate([example])) for example in found]
    for name in ("rtd", "replaced", "mlm"):
        assert torch.allclose(torch.cat([one[name] for one in alone]).float(), together[name].float(), atol=1e-4)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_draws_follow_the_distribution_function(vocabulary: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=generator) * 3
    draws = torch.rand(rows, generator=generator, dtype=torch.float64)
    found = sampled(logits, draws)
    upto = torch.softmax(logits, -1).double().cumsum(-1)
    below = torch.cat([torch.zeros(rows, 1, dtype=torch.float64), upto], 1).gather(1, found[:, None]).squeeze(1)
    above = upto.gather(1, found[:, None]).squeeze(1)
    assert ((below - 1e-6 <= draws) & (draws <= above + 1e-6)).all()


def test_draws_are_as_frequent_as_they_are_likely() -> None:
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.5, -30.0, 0.0])
    draws = torch.rand(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    share = torch.bincount(sampled(logits.expand(len(draws), -1), draws), minlength=7) / len(draws)
    assert torch.allclose(share, torch.softmax(logits, -1), atol=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        half = sampled(logits.expand(len(draws), -1), draws)
    assert torch.equal(half, sampled(logits.expand(len(draws), -1), draws)), "in full precision all the same"


def test_the_report_has_both_losses_and_what_was_caught(tmp_path: Path) -> None:
    objective, model = opened(tmp_path)
    found = examples(objective)
    predictions, loss = run_model(objective, model, found, FP32, 5)
    metrics = objective.score([], predictions, bootstrap=0, seed=0).metrics  # type: ignore[arg-type]
    assert loss == pytest.approx(metrics["mlm_loss"] + WEIGHT * metrics["rtd_loss"], rel=1e-4)
    assert 0.4 < metrics["rtd_loss"] < 1.2, "a fresh discriminator guesses"
    assert 0.3 < metrics["rtd_auc"] < 0.7
    assert 0 < metrics["rtd_share_loss"] < metrics["rtd_loss"]
    assert {"rtd_accuracy", "rtd_precision", "rtd_recall", "perplexity"} <= set(metrics)
    assert set(metrics) <= set(objective.metric_names())
    again, _ = run_model(objective, model, found, FP32, 3)
    assert [p["replaced"] for p in again] == [p["replaced"] for p in predictions], "drawn once and for all"


def test_the_discriminator_is_what_is_kept_and_names_suspects(tmp_path: Path) -> None:
    objective, model = opened(tmp_path / "a")
    kept = objective.deployed(model)
    assert kept is model.discriminator
    kept.save_pretrained(tmp_path / "b")  # type: ignore[operator]
    objective.tokenizer.save_pretrained(tmp_path / "b")
    source = open_source(ModelRecipe(name=str(tmp_path / "b")))
    again = ReplacedTokenDetection(source.tokenizer, 32, Recipe())
    loaded = again.load_model(source)
    assert isinstance(loaded, ElectraForPreTraining)
    rows = [{"text": "the film was good"}, {"text": "a very long and lovely plot"}]
    answers, _ = run_model(again, loaded, again.encode(rows), FP32, None)
    words = [token["token"] for token in answers[0]["tokens"]]
    assert words == ["the", "film", "was", "good"]
    for answer in answers:
        assert answer["prediction"] == [t["token"] for t in answer["tokens"] if t["score"] > 0.5]
    both, _ = run_model(objective, model, objective.encode(rows), FP32, None)
    assert [a["prediction"] for a in both] == [a["prediction"] for a in answers], "as beside its generator"


def test_both_learn(tmp_path: Path) -> None:
    objective, model = opened(tmp_path)
    found = examples(objective, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    _, before = run_model(objective, model, found, FP32, None)
    model.train()
    for _ in range(60):
        batch = objective.collate(found)
        sums, counts = objective.losses(objective.forward(model, batch), batch), objective.counts(batch)
        optimizer.zero_grad()
        torch.stack([sums[term] / counts[term] for term in sums]).sum().backward()
        optimizer.step()
    predictions, after = run_model(objective, model, found, FP32, None)
    assert before is not None
    assert after is not None
    assert after < before * 0.6
    metrics = objective.score([], predictions, bootstrap=0, seed=0).metrics  # type: ignore[arg-type]
    assert metrics["mlm_loss"] < 4


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ELECTRA"):
        opened(tmp_path, "bert")
