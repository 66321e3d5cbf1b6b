"""Causal language modelling: each token told once, the loss transformers has, texts gone on with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from ftcli.contract import Batch, Example
from ftcli.engine.forward import speed_up
from ftcli.errors import UsageError
from ftcli.models.decoder import Probe
from ftcli.models.load import Source, open_source
from ftcli.objectives.clm import CausalLanguageModelling
from ftcli.recipe.load import replace
from ftcli.recipe.schema import ModelRecipe, Recipe
from tests.tiny import tiny_model, tiny_reviews

KINDS = ["gpt2", "llama"]
TEXTS = [row["text"] for row in tiny_reviews(9)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("gpt2", tmp_path_factory.mktemp("gpt2"))


def opened(folder: Path, max_length: int = 16, **changes: Any) -> tuple[CausalLanguageModelling, Source]:
    source = open_source(ModelRecipe(name=str(folder)))
    return CausalLanguageModelling(source.tokenizer, max_length, replace(Recipe(), **changes)), source


def built(folder: Path, max_length: int = 16, **changes: Any) -> tuple[CausalLanguageModelling, Any]:
    objective, source = opened(folder, max_length, **changes)
    model, fresh = objective.build_model(source)
    assert not fresh
    speed_up(model, torch.device("cpu"), unpadded=True, first_only=objective.first_only)
    return objective, model.eval()


def arranged(objective: CausalLanguageModelling, texts: list[str] = TEXTS) -> list[Example]:
    return list(objective.arrange(objective.documents([{"text": text} for text in texts]), seed=0))


def answered(objective: CausalLanguageModelling, texts: list[str] = TEXTS) -> Batch:
    nothing = np.random.default_rng(0)
    return objective.collate([objective.corrupt(example, nothing) for example in arranged(objective, texts)])


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text("abc déf\n", max_size=80), min_size=1, max_size=6), longest=st.integers(3, 40))
def test_each_token_is_told_once(gpt2: Path, texts: list[str], longest: int) -> None:
    objective, source = opened(gpt2, longest)
    tokenizer: Any = source.tokenizer
    whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    expected = [[*ids, tokenizer.eos_token_id] for ids in whole if ids]
    pieces = arranged(objective, texts)
    told, read = [], []
    for example in pieces:
        assert len(example["input_ids"]) <= longest
        drawn = objective.corrupt(example, np.random.default_rng(0))
        assert len(drawn["input_ids"]) == len(drawn["labels"]) >= 1
        told += drawn["labels"].tolist()
        read += drawn["input_ids"].tolist()
    assert told == [token for document in expected for token in document]
    assert read == [token for document in expected for token in [tokenizer.bos_token_id, *document[:-1]]]
    if pieces:
        batch = answered(objective, texts)
        assert objective.counts(batch) == {"clm": sum(map(len, expected))}
        assert sum(batch["per_row"]) == sum(map(len, expected))


def test_the_baseline_counts_what_is_told(gpt2: Path) -> None:
    objective, _ = opened(gpt2)
    documents = objective.documents([{"text": text} for text in [*TEXTS, ""]])
    told = answered(objective)["labels"]
    assert objective.occurrences(documents).tolist() == told.bincount(minlength=len(objective.tokenizer)).tolist()
    assert objective.begin != [objective.end]
    objective.begin = [objective.end]  # GPT-2's own tokenizer has one token for both
    documents = objective.documents([{"text": text} for text in TEXTS])
    assert objective.occurrences(documents)[objective.end] == len(TEXTS)


def test_without_a_token_that_begins_texts_the_first_is_given(gpt2: Path) -> None:
    objective, _ = opened(gpt2)
    objective.begin = []
    ids = objective.documents([{"text": "a good film"}])[0]["input_ids"]
    assert ids[-1] == objective.end
    assert objective.counts(answered(objective, ["a good film"])) == {"clm": len(ids) - 1}


@pytest.mark.parametrize("unpadded", [True, False])
def test_loss_and_gradients_are_those_of_transformers(folder: Path, unpadded: bool) -> None:
    objective, source = opened(folder)
    model, _ = objective.build_model(source)
    reference: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    speed_up(model, torch.device("cpu"), unpadded=unpadded, first_only=False)
    pieces, batch = arranged(objective), answered(objective)
    assert len(pieces) > len(TEXTS), "some texts are cut"
    loss = objective.losses(objective.forward(model.eval(), batch), batch)["clm"] / objective.counts(batch)["clm"]
    loss.backward()
    width = max(len(piece["input_ids"]) for piece in pieces)
    ids, labels = torch.zeros(len(pieces), width, dtype=torch.long), torch.full((len(pieces), width), -100)
    for row, piece in enumerate(pieces):
        tokens = torch.from_numpy(piece["input_ids"].astype(np.int64))
        ids[row, : len(tokens)] = labels[row, : len(tokens)] = tokens
    expected = reference.eval()(input_ids=ids, attention_mask=(labels != -100).long(), labels=labels).loss
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    theirs = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, theirs[name].grad, atol=1e-5), name


def test_scores_are_sums_over_targets(folder: Path) -> None:
    objective, model = built(folder)
    batch = answered(objective)
    with torch.inference_mode():
        outputs = objective.forward(model, batch)
        answers = objective.decode(outputs, batch)
    loss = objective.losses(objective.forward(model, batch), batch)["clm"].item() / objective.counts(batch)["clm"]
    assert len(answers) == len(batch["input_ids"])
    assert sum(answer["count"]["clm"] for answer in answers) == objective.counts(batch)["clm"]
    metrics = objective.score([], answers, bootstrap=0, seed=0).metrics  # type: ignore[arg-type]
    assert metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    size = objective.bytes[batch["labels"]].sum().item()
    assert metrics["bits_per_byte"] == pytest.approx(loss * len(batch["labels"]) / math.log(2) / size, rel=1e-5)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    right = logits.flatten(0, 1)[batch["places"]].argmax(-1) == batch["labels"]
    assert metrics["accuracy"] == pytest.approx(right.float().mean().item())
    assert {"loss", *metrics} == set(objective.metric_names())


def test_z_loss_is_a_term_of_its_own(gpt2: Path) -> None:
    plain, model = built(gpt2)
    objective, _ = built(gpt2, pretrain__z_loss=0.01)
    batch = answered(objective)
    count = len(batch["labels"])
    assert objective.counts(batch) == {"clm": count, "z": count}
    sums = objective.losses(objective.forward(model, batch), batch)
    assert sums["clm"].item() == pytest.approx(plain.losses(plain.forward(model, batch), batch)["clm"].item())
    given_ = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = model(**given_, use_cache=False).logits.flatten(0, 1)[batch["places"]]
    expected = 0.01 * torch.logsumexp(logits, -1).square().sum()
    assert sums["z"].item() == pytest.approx(expected.item(), rel=1e-4)
    (sums["clm"] / count + sums["z"] / count).backward()
    found = model.lm_head.weight.grad.clone()
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
    ((loss + expected) / count).backward()
    assert torch.allclose(found, model.lm_head.weight.grad, atol=1e-6)
    with torch.inference_mode():
        scored = objective.forward(model, batch)
    assert set(objective.losses(scored, batch)) == {"clm"}, "what is scored is the likelihood alone"


@pytest.mark.parametrize("z", [0.0, 0.01])
def test_a_head_that_is_more_than_a_product_gives_the_same(gpt2: Path, z: float) -> None:
    objective, model = built(gpt2, pretrain__z_loss=z)
    batch = answered(objective)
    sums, grads, answers = [], [], []
    for plain in (True, False):
        objective._plain_head = plain
        found = objective.losses(objective.forward(model, batch), batch)
        model.zero_grad()
        sum(found.values(), torch.zeros(())).backward()
        sums.append({term: value.item() for term, value in found.items()})
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
        with torch.no_grad():
            answers.append(objective.decode(objective.forward(model, batch), batch))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert all(torch.allclose(grads[0][name], grads[1][name], atol=1e-4) for name in grads[0])
    assert [a["correct"] for a in answers[0]] == [a["correct"] for a in answers[1]]
    assert [a["nll"]["clm"] for a in answers[0]] == pytest.approx([a["nll"]["clm"] for a in answers[1]], rel=1e-4)


def test_what_a_model_is_shows_in_its_answers() -> None:
    size = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "pad_token_id": 0}  # fmt: skip
    seen = {}
    for kind, changes in (
        ("llama", {}),
        ("granite", {"logits_scaling": 2.0}),
        ("bert", {}),
        ("bert", {"is_decoder": True}),
    ):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **size, **changes))
        probe = Probe.of(model)
        seen[kind, bool(changes)] = (probe.causal, probe.plain_head)
        assert model.training
    assert seen == {("llama", False): (True, True), ("granite", True): (True, False),
                    ("bert", False): (False, False), ("bert", True): (True, False)}  # fmt: skip


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_models_that_see_what_they_would_tell_are_refused(kind: str, tmp_path: Path) -> None:
    objective, source = opened(tiny_model(kind, tmp_path))
    with pytest.raises(UsageError) as caught:
        objective.build_model(source)
    assert "mlm" in str(caught.value.hint)


def test_texts_are_gone_on_with_as_transformers_does(folder: Path) -> None:
    objective, model = built(folder, 32, generation__max_new_tokens=5)
    prompts = ["the film was", "we", "a book at the hotel was very good and"]
    batch = objective.collate(objective.encode([{"text": prompt} for prompt in prompts]))
    with torch.inference_mode():
        answers = objective.decode(objective.forward(model, batch), batch)
    tokenizer = objective.tokenizer
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*objective.begin, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]])
        alone = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
        expected = tokenizer.decode(alone[0], skip_special_tokens=True)
        assert tokenizer.decode(ids[0], skip_special_tokens=True) + answer["prediction"] == expected
        assert answer["prediction"]


def test_of_long_texts_the_end_is_gone_on_with(gpt2: Path) -> None:
    objective, _ = opened(gpt2, 16, generation__max_new_tokens=6)
    long, short = objective.encode([{"text": " ".join(TEXTS)}, {"text": "good"}])
    whole = objective.documents([{"text": " ".join(TEXTS)}])[0]["input_ids"]
    assert long["input_ids"].tolist() == whole[-11:-1].tolist()
    assert (long["truncated"], short["truncated"]) == (True, False)
    assert short["input_ids"][0] == objective.begin[0]
    most, _ = opened(gpt2, 16, generation__max_new_tokens=1000)
    assert len(most.encode([{"text": " ".join(TEXTS)}])[0]["input_ids"]) == 8, "half is left to the text"


@pytest.mark.parametrize("begins", [True, False])
def test_nothing_can_be_gone_on_with(gpt2: Path, begins: bool) -> None:
    objective, model = built(gpt2, generation__max_new_tokens=3)
    objective.begin = objective.begin if begins else []
    batch = objective.collate(objective.encode([{"text": ""}, {"text": "good"}]))
    with torch.inference_mode():
        assert len(objective.decode(objective.forward(model, batch), batch)) == 2


def test_draws_repeat_with_the_seed(gpt2: Path) -> None:
    found = []
    for seed, changes in ((1, {}), (1, {}), (2, {}), (1, {"generation__top_k": 1})):
        objective, model = built(gpt2, 32, generation__do_sample=True, generation__temperature=2.0, **changes)
        batch = objective.collate(objective.encode([{"text": "the film was"}]))
        torch.manual_seed(seed)
        with torch.inference_mode():
            found.append(objective.decode(objective.forward(model, batch), batch)[0]["prediction"])
    assert found[0] == found[1]
    assert len({found[0], found[2], found[3]}) == 3
    objective, model = built(gpt2, 32)
    with torch.inference_mode():
        assert objective.decode(objective.forward(model, batch), batch)[0]["prediction"] == found[3], "the likeliest"


def test_beams_find_what_is_likelier_as_a_whole(gpt2: Path) -> None:
    likelihood = []
    for beams in (1, 8):
        objective, model = built(gpt2, 32, generation__num_beams=beams, generation__max_new_tokens=6)
        batch = objective.collate(objective.encode([{"text": "the film was"}]))
        with torch.inference_mode():
            ids = objective.forward(model, batch)
            logits = model(ids[:, :-1], use_cache=False).logits.log_softmax(-1)
        new = slice(batch["input_ids"].shape[1] - 1, None)
        likelihood.append(logits[:, new].gather(2, ids[:, 1:][:, new, None]).sum().item())
    assert likelihood[1] > likelihood[0]


def test_settings_of_draws_without_draws_are_refused(gpt2: Path) -> None:
    with pytest.raises(UsageError) as caught:
        opened(gpt2, generation__temperature=0.7)
    assert caught.value.hint == "--set generation.do_sample=true"


def test_a_tokenizer_without_an_end_is_refused(gpt2: Path) -> None:
    source = open_source(ModelRecipe(name=str(gpt2)))
    tokenizer: Any = source.tokenizer
    for name in ("eos_token", "sep_token"):
        setattr(tokenizer, name, None)
    with pytest.raises(UsageError, match="ends a text"):
        CausalLanguageModelling(tokenizer, 16, Recipe())
