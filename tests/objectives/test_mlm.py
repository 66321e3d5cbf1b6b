"""Masked language modelling and its sentence pairs: the library's own losses, one document apart from another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForPreTraining

from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.evaluate import run_model
from ftcli.engine.forward import speed_up
from ftcli.engine.precision import pick_precision
from ftcli.models.heads import head_at_places
from ftcli.models.tokenizers import train_wordpiece
from ftcli.objectives import OBJECTIVES
from ftcli.recipe.load import build
from ftcli.recipe.schema import TokenizerRecipe
from tests.tiny import KINDS, tiny_reviews

TEXTS = [f"{row['text']} . the {row['text']} !" for row in tiny_reviews(40, seed=3)]
CPU = torch.device("cpu")


def objective(name: str = "mlm", **settings: Any) -> Any:
    tokenizer = train_wordpiece(TEXTS, TokenizerRecipe(vocab_size=300), 64)
    recipe = build({f"pretrain.{key}": (value, "") for key, value in settings.items()})
    return OBJECTIVES.part(name)(tokenizer, 24, recipe=recipe)


def model_for(task: Any, kind: str, auto: Any) -> Any:
    torch.manual_seed(0)
    sizes = {key: value for key, value in KINDS[kind].items() if key != "pad_token_id"}
    config = AutoConfig.for_model(
        kind, **sizes, vocab_size=len(task.tokenizer), pad_token_id=task.tokenizer.pad_token_id
    )
    for key in [key for key in config.to_dict() if "dropout" in key and isinstance(config.to_dict()[key], float)]:
        setattr(config, key, 0.0)
    model = auto.from_config(config)
    task.prepare(model)
    return model


def settled(task: Any, texts: list[str], seed: int = 7) -> Corrupted:
    documents = task.documents([{"text": text} for text in texts])
    return Corrupted(task.arrange(documents, seed), drawing(task.corrupt, seed))


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "albert", "distilbert", "modernbert"])
@pytest.mark.parametrize("unpadded", [False, True])
def test_the_library_has_the_same_loss(kind: str, unpadded: bool) -> None:
    task = objective()
    model = model_for(task, kind, AutoModelForMaskedLM)
    if unpadded:
        speed_up(model, CPU, unpadded=True, first_only=False)
    batch = task.collate(list(settled(task, TEXTS))[:9])
    sums = task.losses(task.forward(model.eval(), batch), batch)
    labels = torch.full(batch["input_ids"].shape, -100)
    labels.view(-1)[batch["places"]] = batch["labels"]
    given = {k: v for k, v in batch.items() if k in {"input_ids", "attention_mask", "token_type_ids"}}
    if kind in {"distilbert", "modernbert", "roberta"}:
        given.pop("token_type_ids", None)
    own = model(**given, labels=labels).loss
    assert task.counts(batch)["mlm"] == int((labels != -100).sum()) >= 9
    assert float(sums["mlm"]) / task.counts(batch)["mlm"] == pytest.approx(float(own), abs=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("mlm+nsp", "bert"), ("mlm+sop", "albert")])
def test_pairs_have_the_library_s_loss(name: str, kind: str) -> None:
    task = objective(name)
    model = model_for(task, kind, AutoModelForPreTraining)
    batch = task.collate(list(settled(task, TEXTS))[:9])
    sums, counts = task.losses(task.forward(model.eval(), batch), batch), task.counts(batch)
    labels = torch.full(batch["input_ids"].shape, -100)
    labels.view(-1)[batch["places"]] = batch["labels"]
    given = {k: v for k, v in batch.items() if k in {"input_ids", "attention_mask", "token_type_ids"}}
    pairs = {"next_sentence_label" if name == "mlm+nsp" else "sentence_order_label": batch["pairs"]}
    own = float(model(**given, labels=labels, **pairs).loss)
    assert float(sum(sums[term] / counts[term] for term in sums)) == pytest.approx(own, abs=1e-5)


def test_pairs_are_what_they_say() -> None:
    task = objective("mlm+nsp")
    documents = task.documents([{"text": text} for text in TEXTS])
    pieces = task.arrange(documents, 3)
    wrong = pieces.fields["pair"] == 1
    assert 0.3 < wrong.mean() < 0.7
    first, second = pieces.first, pieces.second
    assert (first[~wrong, 0] == second[~wrong, 0]).all()
    assert (first[~wrong, 2] == second[~wrong, 1]).all(), "the second follows the first"
    assert (first[wrong, 0] != second[wrong, 0]).all(), "of another document"
    assert pieces.lengths().max() <= 24
    ids = pieces[0]["input_ids"]
    tokenizer = task.tokenizer
    assert ids[0] == tokenizer.cls_token_id
    assert (ids == tokenizer.sep_token_id).sum() == 2
    types = pieces[0]["token_type_ids"]
    assert types[: int(np.flatnonzero(ids == tokenizer.sep_token_id)[0]) + 1].sum() == 0
    assert types[-1] == 1


def test_order_is_what_it_says() -> None:
    task = objective("mlm+sop")
    pieces = task.arrange(task.documents([{"text": text} for text in TEXTS]), 3)
    swapped = pieces.fields["pair"] == 1
    assert 0.3 < swapped.mean() < 0.7
    assert (pieces.first[:, 0] == pieces.second[:, 0]).all()
    assert (pieces.first[~swapped, 2] == pieces.second[~swapped, 1]).all()
    assert (pieces.second[swapped, 2] == pieces.first[swapped, 1]).all()


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_the_first_token_is_asked_for_the_words(kind: str) -> None:
    task = objective("mlm+bow")
    model = model_for(task, kind, AutoModelForMaskedLM)
    speed_up(model, CPU, unpadded=True, first_only=False)
    examples = list(settled(task, TEXTS))[:9]
    batch = task.collate(examples)
    outputs = task.forward(model.eval(), batch)
    given = {k: v for k, v in batch.items() if k in {"input_ids", "attention_mask", "token_type_ids"}}
    likely = torch.log_softmax(model(**given).logits, -1)
    texts = [example["input_ids"].copy() for example in examples]
    for text, example in zip(texts, examples, strict=True):
        text[example["places"]] = example["labels"]
    words = [example["words"].tolist() for example in examples]
    for text, asked in zip(texts, words, strict=True):
        assert set(asked) <= set(text.tolist()) - set(task.tokenizer.all_special_ids)
        assert len(set(asked)) == len(asked)
    own = [-float(likely[row, 0, wanted].sum()) for row, wanted in enumerate(words)]
    assert task.counts(batch)["bow"] == sum(map(len, words)) > 0
    assert float(task.losses(outputs, batch)["bow"]) == pytest.approx(sum(own), rel=1e-5)
    told = torch.nn.functional.cross_entropy(
        likely.flatten(0, 1)[batch["places"][:-9]], batch["labels"], reduction="sum"
    )
    assert float(task.losses(outputs, batch)["mlm"]) == pytest.approx(float(told), rel=1e-5)
    for row, (answer, wanted) in enumerate(zip(task.decode(outputs, batch), words, strict=True)):
        assert answer["nll"]["bow"] == pytest.approx(own[row], rel=1e-4)
        best = set(outputs["bow"][row].topk(len(wanted)).indices.tolist())
        assert answer["correct"]["bow"] == len(best & set(wanted))


def test_frequent_words_are_asked_for_now_and_then() -> None:
    task = objective("mlm+bow")
    documents = task.documents([{"text": text} for text in TEXTS])
    examples, draw = task.arrange(documents, 0), drawing(task.corrupt, 5)
    asked, there = np.zeros(len(task.tokenizer)), np.zeros(len(task.tokenizer))
    for epoch in range(60):
        for row, example in enumerate(examples):
            asked[draw(example, epoch, row)["words"]] += 1
            there[np.unique(example["input_ids"])] += 1
    counts = task.occurrences(documents)
    common = counts.argsort()[-5:]
    expected = np.sqrt(1e-3 * counts.sum() / counts[common])
    assert np.allclose(asked[common] / there[common], expected, atol=0.03), "sqrt(threshold / share), Mikolov et al."


def test_a_mask_depends_on_seed_epoch_and_row_alone() -> None:
    task = objective()
    examples = task.arrange(task.documents([{"text": text} for text in TEXTS]), 0)
    draw = drawing(task.corrupt, 5)
    first, again, later, other = (draw(examples[3], epoch, row) for epoch, row in ((0, 3), (0, 3), (1, 3), (0, 4)))
    assert np.array_equal(first["input_ids"], again["input_ids"])
    assert not np.array_equal(first["places"], later["places"])
    assert not np.array_equal(first["places"], other["places"])
    restored = first["input_ids"].copy()
    restored[first["places"]] = first["labels"]
    assert np.array_equal(restored, examples[3]["input_ids"])


def test_one_document_s_loss_does_not_depend_on_another() -> None:
    task = objective()
    model = model_for(task, "bert", AutoModelForMaskedLM)
    speed_up(model, CPU, unpadded=True, first_only=False)
    fp32 = pick_precision("fp32", CPU)
    changed = [*TEXTS[:5], " ".join(reversed(TEXTS[5].split())), *TEXTS[6:]]
    before, after = settled(task, TEXTS), settled(task, changed)
    rows = {d: [i for i in range(len(before)) if before._examples.first[i, 0] == d] for d in range(40)}  # type: ignore[attr-defined]
    assert len(rows[5]) == len([i for i in range(len(after)) if after._examples.first[i, 0] == 5])  # type: ignore[attr-defined]
    (a, _), (b, _) = (run_model(task, model, list(part), fp32, 7) for part in (before, after))
    for document, own in rows.items():
        same = all(a[i]["nll"]["mlm"] == pytest.approx(b[i]["nll"]["mlm"], abs=1e-4) for i in own)
        assert same is (document != 5), document


def test_places_are_not_taken_where_none_are_asked_for() -> None:
    task = objective()
    model = model_for(task, "bert", AutoModelForMaskedLM)
    head_at_places(model)
    batch = task.collate(list(settled(task, TEXTS))[:2])
    whole = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert whole.shape == (*batch["input_ids"].shape, len(task.tokenizer))
