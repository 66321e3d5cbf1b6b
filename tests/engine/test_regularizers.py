"""Every regulariser against its formula, written out on small tensors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftcli.contract import Batch
from ftcli.engine import row_adamw
from ftcli.engine.optim import adamw
from ftcli.engine.regularized import Regularized
from ftcli.engine.regularizers import REGULARIZERS
from ftcli.engine.regularizers.base import Ground, Regularizer, is_among
from ftcli.engine.regularizers.cutmix import boxes
from ftcli.engine.regularizers.embeddings import Embeddings, Spans
from ftcli.engine.regularizers.freelb import within
from ftcli.engine.regularizers.mixout import mixed as mixed_weights
from ftcli.engine.regularizers.mixup import mixed
from ftcli.engine.regularizers.stack import Stack
from ftcli.errors import UsageError
from ftcli.losses.regularize import regularized_cross_entropy
from ftcli.models.dropout import dropped_share
from ftcli.models.unpadded import FlatRows, known_rows, run_unpadded
from ftcli.recipe.regularize import RegularizeRecipe
from ftcli.recipe.schema import OptimizerRecipe
from tests.tiny import KINDS

CLASSES, LENGTHS = 3, [7, 2, 5, 4]


class Reader(nn.Module):
    """Embeddings, something that is not linear, the mean over real tokens, a head."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head, self.dropout = nn.Embedding(20, 6), nn.Linear(6, CLASSES), nn.Dropout(dropout)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def read(self, embedded: Tensor, mask: Tensor) -> Tensor:
        hidden = self.dropout(torch.tanh(embedded)) * mask[..., None]
        return self.head(hidden.sum(1) / mask.sum(1, keepdim=True))  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.read(self.words(input_ids), attention_mask)


class Task:
    """As much of a classification as a learner needs."""

    label_counts = None

    def collate(self, examples: Sequence[Any]) -> Batch:
        raise NotImplementedError

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"loss": len(batch["labels"])}

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in batch}
        with known_rows(batch.get("rows")):
            found = model(**given)
        return found if isinstance(found, Tensor) else found.logits  # type: ignore[no-any-return]

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(outputs, batch["labels"], reduction="sum")}


def texts(lengths: Sequence[int] = LENGTHS) -> Batch:
    random = torch.Generator().manual_seed(3)
    ids = torch.randint(2, 20, (len(lengths), max(lengths)), generator=random)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    labels = torch.arange(len(lengths)) % CLASSES
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels, "rows": FlatRows.of(mask)}


def part(name: str, **keys: Any) -> Any:
    return REGULARIZERS.part(name)(RegularizeRecipe(**keys))


def learner(model: nn.Module, **keys: Any) -> Regularized:
    asked = [name for name in REGULARIZERS if keys.get(name)]
    recipe = RegularizeRecipe(**keys)
    stack = Stack({name: REGULARIZERS.part(name)(recipe) for name in asked})
    return Regularized(Task(), stack, recipe, Embeddings(model), CLASSES)


def trained(model: nn.Module, batch: Batch, **keys: Any) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Sums of each pass and the gradients of them all together."""
    torch.manual_seed(5)
    model.train().zero_grad()
    found = []
    for sums in learner(model, **keys).passes(model, batch):
        torch.stack([*sums.values()]).sum().backward()  # type: ignore[no-untyped-call]
        found.append({name: float(value) for name, value in sums.items()})
    return found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def rows_of(mask: Tensor, x: Tensor) -> Tensor:
    """(rows,) Euclidean norms of the real tokens of `x` (rows, tokens, size)."""
    return (x * mask[..., None]).pow(2).sum((1, 2)).sqrt()


def attacked(model: Reader, batch: Batch, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Logits with `delta` (rows, tokens, size) on the embeddings, and that delta with its gradient to be."""
    delta = delta.detach().clone().requires_grad_()
    return model.read(model.words(batch["input_ids"]) + delta, batch["attention_mask"]), delta


