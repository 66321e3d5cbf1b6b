"""A trained head meets other labels: rows that agree by name stay to the bit, whatever the head is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageClassification, ViTConfig

from ftcli.models.load import open_source
from ftcli.models.transfer import label_dimensions, matched, outside_backbone
from ftcli.recipe.schema import ModelRecipe
from ftcli.tasks.classification import Classification
from ftcli.tasks.image_classification import ImageClassification
from ftcli.tasks.text_classification import TextClassification
from tests.tiny import KINDS, run_cli, tiny_model

OLD = ["negative", "neutral", "positive"]
SAME_NUMBER, FEWER, MORE = (
    ["positive", "mixed", "Negative"],
    ["positive", "negative"],
    ["a", "neutral", "b", "negative"],
)
HEADS = dict.fromkeys(KINDS, 1) | {"roberta": 2, "electra": 2, "distilbert": 2, "bart": 2, "t5": 2, "modernbert": 2}
"""Layers with weights in the head of each architecture, but for norms."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A classifier of each architecture, as trained for `OLD`."""
    folder = tmp_path_factory.mktemp("trained")
    found = {kind: tiny_model(kind, folder / kind, labels=OLD) for kind in KINDS}
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
        num_channels=1, id2label=dict(enumerate(OLD)), label2id={name: i for i, name in enumerate(OLD)},
    )  # fmt: skip
    AutoModelForImageClassification.from_config(config).save_pretrained(folder / "vit")
    processor = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8},
        "image_mean": [0.5], "image_std": [0.5],
    }  # fmt: skip
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    return {**found, "vit": folder / "vit"}


def rebuilt(folder: Path, labels: list[str]) -> tuple[Classification, dict[str, Tensor], list[str]]:
    """The task for `labels`, the model's weights and what starts fresh."""
    source = open_source(ModelRecipe(name=str(folder)))
    kind = ImageClassification if source.images is not None else TextClassification
    task = kind(source.processor, 16)
    task._set_labels(labels)
    model, fresh = task.build_model(source)
    assert model.config.num_labels == len(labels)
    return task, {name: p.detach() for name, p in model.named_parameters()}, fresh


@pytest.mark.parametrize("labels", [SAME_NUMBER, FEWER, MORE], ids=["other order", "fewer", "more"])
@pytest.mark.parametrize("kind", [*KINDS, "vit"])
def test_rows_that_agree_stay(kind: str, labels: list[str], trained: dict[str, Path]) -> None:
    before = load_file(trained[kind] / "model.safetensors")
    task, now, fresh = rebuilt(trained[kind], labels)
    rows = [name for name in now if name in before and now[name].shape[:1] == (len(labels),) and "classif" in name]
    rows = rows or [name for name in now if name.startswith("score.")]
    rows = [name for name in rows if before[name].shape[0] == len(OLD)]
    assert rows
    for name in now:
        if name not in rows and name in before:
            assert now[name].equal(before[name]), f"{name} is the backbone's, or of a lower layer of the head"
    for name in rows:
        for i, label in enumerate(labels):
            if label.casefold() in OLD:
                assert now[name][i].equal(before[name][OLD.index(label.casefold())])
            elif now[name].ndim > 1:
                assert not any(now[name][i].equal(row) for row in before[name])
    assert fresh == []
    assert task.head_note is not None
    kept = ", ".join(label for label in labels if label.casefold() in OLD)
    assert f"keeps its rows for {kept}" in task.head_note
    assert ("fresh for" in task.head_note) == any(label.casefold() not in OLD for label in labels)
    assert ("without neutral" in task.head_note) == ("neutral" not in labels)


