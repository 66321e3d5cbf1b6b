"""Span corruption and text infilling: what the model reads and is asked for, its loss, and its answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartForConditionalGeneration, T5ForConditionalGeneration

from ftcli.data.masking import restore
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.evaluate import run_model
from ftcli.engine.precision import pick_precision
from ftcli.errors import UsageError
from ftcli.models.load import open_source
from ftcli.objectives.denoising import Denoising
from ftcli.recipe.schema import ModelRecipe, Recipe
from tests.tiny import t5_tokenizer, tiny_model, tiny_reviews

ROWS = tiny_reviews(60)
FP32 = pick_precision("fp32", torch.device("cpu"))


def opened(kind: str, folder: Path, max_length: int = 32) -> tuple[Denoising, Any]:
    source = open_source(ModelRecipe(name=str(tiny_model(kind, folder))))
    objective = Denoising(source.tokenizer, max_length, Recipe())
    model, _ = objective.build_model(source)
    return objective, model


def examples(objective: Denoising, count: int = 20) -> list[Any]:
    pieces = objective.arrange(objective.documents(ROWS[:count]), 0)
    return list(Corrupted(pieces, drawing(objective.corrupt, 7)))


@pytest.mark.parametrize(
    ("kind", "expected"), [("t5", T5ForConditionalGeneration), ("bart", BartForConditionalGeneration)]
)
def test_the_loss_is_the_model_s_own(kind: str, expected: Any, tmp_path: Path) -> None:
    objective, model = opened(kind, tmp_path)
    assert type(model) is expected
    found = examples(objective)
    batch = objective.collate(found)
    model.eval()
    with torch.inference_mode():
        outputs = objective.forward(model, batch)
        loss = objective.losses(outputs, batch)["denoising"] / objective.counts(batch)["denoising"]
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(e["labels"], dtype=torch.int64) for e in found], batch_first=True, padding_value=-100
        )
        own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=padded)
        alone = [objective.forward(model, objective.collate([e])) for e in found]
    assert loss.item() == pytest.approx(own.loss.item(), abs=1e-5)
    assert torch.allclose(torch.cat(alone), outputs, atol=1e-5), "padding changes nothing"
    assert objective.counts(batch)["denoising"] == sum(len(e["labels"]) for e in found)
    assert len({len(e["labels"]) for e in found}) > 1, "unequal lengths"


def test_t5_reads_what_is_left_and_writes_what_is_missing(tmp_path: Path) -> None:
    objective, _ = opened("t5", tmp_path)
    tokenizer = objective.tokenizer
    documents = objective.documents(ROWS)
    pieces = objective.arrange(documents, 0)
    for row, example in enumerate(Corrupted(pieces, drawing(objective.corrupt, 7))):
        assert len(example["input_ids"]) <= 32
        original = pieces[row]["input_ids"][:-1]
        restored = restore(example["input_ids"], example["labels"], objective.sentinels, tokenizer.eos_token_id)
        assert restored.tolist() == original.tolist()
        assert tokenizer.convert_ids_to_tokens(int(example["labels"][0])) == "<extra_id_0>"
        assert example["labels"][-1] == example["input_ids"][-1] == tokenizer.eos_token_id
    assert sum(len(p["input_ids"]) - 1 for p in pieces) == sum(len(d["input_ids"]) for d in documents)


def test_a_piece_is_as_long_as_what_is_left_of_it_fits(tmp_path: Path) -> None:
    """512 tokens read are 568 tokens of text at T5's settings, and 114 to write."""
    objective, _ = opened("t5", tmp_path, max_length=512)
    tokenizer = objective.tokenizer
    ids = np.full(5680, tokenizer.convert_tokens_to_ids("▁film"), dtype=np.int32)
    pieces = objective.arrange([{"input_ids": ids}], 0)
    assert [len(piece["input_ids"]) for piece in pieces] == [569] * 10
    example = objective.corrupt(pieces[0], np.random.default_rng(0))
    assert (len(example["input_ids"]), len(example["labels"])) == (512, 85 + 28 + 2)


def test_bart_reads_masks_and_writes_the_whole_text(tmp_path: Path) -> None:
    objective, _ = opened("bart", tmp_path)
    pieces = objective.arrange(objective.documents(ROWS), 0)
    mask = objective.tokenizer.mask_token_id
    hidden = tokens = 0
    for row, example in enumerate(Corrupted(pieces, drawing(objective.corrupt, 7))):
        whole = pieces[row]["input_ids"]
        assert example["labels"].tolist() == whole.tolist()
        assert whole[0] == objective.tokenizer.bos_token_id
        assert example["input_ids"][[0, -1]].tolist() == whole[[0, -1]].tolist()
        assert len(example["input_ids"]) <= 32
        hidden += len(whole) - int((example["input_ids"] != mask).sum())
        tokens += len(whole) - 2
    assert hidden / tokens == pytest.approx(0.3, abs=0.03)