def entropy(logits: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(logits, batch["labels"], reduction="sum")


# Embeddings -------------------------------------------------------------------------------------------------------

KEYS: dict[str, dict[str, Any]] = {
    "neftune": {"neftune": 5.0},
    "mixup": {"mixup": 1.0},
    "fgm": {"fgm": 1.0},
    "freelb": {"freelb": 2, "freelb_step": 0.5, "freelb_radius": 1.0},
    "smart": {"smart": 1.0, "smart_radius": 0.1},
    "together": {"neftune": 5.0, "mixup": 1.0, "r_drop": 1.0, "fgm": 1.0, "label_smoothing": 0.1, "focal": 1.0},
}


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "distilbert"])
@pytest.mark.parametrize("name", KEYS)
def test_padding_makes_no_difference(name: str, kind: str) -> None:
    """Losses and gradients of a model that runs without padding are those of one that runs with it."""
    none = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    config = AutoConfig.for_model(kind, **{**KINDS[kind], **dict.fromkeys(none, 0.0)}, vocab_size=20, pad_token_id=0)
    config.num_labels, config.seq_classif_dropout = CLASSES, 0.0
    torch.manual_seed(0)
    padded = AutoModelForSequenceClassification.from_config(config)
    unpadded = copy.deepcopy(padded)
    assert run_unpadded(unpadded, first_only=True)
    batch = texts()
    (one, gradients), (other, others) = (trained(model, batch, **KEYS[name]) for model in (padded, unpadded))
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, abs=2e-4)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-4, rtol=1e-3, msg=name)


def test_an_encoder_s_tokens_are_edited_and_not_its_decoder_s() -> None:
    config = AutoConfig.for_model("bart", **KINDS["bart"], vocab_size=20, pad_token_id=1, eos_token_id=2)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    batch = texts()
    batch["input_ids"] = torch.where(batch["input_ids"] == 2, 3, batch["input_ids"])
    batch["input_ids"][torch.arange(4), torch.tensor(LENGTHS) - 1] = 2
    calls: list[Tensor] = []

    def edit(tokens: Tensor, spans: Spans) -> Tensor:
        calls.append(tokens)
        return tokens.flip(0)

    embeddings, task = Embeddings(model), Task()
    plain = task.forward(model, batch)
    with embeddings.edited([edit], Spans.of(batch, torch.device("cpu"))):
        changed = task.forward(model, batch)
    assert len(calls) == 1
    assert len(calls[0]) == sum(LENGTHS)
    assert not torch.allclose(plain, changed)
    assert torch.equal(plain, task.forward(model, batch)), "outside nothing is edited"


def test_a_model_that_does_not_use_the_embeddings_it_names_is_told() -> None:
    model = Reader()
    model.spare = nn.Embedding(20, 6)  # type: ignore[assignment]
    model.get_input_embeddings = lambda: model.spare  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="does not use the embeddings"):
        trained(model, texts(), neftune=5.0)
    with pytest.raises(UsageError, match="cannot be found"):
        Embeddings(nn.Linear(2, 2))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), alpha=st.sampled_from([1.0, 5.0, 15.0]))
def test_neftune_s_noise_is_uniform_and_as_large_as_the_paper_s(lengths: list[int], alpha: float) -> None:
    spans = Spans.of(texts(lengths), torch.device("cpu"))
    assert spans is not None
    size = 64
    noise = part("neftune", neftune=alpha).noisy(torch.zeros(sum(lengths), size), spans)
    for row, length in enumerate(lengths):
        scaled = noise[spans.row == row] * math.sqrt(length * size) / alpha
        assert scaled.abs().max() <= 1 + 1e-5
        assert scaled.abs().max() > 0.8
        assert scaled.pow(2).mean() == pytest.approx(1 / 3, abs=0.12)


# Mixing -----------------------------------------------------------------------------------------------------------


def drawn(name: str, batch: Batch, **keys: Any) -> Batch:
    torch.manual_seed(5)
    return part(name, **keys).mix(batch, CLASSES)  # type: ignore[no-any-return]