@pytest.mark.parametrize("kind", [*KINDS, "vit"])
def test_a_head_for_other_labels_starts_over(kind: str, trained: dict[str, Path]) -> None:
    """All of its layers, also where the number of labels is the same."""
    before = load_file(trained[kind] / "model.safetensors")
    task, now, fresh = rebuilt(trained[kind], ["x", "y", "z"])
    weights = [name for name in fresh if now[name].ndim > 1]
    assert len(weights) == HEADS.get(kind, 1)
    assert all(not now[name].equal(before[name]) for name in weights)
    assert all(now[name].equal(before[name]) for name in now if name not in fresh and name in before)
    assert task.head_note is not None
    assert "none of the model's labels (negative, neutral, positive)" in task.head_note


@pytest.mark.parametrize("kind", ["bert", "roberta", "vit"])
def test_the_same_labels_say_nothing(kind: str, trained: dict[str, Path]) -> None:
    before = load_file(trained[kind] / "model.safetensors")
    task, now, fresh = rebuilt(trained[kind], OLD)
    assert fresh == []
    assert task.head_note is None
    shared = now.keys() & before.keys()
    assert len(shared) >= 4
    assert all(now[name].equal(before[name]) for name in shared)


def test_a_head_of_another_task_starts_over(tmp_path: Path, trained: dict[str, Path]) -> None:
    """Of the same shape and with the same names, as a tagger's is; a nameless one is taken as it is."""
    before = load_file(trained["bert"] / "model.safetensors")
    for name, change in {
        "tagger": {"architectures": ["BertForTokenClassification"]},
        "nameless": {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}},
    }.items():
        config = json.loads((trained["bert"] / "config.json").read_text()) | change
        folder = tmp_path / name
        folder.mkdir()
        for file in trained["bert"].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "config.json").write_text(json.dumps(config))
        _, now, fresh = rebuilt(folder, OLD)
        assert fresh == (["classifier.bias", "classifier.weight"] if name == "tagger" else [])
        assert now["classifier.weight"].equal(before["classifier.weight"]) == (name == "nameless")


def test_where_labels_are(trained: dict[str, Path]) -> None:
    source = open_source(ModelRecipe(name=str(trained["roberta"])))
    task = TextClassification(source.tokenizer, 16)
    model = task.load_model(source)
    assert label_dimensions(model) == {"classifier.out_proj.weight": 0, "classifier.out_proj.bias": 0}
    assert sorted(outside_backbone(model)) == [
        "classifier.dense.bias", "classifier.dense.weight", "classifier.out_proj.bias", "classifier.out_proj.weight",
    ]  # fmt: skip


NAMES = st.lists(st.sampled_from(["a", "A", "b", "B", "c", "d"]), unique=True, max_size=6)


@given(NAMES, NAMES)
def test_matches_are_of_one_name_and_one_to_one(old: list[str], new: list[str]) -> None:
    found = matched(old, new)
    assert all(old[of].casefold() == new[to].casefold() for to, of in found.items())
    assert len(set(found.values())) == len(found)
    assert {new[to] for to in found} >= set(old) & set(new)


def test_through_the_command_line(tmp_path: Path, trained_run: Path) -> None:
    """One step so small that it changes nothing: what the run saves is what was carried over."""
    words = {"up": "good", "positive": "great", "down": "bad"}
    (tmp_path / "train.csv").write_text(
        "text,label\n" + "".join(f"{word} film,{label}\n" for label, word in words.items() for _ in range(9))
    )
    done = run_cli(
        "finetune", "--model", str(trained_run), "--data", "train.csv", "--out", "run", "--max-steps", "1",
        "--lr", "1e-30", "--set", "optimizer.weight_decay=0", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "note: the head keeps its rows for positive; fresh for down, up; without negative\n" in done.stderr
    assert "starts fresh" not in done.stderr
    before, after = (load_file(run / "model" / "model.safetensors") for run in (trained_run, tmp_path / "run"))
    labels = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["id2label"]
    assert list(labels.values()) == ["down", "positive", "up"]
    for name in ("classifier.weight", "classifier.bias"):
        assert after[name][1].equal(before[name][1])
        assert after[name].shape[0] == 3
    assert after["bert.pooler.dense.weight"].equal(before["bert.pooler.dense.weight"])
