"""Masked image modelling: what is hidden, what it costs, and that nothing but seed, epoch and row decides it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageClassification

from ftcli.contract import Example
from ftcli.data.bundled import open_bundled
from ftcli.data.reader import Options
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.errors import UsageError
from ftcli.models.image_processors import classifier_config
from ftcli.models.load import Source, open_source
from ftcli.models.mae import sines_and_cosines
from ftcli.objectives.masked_image import MaskedImage, patches_of
from ftcli.recipe.load import build
from ftcli.recipe.schema import ModelRecipe
from ftcli.tasks.image_classification import ImageClassification

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS = ("mae-digits", "vit-digits")


def digits(count: int) -> list[dict[str, Any]]:
    (reader,) = open_bundled("digits")[0]["validation"](Options())
    return [dict(raw.values or {}) for raw, _ in zip(reader.read(None), range(count), strict=False)]


def objective(name: str, **keys: Any) -> tuple[MaskedImage, Any, Source]:
    """An objective, its model, and where that came from."""
    recipe = build({"pretrain." + key: (value, "") for key, value in keys.items()})
    source = open_source(ModelRecipe(name=f"preset:{name}", config=TINY))
    torch.manual_seed(0)
    made = MaskedImage(source.processor, 1, recipe)
    model, fresh = made.build_model(source)
    assert not fresh
    return made, model.eval(), source


def drawn(made: MaskedImage, rows: Sequence[Any], seed: int = 3) -> list[Example]:
    return list(Corrupted(made.arrange(made.documents(rows), seed), drawing(made.corrupt, seed)))


@pytest.mark.parametrize(("norm", "kind"), [(True, "mae-digits"), (False, "mae-digits"), (False, "vit-digits")])
def test_the_loss_is_the_library_s_own(norm: bool, kind: str) -> None:
    made, model, _ = objective(kind)
    if kind == "mae-digits":
        model.config.norm_pix_loss = norm
    batch = made.collate(drawn(made, digits(7)))
    with torch.inference_mode():
        outputs = made.forward(model, batch)
        found = made.losses(outputs, batch)["mim"] / made.counts(batch)["mim"]
        if kind == "mae-digits":
            expected = model(pixel_values=batch["pixel_values"], noise=batch["hidden"].float()).loss
        else:
            expected = model(pixel_values=batch["pixel_values"], bool_masked_pos=batch["hidden"]).loss
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    answers = made.decode(outputs, batch)
    assert sum(a["nll"]["mim"] for a in answers) == pytest.approx(float(found) * made.counts(batch)["mim"], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_parts_are_the_sum_over_all(kind: str) -> None:
    made, model, _ = objective(kind)
    examples = drawn(made, digits(9))
    parts = [made.collate(part) for part in (examples, examples[:4], examples[4:])]
    with torch.inference_mode():
        whole, *others = [float(made.losses(made.forward(model, part), part)["mim"]) for part in parts]
    assert sum(others) == pytest.approx(whole, rel=1e-5)
    assert sum(made.counts(part)["mim"] for part in parts[1:]) == made.counts(parts[0])["mim"]


def test_the_encoder_of_a_masked_autoencoder_sees_nothing_that_is_hidden() -> None:
    made, model, _ = objective("mae-digits")
    examples = drawn(made, digits(3))
    batch = made.collate(examples)
    other = dict(batch)
    hidden = batch["hidden"].view(3, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other["pixel_values"] = torch.where(hidden, torch.rand(batch["pixel_values"].shape), batch["pixel_values"])
    with torch.inference_mode():
        assert torch.equal(made.forward(model, batch), made.forward(model, other))
        other["pixel_values"] = torch.where(hidden, batch["pixel_values"], 0.3)
        assert not torch.allclose(made.forward(model, batch), made.forward(model, other))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 9), st.integers(0, 6))
def test_seed_epoch_and_row_decide_what_is_hidden(seed: int, epoch: int, row: int) -> None:
    made, (example,) = PREPARED
    masks = [drawing(made.corrupt, seed)(example, epoch, row)["labels"] for _ in range(2)]
    assert np.array_equal(*masks)
    assert masks[0].sum() == 12
    others = [drawing(made.corrupt, seed)(example, epoch + 1 + n, row)["labels"] for n in range(4)]
    assert not all(np.array_equal(masks[0], other) for other in others)


def _prepare() -> tuple[MaskedImage, list[Example]]:
    made, _, _ = objective("mae-digits")
    return made, made.documents(digits(1))


PREPARED = _prepare()


@pytest.mark.parametrize(("rate", "hidden"), [(0.75, 12), (0.5, 8), (0.9, 15)])
def test_so_many_patches_are_hidden(rate: float, hidden: int) -> None:
    for kind in KINDS:
        made, model, _ = objective(kind, mask_rate=rate)
        batch = made.collate(drawn(made, digits(5)))
        assert batch["hidden"].sum(1).tolist() == [hidden] * 5
        assert made.counts(batch) == {"mim": 5 * hidden}
        if kind == "mae-digits":
            out = model(pixel_values=batch["pixel_values"], noise=batch["hidden"].float())
            assert torch.equal(out.mask.bool(), batch["hidden"]), "the model counts as we do"


@pytest.mark.parametrize("kind", KINDS)
def test_hiding_all_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=r"of 16 patches, pretrain\.mask_rate 0.95 hides 16"):
        objective(kind, mask_rate=0.95)


def test_the_baseline_is_the_mean_of_what_training_images_have_there() -> None:
    made, _, _ = objective("vit-digits")
    train, held_out = made.documents(digits(40)), drawn(made, digits(60)[40:])
    found = made.baseline(train, held_out)["mean_image_loss"]
    pixels = np.stack([e["pixels"] for e in train]).reshape(-1, 3, 8, 8) / 127.5 - 1
    mean, errors = pixels.mean(0), []
    for example in held_out:
        image = example["pixels"].reshape(3, 8, 8) / 127.5 - 1
        for place in np.flatnonzero(example["labels"]):
            y, x = 2 * (place // 4), 2 * (place % 4)
            errors.append(np.abs(image - mean)[:, y : y + 2, x : x + 2].mean())
    assert found == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_masked_autoencoder_from_scratch_knows_where_patches_are() -> None:
    """Left to the library all positions are zero, and every hidden patch is painted alike."""
    made, model, _ = objective("mae-digits")
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert not positions.requires_grad
        assert torch.pdist(positions[0]).min() > 0.1
    batch = made.collate(drawn(made, digits(1)))
    painted = made.forward(model, batch)[0][batch["hidden"][0]]
    assert torch.pdist(painted).min() > 1e-4


def test_waves_tell_places_apart_and_near_ones_are_alike() -> None:
    waves = sines_and_cosines(6, 48)
    assert waves.shape == (36, 48)
    likeness = waves @ waves.T
    assert torch.equal(likeness.argmax(1), torch.arange(36))
    assert likeness[0, 1] > likeness[0, 2] > likeness[0, 5]
    assert likeness[0, 6] == pytest.approx(float(likeness[0, 1]), rel=1e-5), "down as across"


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_takes_over_the_encoder(kind: str, tmp_path: Path) -> None:
    _, model, source = objective(kind)
    model.save_pretrained(tmp_path)
    source.processor.save_pretrained(tmp_path)
    opened = open_source(ModelRecipe(name=str(tmp_path)))
    task = ImageClassification(opened.processor, 1)
    task._set_labels(["a", "b", "c"])
    classifier, fresh = task.build_model(opened)
    assert sorted(fresh) == ["classifier.bias", "classifier.weight"]
    own, taken = dict(model.vit.named_parameters()), dict(classifier.vit.named_parameters())
    assert taken.keys() == own.keys() - {"embeddings.mask_token"}
    assert all(torch.equal(own[name], taken[name]) for name in taken)
    assert type(classifier).__name__ == "ViTForImageClassification"
    classifier.save_pretrained(tmp_path / "tuned")
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "tuned").config.id2label == {
        0: "a",
        1: "b",
        2: "c",
    }


def test_a_classifier_keeps_what_the_two_configurations_share() -> None:
    source = open_source(ModelRecipe(name="preset:mae-digits", config={**TINY, "qkv_bias": False}))
    config = classifier_config(source.config)
    assert (config.model_type, config.hidden_size, config.image_size, config.patch_size) == ("vit", 32, 8, 2)
    assert config.qkv_bias is False


def test_other_architectures_are_refused() -> None:
    source = open_source(ModelRecipe(name="preset:bert-tiny"))
    with pytest.raises(UsageError, match=r"\(bert\) cannot be trained by masked-image"):
        MaskedImage(None, 1, build({})).build_model(source)


def test_patches_are_in_the_order_of_the_image() -> None:
    image = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)
    found = patches_of(image, 2)
    assert found.shape == (2, 4, 12)
    assert torch.equal(found[1, 2].view(2, 2, 3), image[1, :, 2:, :2].permute(1, 2, 0))