def test_mixup_of_texts_mixes_words_at_their_places() -> None:
    """As by hand: embeddings of both, zero past their ends, read with as many tokens as the longer has."""
    model, batch = Reader(), texts()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    ((found,), _) = trained(model, batch, mixup=1.0)
    torch.manual_seed(5)
    share = torch.distributions.Beta(1.0, 1.0).sample((4,))
    partner = torch.randperm(4)
    words = model.words(ids) * mask[..., None]
    s = share[:, None, None]
    longer = torch.maximum(mask, mask[partner])
    log_p = functional.log_softmax(model.read(s * words + (1 - s) * words[partner], longer), -1)
    labels = batch["labels"]
    by_hand = -(share * log_p[range(4), labels] + (1 - share) * log_p[range(4), labels[partner]]).sum()
    assert found["loss"] == pytest.approx(float(by_hand), rel=1e-5)
    assert (partner != torch.arange(4)).any()


def test_mixup_of_what_the_last_layer_sees_is_that_of_its_results() -> None:
    model, batch = Reader(), texts()
    ((found,), _) = trained(model, batch, mixup=0.4, mixup_at="hidden")
    torch.manual_seed(5)
    share = torch.distributions.Beta(0.4, 0.4).sample((4,))
    partner = torch.randperm(4)
    mask = batch["attention_mask"]
    hidden = (torch.tanh(model.words(batch["input_ids"])) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    log_p = functional.log_softmax(model.head(mixed(hidden, partner, share)), -1)
    targets = functional.one_hot(batch["labels"], CLASSES)
    by_hand = -(mixed(targets.float(), partner, share) * log_p).sum()
    assert found["loss"] == pytest.approx(float(by_hand), rel=1e-5)


def test_mixup_and_cutmix_of_images() -> None:
    pixels = torch.rand(4, 3, 10, 8, generator=torch.Generator().manual_seed(1))
    batch = {"pixel_values": pixels, "labels": torch.tensor([0, 1, 2, 1])}
    hot = functional.one_hot(batch["labels"], CLASSES).float()
    found = drawn("mixup", batch, mixup=1.0)
    torch.manual_seed(5)
    share = torch.distributions.Beta(1.0, 1.0).sample((4,))
    partner = torch.randperm(4)
    s = share[:, None, None, None]
    torch.testing.assert_close(found["pixel_values"], s * pixels + (1 - s) * pixels[partner])
    torch.testing.assert_close(found["targets"], share[:, None] * hot + (1 - share)[:, None] * hot[partner])

    cut = drawn("cutmix", batch, cutmix=1.0)
    own = (cut["pixel_values"] == pixels).all(1)
    other = (cut["pixel_values"] == pixels[partner]).all(1)
    assert (own | other).all()
    for row in range(4):
        if partner[row] != row:
            kept = float(own[row].float().mean())
            torch.testing.assert_close(cut["targets"][row], kept * hot[row] + (1 - kept) * hot[partner[row]])
    assert torch.allclose(cut["targets"].sum(1), torch.ones(4))


@settings(max_examples=50, deadline=None)
@given(area=st.floats(0, 1), down=st.floats(0, 1), right=st.floats(0, 1), size=st.integers(4, 40))
def test_a_box_is_one_rectangle_of_the_area_asked_for(area: float, down: float, right: float, size: int) -> None:
    (found,) = boxes(*(torch.tensor([x]) for x in (area, down, right)), size, size)
    rows, columns = found.any(1), found.any(0)
    assert torch.equal(found, rows[:, None] & columns)
    whole = size * math.sqrt(area) / 2
    inside = all(whole + 1 <= size * centre <= size - whole - 1 for centre in (down, right))
    assert float(found.float().mean()) <= area + 4 / size
    if inside:
        assert float(found.float().mean()) == pytest.approx(area, abs=4 / size)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), focal=st.sampled_from([0.0, 2.0]), smoothing=st.sampled_from([0.0, 0.1]))
def test_mixed_answers_cost_what_each_does_by_its_share(seed: int, focal: float, smoothing: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, CLASSES, generator=random)
    labels = torch.randint(CLASSES, (6,), generator=random)
    others, share = labels[torch.randperm(6, generator=random)], torch.rand(6, generator=random)
    settings = {"focal": focal, "smoothing": smoothing, "weights": torch.tensor([0.5, 1.0, 2.0])}

    def each(answers: Tensor) -> Tensor:
        return torch.stack(
            [regularized_cross_entropy(x[None], y[None], **settings) for x, y in zip(logits, answers, strict=True)]
        )

    hot = [functional.one_hot(y, CLASSES).float() for y in (labels, others)]
    targets = share[:, None] * hot[0] + (1 - share)[:, None] * hot[1]
    by_hand = (share * each(labels) + (1 - share) * each(others)).sum()
    assert float(regularized_cross_entropy(logits, targets, **settings)) == pytest.approx(float(by_hand), rel=1e-4)


