"""Every regulariser with every other, every method, accumulation, precision, padding, texts and images: trained,
stopped and gone on with, or refused by name. Rows of choices in which each pair meets, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import ViTConfig, ViTModel

from ftcli.contract import Example
from ftcli.engine import row_adamw
from ftcli.engine.checkpoint import Snapshot, take_snapshot, write_snapshot
from ftcli.engine.evaluate import encode_rows
from ftcli.engine.regularizers import REGULARIZERS
from ftcli.engine.restore import kept_beside, load_checkpoint
from ftcli.engine.seeding import seed_everything
from ftcli.errors import UsageError
from ftcli.models.image_processors import plain_processor
from ftcli.models.methods import METHODS
from ftcli.recipe.load import build
from ftcli.runs.environment import quiet_libraries
from ftcli.runs.parts import Parts, assemble
from ftcli.runs.training import build_loop
from ftcli.trackers.console import Console
from tests.pairwise import Choice, Pairwise
from tests.runs.test_images import write_images
from tests.tiny import tiny_reviews, write_jsonl

SETTINGS: Mapping[str, object] = {
    "reinit_layers": 1, "freeze": "embeddings", "unfreeze": 0.8, "mixout": 0.5, "mixup": 1.0, "cutmix": 1.0,
    "label_smoothing": 0.1, "focal": 2.0, "class_weights": "balanced", "neftune": 5.0, "r_drop": 1.0, "fgm": 1.0,
    "freelb": 2, "smart": 1.0, "l2_sp": 0.1, "ema": 0.9, "swa": 0.5,
}  # fmt: skip
BESIDE: Mapping[str, object] = {"dropout": 0.3, "token_dropout": 0.2}
"""Keys of `regularize` that the table does not hold."""
STEPS, STOPPED = 4, 2


def test_every_regulariser_has_a_setting() -> None:
    assert set(SETTINGS) == set(REGULARIZERS)


@dataclass(frozen=True)
class Places:
    """Models and data by kind of input."""

    models: Mapping[str, Path]
    data: Mapping[str, Path]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Places:
    folder = tmp_path_factory.mktemp("grid")
    texts, images, vit = folder / "texts", folder / "images", folder / "vit"
    texts.mkdir()
    for split, count, seed in (("train", 22, 0), ("validation", 4, 1), ("test", 4, 2)):
        write_jsonl(tiny_reviews(count, seed), texts / f"{split}.jsonl")
        write_images(images / split, count, seed)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=12, patch_size=4
    )
    torch.manual_seed(0)
    ViTModel(config, add_pooling_layer=False).save_pretrained(vit)
    plain_processor(config).save_pretrained(vit)
    return Places({"text": tiny_bert_dir, "image": vit}, {"text": texts, "image": images})


@dataclass
class Run:
    """A run in this process, up to where its loop is."""

    parts: Parts
    examples: Sequence[Example]

    def __post_init__(self) -> None:
        self.loop = build_loop(self.parts, self.examples)
        self.losses: list[float] = []

    def go(self, until: int) -> None:
        for progress in self.loop:
            self.losses.append(float(progress.loss))
            if progress.step == until:
                return

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.loop, {}, None, self.parts.regularizers.tensors())

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.parts.model.named_parameters()}


def start(row: Mapping[str, Any], regularize: Sequence[str], places: Places) -> Run:
    kind = row["input"]
    values: dict[str, object] = {
        "model.name": str(places.models[kind]), "data.name": str(places.data[kind]), "data.token_cache": "none",
        "train.max_steps": STEPS, "train.epochs": 9.0, "optimizer.lr": 1e-2, "train.device": "cpu",
        "method.name": row["method"], "train.precision": row["precision"], "train.unpadded": row["unpadded"],
        "train.gradient_accumulation": row["accumulation"], "train.batch_size": 8 // row["accumulation"],
    }  # fmt: skip
    values |= {f"regularize.{name}": {**SETTINGS, **BESIDE}[name] for name in regularize}
    seed_everything(7)
    parts = assemble(build({path: (value, "") for path, value in values.items()}), Console(quiet=True))
    return Run(parts, encode_rows(parts.task.encode, parts.data.splits["train"]))


def check(row: Mapping[str, Any], regularize: Sequence[str], places: Places, folder: Path) -> None:
    """The row trains what it should, and a run that was stopped ends as one that was not."""
    run = start(row, regularize, places)
    before = run.weights()
    ever_trained: set[str] = set()
    for step in range(STEPS):
        run.go(step + 1)
        ever_trained |= {name for name, p in run.parts.model.named_parameters() if p.requires_grad}
        if step + 1 == STOPPED:
            kept = write_snapshot(folder, run.snapshot(), 1)
    after = run.weights()
    assert all(torch.isfinite(torch.tensor(run.losses))), run.losses
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved <= ever_trained, f"frozen and moved: {sorted(moved - ever_trained)}"
    assert any("classifier" in name for name in moved)
    if "freeze" in regularize and row["method"] == "full":
        assert not any("embed" in name for name in moved)
    with run.parts.regularizers.scored():
        shown = run.weights()
    assert ({"ema", "swa"} & {*regularize} == set()) == all(shown[name].equal(after[name]) for name in after)
    assert all(tensor.equal(after[name]) for name, tensor in run.weights().items())

    resumed = start(row, regularize, places)
    load_checkpoint(kept, resumed.loop)
    resumed.parts.regularizers.restore(kept_beside(kept))
    resumed.go(STEPS)
    assert resumed.losses == run.losses[STOPPED:]
    one, other = run.snapshot(), resumed.snapshot()
    for file in one.tensors:
        assert one.tensors[file].keys() == other.tensors[file].keys()
        for name, tensor in one.tensors[file].items():
            assert tensor.equal(other.tensors[file][name]), f"{file}: {name}"


@cache
def factors() -> Pairwise:
    """All pairs but those the table itself says never meet."""
    found = Pairwise(
        "regularize",
        {
            "regularize": [*REGULARIZERS, *BESIDE],
            "method": sorted(METHODS),
            "accumulation": [1, 2],
            "precision": ["fp32", "bf16"],
            "unpadded": [True, False],
            "by_rows": [True, False],
            "input": ["text", "image"],
        },
        most=3,
    )
    for name in REGULARIZERS:
        kind = REGULARIZERS.part(name)
        for other in kind.apart_from:
            found.exclude(frozenset({("regularize", name), ("regularize", other)}))
        for method in kind.methods_refused:
            found.exclude(frozenset({("regularize", name), ("method", method)}))
        if kind.inputs == "images":
            found.exclude(frozenset({("regularize", name), ("input", "text")}))
    found.exclude(frozenset({("regularize", "token_dropout"), ("input", "image")}))
    return found


def refused(error: UsageError, row: Sequence[Choice]) -> frozenset[Choice]:
    """The two choices that an error names (a key with its input, if with nothing else)."""
    said = f"{error.message} {error.hint}"
    words = {("regularize", name): f"regularize.{name}" for _, name in row} | {
        ("method", name): f"method {name}" for _, name in row
    }
    named = [choice for choice in row if choice in words and words[choice] in said]
    assert named, f"refused, and by no name: {said}"
    if len(named) == 1:
        named.append(next(choice for choice in row if choice[0] == "input"))
    return frozenset(named[:2])


def works(row: Mapping[str, Any], kinds: Mapping[str, object], pairs: Pairwise, places: Places, folder: Path) -> bool:
    """Whether a regulariser goes with a method by itself, on texts or on images."""
    for kind in ("text", "image"):
        if any(frozenset({choice, ("input", kind)}) in pairs.excluded for choice in kinds.items()):
            continue
        try:
            check({**row, "input": kind}, [str(kinds["regularize"])], places, folder)
        except UsageError:
            continue
        return True
    return False


@pytest.mark.timeout(1200)
def test_each_pair_works_or_is_refused_by_name(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_libraries()
    pairs, rows = factors(), 0
    assert len(pairs.left) >= 500
    no: dict[frozenset[Choice], str] = {}
    while pairs.left:
        row = pairs.row()
        one = {name: value for name, value in row if name != "regularize"}
        regularize = [str(value) for name, value in row if name == "regularize"]
        monkeypatch.setattr(row_adamw, "ENOUGH", 1 if one["by_rows"] else 2**20)
        try:
            check(one, regularize, places, tmp_path / f"{rows}")
        except UsageError as error:
            pair = refused(error, row)
            assert pair not in no, f"excluded and met again: {pair}"
            pairs.exclude(pair)
            kinds = dict(pair)
            if kinds.keys() == {"regularize", "method"} and works(
                one, kinds, pairs, places, tmp_path / f"{rows} alone"
            ):
                continue  # it was the rest of the row
            no[pair] = error.message
        except Exception as error:
            raise AssertionError(f"{one} with {regularize}: {type(error).__name__} {error}") from error
        else:
            pairs.meet(row)
            rows += 1
    print(f"{rows} rows, {len(no)} pairs refused:", *sorted(no.values()), sep="\n  ")
    assert rows >= 20
    by_keys = [pair for pair in no if all(name == "regularize" for name, _ in pair)]
    assert not by_keys, "regularisers that do not go together are so in the table"
    assert not any(("method", "full") in pair for pair in no)