def test_text_that_looks_like_a_sentinel_does_not_become_one(tmp_path: Path) -> None:
    objective, _ = opened("t5", tmp_path)
    (document,) = objective.documents([{"text": "the film <extra_id_3> was </s> good <extra_id_0> and warm"}])
    (piece,) = objective.arrange([document], 0)
    example = objective.corrupt(piece, np.random.default_rng(1))
    restored = restore(example["input_ids"], example["labels"], objective.sentinels, objective.tokenizer.eos_token_id)
    assert objective.tokenizer.decode(restored) == "the film was good and warm"


def test_the_report_adds_up_sums_over_tokens(tmp_path: Path) -> None:
    objective, model = opened("t5", tmp_path)
    found = examples(objective)
    predictions, loss = run_model(objective, model, found, FP32, 3)
    metrics = objective.score([], predictions, bootstrap=0, seed=0).metrics  # type: ignore[arg-type]
    assert loss is not None
    assert metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    targets = np.concatenate([example["labels"] for example in found])
    size = float(objective.bytes[torch.from_numpy(targets).long()].sum())
    assert metrics["bits_per_byte"] == pytest.approx(loss * len(targets) / size / math.log(2), rel=1e-4)
    assert 0 <= metrics["accuracy"] <= 1
    assert set(metrics) <= set(objective.metric_names())


class Scripted(torch.nn.Module):
    """A model that writes what it is told to."""

    def __init__(self, written: list[list[int]]) -> None:
        super().__init__()
        self.written, self.asked = written, {}

    def generate(self, **options: Any) -> torch.Tensor:
        self.asked = options
        return torch.tensor(self.written)


def test_blanks_are_filled_with_what_the_model_writes(tmp_path: Path) -> None:
    objective, _ = opened("t5", tmp_path)
    ids = objective.tokenizer.convert_tokens_to_ids
    batch = objective.collate(
        objective.encode([{"text": "the <extra_id_0> was <extra_id_1> good"}, {"text": "it was <extra_id_0>"}])
    )
    written = [
        [0, ids("<extra_id_0>"), ids("▁film"), ids("<extra_id_1>"), ids("▁very"), ids("▁very"), 1],
        [0, ids("<extra_id_0>"), ids("▁dull"), 1, 0, 0, 0],
    ]
    model = Scripted(written)
    answers = objective.decode(objective.forward(model, batch), batch)
    assert [a["prediction"] for a in answers] == ["the film was very very good", "it was dull"]
    assert model.asked["max_new_tokens"] == 64


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_model_that_learns_a_text_writes_it(kind: str, tmp_path: Path) -> None:
    objective, model = opened(kind, tmp_path)
    (piece,) = objective.arrange(objective.documents([{"text": "the plot was very clever and it was warm"}]), 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for step in range(150):
        batch = objective.collate([objective.corrupt(piece, np.random.default_rng([step, i])) for i in range(8)])
        loss = (
            objective.losses(objective.forward(model, batch), batch)["denoising"] / objective.counts(batch)["denoising"]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    blank = "<extra_id_0>" if kind == "t5" else objective.tokenizer.mask_token
    rows = [
        {"text": f"the plot was very {blank} and it was warm"},
        {"text": f"the {blank} was very clever and it was warm"},
    ]
    found, none = run_model(objective, model, objective.encode(rows), FP32, None)
    assert none is None
    assert [answer["prediction"].strip() for answer in found] == ["the plot was very clever and it was warm"] * 2


def test_a_prompt_has_one_blank(tmp_path: Path) -> None:
    objective, _ = opened("t5", tmp_path)
    assert objective.prompt("the plot was clever") == "the plot was <extra_id_0>"
    assert objective.prompt("") == ""


def test_models_that_cannot_are_refused(tmp_path: Path) -> None:
    bert = open_source(ModelRecipe(name=str(tiny_model("bert", tmp_path / "bert"))))
    with pytest.raises(UsageError, match="end token"):
        Denoising(bert.tokenizer, 32, Recipe())
    roberta = open_source(ModelRecipe(name=str(tiny_model("roberta", tmp_path / "roberta"))))
    with pytest.raises(UsageError, match="Seq2SeqLM"):
        Denoising(roberta.tokenizer, 32, Recipe()).build_model(roberta)


def test_a_t5_from_scratch_takes_its_special_tokens_from_the_tokenizer() -> None:
    source = open_source(ModelRecipe(name="preset:t5-tiny")).with_tokenizer(t5_tokenizer())
    model = AutoModelForSeq2SeqLM.from_config(source.config)
    config = model.config
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id) == (0, 1, 0)
    assert model.generation_config.decoder_start_token_id == 0
    assert model.lm_head.weight is model.shared.weight
    assert config.scale_decoder_outputs, "T5 v1.0"


def test_unigrams_know_how_often_sentinels_are_asked_for(tmp_path: Path) -> None:
    objective, _ = opened("t5", tmp_path)
    pieces = objective.arrange(objective.documents(ROWS), 0)
    found = list(Corrupted(pieces, drawing(objective.corrupt, 7)))
    targets = np.concatenate([example["labels"] for example in found])
    share = np.bincount(targets, minlength=len(objective.tokenizer)) / len(targets)
    own = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert objective.baseline(pieces, found)["unigram_loss"] == pytest.approx(own, abs=0.15)