# Adversaries ------------------------------------------------------------------------------------------------------


def test_fgm_goes_epsilon_along_each_text_s_gradient() -> None:
    model, batch = Reader(), texts()
    mask = batch["attention_mask"]
    found, gradients = trained(model, batch, fgm=0.7)
    logits, delta = attacked(model, batch, torch.zeros(4, 7, 6))
    clean = entropy(logits, batch)
    (gradient,) = torch.autograd.grad(clean, delta)
    worst = 0.7 * gradient / rows_of(mask, gradient)[:, None, None]
    adversarial = entropy(attacked(model, batch, worst)[0], batch)
    assert [sums["loss"] for sums in found] == pytest.approx([float(clean), float(adversarial)], rel=1e-5)
    assert float(adversarial) > float(clean)
    model.zero_grad()
    (entropy(model(batch["input_ids"], mask), batch) + entropy(attacked(model, batch, worst)[0], batch)).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-6)


def test_freelb_is_the_mean_over_steps_within_the_radius() -> None:
    model, batch = Reader(), texts()
    mask = batch["attention_mask"]
    keys = {"freelb": 4, "freelb_step": 0.4, "freelb_radius": 0.9}
    found, gradients = trained(model, batch, **keys)
    torch.manual_seed(5)
    random = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    start = 2 * torch.rand(sum(LENGTHS), 6, generator=random) - 1
    delta = torch.zeros(4, 7, 6)
    delta[mask == 1] = start
    delta = 0.9 * delta / (torch.tensor(LENGTHS) * 6).sqrt()[:, None, None]
    model.zero_grad()
    by_hand, norms = [], []
    for _ in range(4):
        logits, delta = attacked(model, batch, delta)
        loss = entropy(logits, batch) / 4
        loss.backward()  # type: ignore[no-untyped-call]
        by_hand.append(float(loss))
        assert delta.grad is not None
        gradient = delta.grad * mask[..., None]
        further = delta.detach() + 0.4 * gradient / rows_of(mask, gradient)[:, None, None]
        norms.append(rows_of(mask, further))
        delta = further * (0.9 / rows_of(mask, further)).clamp(max=1)[:, None, None]
    assert [sums["loss"] for sums in found] == pytest.approx(by_hand, rel=1e-4)
    assert (norms[-1] > 0.9).any(), "the radius matters here"
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-6)


def test_within_a_radius_nothing_is_moved() -> None:
    spans = Spans.of(texts([2, 1]), torch.device("cpu"))
    assert spans is not None
    x = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.3, 0.4]])
    torch.testing.assert_close(within(x, spans, 1.0), torch.tensor([[0.6, 0.0], [0.0, 0.8], [0.3, 0.4]]))
    assert torch.equal(within(torch.zeros(3, 2), spans, 1.0), torch.zeros(3, 2))


def test_smart_is_the_divergence_at_the_worst_point_near_by() -> None:
    model, batch = Reader(), texts()
    mask, radius = batch["attention_mask"], 0.05
    ((found,), gradients) = trained(model, batch, smart=3.0, smart_radius=radius)
    torch.manual_seed(5)
    random = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    delta = torch.zeros(4, 7, 6)
    delta[mask == 1] = (radius * torch.randn(sum(LENGTHS), 6, generator=random)).clamp(-radius, radius)

    def gap(one: Tensor, other: Tensor) -> Tensor:
        p, q = (functional.log_softmax(x, -1) for x in (one, other))
        kl: Callable[..., Tensor] = functional.kl_div
        return kl(p, q, reduction="sum", log_target=True) + kl(q, p, reduction="sum", log_target=True)

    clean = model(batch["input_ids"], mask)
    logits, delta = attacked(model, batch, delta)
    (gradient,) = torch.autograd.grad(gap(clean.detach(), logits), delta)
    largest = (gradient * mask[..., None]).abs().amax((1, 2), keepdim=True)
    worst = (delta.detach() + 100 * radius * gradient / largest).clamp(-radius, radius) * mask[..., None]
    penalty = 3 * gap(clean, attacked(model, batch, worst)[0])
    assert found["loss"] == pytest.approx(float(entropy(clean, batch)), rel=1e-5)
    assert found["smart"] == pytest.approx(float(penalty), rel=1e-3)
    assert found["smart"] > 3 * float(gap(clean, logits)), "uphill from the start"
    model.zero_grad()
    (entropy(clean, batch) + penalty).backward()  # type: ignore[no-untyped-call]
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("keys", [{"fgm": 1e-6}, {"freelb": 3, "freelb_step": 1e-6, "freelb_radius": 1e-6}])
def test_all_passes_of_an_attack_are_under_the_same_dropout(keys: dict[str, Any]) -> None:
    model, batch = Reader(dropout=0.5), texts()
    found, _ = trained(model, batch, **keys)
    assert len(found) > 1
    assert [sums["loss"] for sums in found] == pytest.approx([found[0]["loss"]] * len(found), rel=1e-4)
    twice, _ = trained(model, batch, r_drop=1.0, **keys)
    assert twice[0]["r_drop"] > 1e-3, "but not those that are to differ"


def test_smart_sees_no_difference_that_is_dropout_s() -> None:
    ((found,), _) = trained(Reader(dropout=0.5), texts(), smart=1.0, smart_radius=1e-6)
    assert 0 <= found["smart"] < 1e-6


@pytest.mark.parametrize("keys", [{"fgm": 1.0}, {"freelb": 3}, {"smart": 1.0}])
def test_what_follows_an_attack_draws_other_numbers_than_any_of_its_passes(keys: dict[str, Any]) -> None:
    """The generator stands where the two passes of R-Drop leave it."""
    model, batch = Reader(dropout=0.5), texts()
    trained(model, batch, r_drop=1.0, **keys)
    left = torch.get_rng_state()
    torch.manual_seed(5)
    if "fgm" not in keys:
        torch.randint(2**62, ())  # the seed of the random start
    for _ in range(2):
        model(batch["input_ids"], batch["attention_mask"])
    assert torch.equal(left, torch.get_rng_state())


# Weights ----------------------------------------------------------------------------------------------------------


def ground(model: nn.Module, new: Sequence[str] = ("head.weight", "head.bias")) -> Ground:
    came = frozenset(name for name, _ in model.named_parameters()) - set(new)
    return Ground(model, came, "method full")


def attached(name: str, model: nn.Module, **keys: Any) -> Any:
    found = part(name, **keys)
    found.attach(ground(model))
    return found


def moved(model: nn.Module, by: float = 0.3) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))


def test_l2_sp_pulls_to_the_start_and_what_is_new_to_zero() -> None:
    model = Reader()
    start = model.words.weight.detach().clone()
    held = attached("l2_sp", model, l2_sp=0.2, l2_sp_new=0.05)
    moved(model)
    penalty = held.penalty()
    by_hand = 0.1 * (model.words.weight - start).pow(2).sum()
    by_hand = by_hand + 0.025 * (model.head.weight.pow(2).sum() + model.head.bias.pow(2).sum())
    assert float(penalty.detach()) == pytest.approx(float(by_hand), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(model.words.weight.grad, 0.2 * (model.words.weight.detach() - start))
    torch.testing.assert_close(model.head.weight.grad, 0.05 * model.head.weight.detach())
    model.words.weight.requires_grad_(False)
    assert float(held.penalty().detach()) < float(by_hand.detach()), "what is frozen for now is left alone"


@pytest.mark.parametrize("rate", [0.25, 0.7, 0.9])
def test_mixout_puts_entries_back_and_keeps_the_expectation(rate: float) -> None:
    torch.manual_seed(0)
    weight, start = torch.randn(60, 80), torch.randn(60, 80)
    found = mixed_weights(weight, start, rate)
    rate = dropped_share(rate)
    # mixout(w) = ((1 - m) w + m u - p u) / (1 - p), m one with probability p
    kept, back = (weight - rate * start) / (1 - rate), start
    is_kept, is_back = (torch.isclose(found, x, atol=1e-5) for x in (kept, back))
    assert (is_kept | is_back).all()
    assert float(is_back.float().mean()) == pytest.approx(rate, abs=0.03)
    mean = torch.stack([mixed_weights(weight, start, rate) for _ in range(400)]).mean(0)
    assert float((mean - weight).mean()) == pytest.approx(0, abs=0.01)


def test_mixout_is_for_training_and_for_matrices_that_came_along() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    found = part("mixout", mixout=0.5)
    found.attach(ground(model, ("2.weight", "2.bias")))
    x = torch.randn(3, 8)
    with torch.no_grad():
        assert torch.equal(model(x), model(x)), "where nothing moved yet, both are the same weight"
        moved(model)
        assert not torch.equal(model(x), model(x))
        assert torch.equal(model.eval()(x), model(x))
        assert torch.equal(model.train()[2](x), model[2](x))
    model.zero_grad()
    model(x).sum().backward()
    share = float((model[0].weight.grad == 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.25), "entries that were put back learn nothing"
    assert [*model.state_dict()] == ["0.weight", "0.bias", "2.weight", "2.bias"]


class _Adam:
    """Stands for an optimiser that puts nothing off."""


def averaged(name: str, steps: int, **keys: Any) -> tuple[Any, list[Tensor], nn.Module]:
    model = nn.Linear(1, 1, bias=False)
    found = part(name, **keys)
    found.attach(Ground(model, frozenset(), "method full"))
    found.begin(steps, _Adam())
    states = []
    for step in range(steps):
        moved(model, 1.0)
        states.append(model.weight.detach().clone())
        found.after_step(step)
    return found, states, model


def test_ema_is_the_recursion_written_out() -> None:
    found, states, model = averaged("ema", 40, ema=0.8)
    average = states[0]
    for t, state in enumerate(states[1:], 1):
        decay = min(0.8, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * state
    with found.scored():
        torch.testing.assert_close(model.weight.detach(), average)
    assert torch.equal(model.weight, states[-1])


@pytest.mark.parametrize(("every", "taken"), [(1, [5, 6, 7, 8, 9]), (2, [5, 7, 9])])
def test_swa_is_the_mean_of_the_last_states(every: int, taken: list[int]) -> None:
    found, states, model = averaged("swa", 10, swa=0.6, swa_every=every)
    with found.scored():
        torch.testing.assert_close(model.weight.detach(), torch.stack([states[i] for i in taken]).mean(0))
    assert torch.equal(model.weight, states[-1])
    early, before, other = averaged("swa", 10, swa=0.99)
    early.restore({})
    with early.scored():
        assert torch.equal(other.weight, before[-1]), "no average, no other weights"


def test_an_average_holds_the_decay_of_rows_that_were_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimiser that puts it off brings weights up to date before they are averaged."""
    found = []
    for enough in (1, 2**20):
        monkeypatch.setattr(row_adamw, "ENOUGH", enough)
        model = Reader()
        ema = attached("ema", model, ema=0.5)
        optimizer = adamw(model, OptimizerRecipe(lr=0.1, weight_decay=0.5))
        assert isinstance(optimizer, row_adamw.RowAdamW) == (enough == 1)
        ema.begin(5, optimizer)
        for step in range(5):
            model(torch.tensor([[step, 3]]), torch.ones(1, 2)).sum().backward()
            optimizer.step()
            ema.after_step(step)
            optimizer.zero_grad()
        found.append(ema.tensors()["words.weight"])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_averages_are_put_away_and_taken_up_again() -> None:
    found, _, model = averaged("ema", 5, ema=0.9)
    kept = {name: tensor.clone() for name, tensor in found.tensors().items()}
    moved(model)
    found.after_step(5)
    found.restore(kept)
    assert {name: t.tolist() for name, t in found.tensors().items()} == {n: t.tolist() for n, t in kept.items()}
    assert found.bytes_kept() == sum(t.numel() * t.element_size() for n, t in kept.items() if n != "count")


# Layers -----------------------------------------------------------------------------------------------------------


def bert(**changes: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", **{**KINDS["bert"], "num_hidden_layers": 3, **changes}, vocab_size=50)
    return AutoModelForSequenceClassification.from_config(config)


HEAD = ("classifier.weight", "classifier.bias")


def of_layers(names: set[str]) -> set[str]:
    return {name.split(".")[3] if ".layer." in name else name.split(".")[1 if "bert" in name else 0] for name in names}


@pytest.mark.parametrize(("asked", "free"), [("embeddings", {"0", "1", "2"}), (1, {"1", "2"}), (3, set())])
def test_the_lowest_layers_are_frozen(asked: Any, free: set[str]) -> None:
    model = bert()
    found = part("freeze", freeze=asked)
    found.attach(ground(model, HEAD))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert of_layers(trained) == {*free, "pooler", "classifier"}
    model.requires_grad_(True)
    found.before_step(3)  # a method freed everything
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    with pytest.raises(UsageError, match="the model has 3 layers"):
        part("freeze", freeze=4).attach(ground(model, HEAD))


def test_layers_are_freed_one_by_one_from_the_top() -> None:
    model = bert()
    fixed = model.bert.embeddings.position_embeddings.weight.requires_grad_(False)
    found = part("unfreeze", unfreeze=0.5)
    found.attach(ground(model, HEAD))
    found.begin(16, None)
    head = {"pooler", "classifier"}
    wanted = [head, {*head, "2"}, {*head, "2", "1"}, {*head, "2", "1", "0"}, {*head, "2", "1", "0", "embeddings"}]
    for step in (0, 1, 2, 5, 6, 7, 8, 15, 3, 0, 9):  # back again, as after a rollback
        found.before_step(step)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert of_layers(trained) == wanted[min(4, step // 2)], step
        assert not fixed.requires_grad


def test_the_top_starts_anew_as_the_architecture_does() -> None:
    model = bert()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(7.0)
    found = part("reinit_layers", reinit_layers=2)
    names = set(found.start_over(model))
    assert of_layers(names) == {"1", "2", "pooler"}
    for name, p in model.named_parameters():
        if name not in names:
            assert (p == 7).all(), name
        elif name.endswith("bias"):
            assert (p == 0).all(), name
        elif "LayerNorm" in name:
            assert (p == 1).all(), name
        else:
            assert float(p.detach().std()) == pytest.approx(model.config.initializer_range, rel=0.2), name
    model.bert.encoder.layer[2].requires_grad_(False)
    with pytest.raises(UsageError, match="starts layers anew that method full"):
        found.attach(ground(model, HEAD))
    with pytest.raises(UsageError, match="the model has 3 layers"):
        part("reinit_layers", reinit_layers=4).start_over(bert())


def test_a_weight_is_known_whatever_wraps_it() -> None:
    own = "bert.pooler.dense.weight"
    for name in (
        own,
        f"base_model.{own}",
        f"base_model.model.{own}",
        "base_model.model.bert.pooler.dense.base_layer.weight",
        "base_model.model.bert.pooler.modules_to_save.default.dense.weight",
        "base_model.model.bert.pooler.original_module.dense.weight",
    ):
        assert is_among(name, {own})
    assert is_among("base_model.model.encoder.weight", {"model.encoder.weight"}), "a model may have a part of that name"
    assert not is_among("bert.pooler.dense.lora_A.default.weight", {own})


@pytest.mark.parametrize("name", ["l2_sp", "mixout"])
def test_where_nothing_pretrained_is_trained_there_is_nothing_to_hold(name: str) -> None:
    model = bert()
    for key, p in model.named_parameters():
        p.requires_grad_(key in HEAD)
    with pytest.raises(UsageError, match=f"regularize.{name} .* and method head trains none"):
        part(name, **{name: 0.5}).attach(Ground(model, ground(model, HEAD).pretrained, "method head"))


def test_the_base_does_nothing() -> None:
    plain = Regularizer(RegularizeRecipe())
    batch = texts()
    assert plain.mix(batch, CLASSES) is batch
    assert plain.penalty() is None
    assert (plain.counts(4), plain.tensors(), plain.terms([]), plain.bytes_kept()) == ({}, {}, {}, 0)
