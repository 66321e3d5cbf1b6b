"""The model that comes with ftcli: small, with its recipe, its curve and its card, and better than chance at words."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import pipeline

import ftcli
from ftcli.bundled import find_bundled
from ftcli.recipe.load import resolve
from tests.tiny import run_cli

NAME = "builtin:bert-tiny-en"
FOLDER = find_bundled("models", "model", "bert-tiny-en")


def test_it_is_small_and_says_where_it_is_from() -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert sum(size for name, size in sizes.items() if name.startswith(("model", "token"))) <= 8_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "pretrain.yaml" in card
    assert "loss_curve.png" in card
    with Image.open(FOLDER / "loss_curve.png") as curve:
        assert min(curve.size) > 200
    recipe = resolve(FOLDER / "pretrain.yaml")
    config = json.loads((FOLDER / "config.json").read_text())
    assert recipe.objective == resolve(FOLDER / "pretrain-short.yaml").objective == "mlm+bow"
    assert recipe.train.max_length == config["max_position_embeddings"]
    assert config["hidden_dropout_prob"] > 0, "fine-tuning on a few rows needs it"


def test_every_one_of_its_files_is_packaged() -> None:
    root = Path(ftcli.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["ftcli"]
    packaged = {file for pattern in patterns for file in root.glob(pattern)}
    assert set(FOLDER.iterdir()) <= packaged


def test_it_fills_masks_sensibly() -> None:
    torch.manual_seed(0)
    fill = pipeline("fill-mask", model=str(FOLDER), device="cpu", top_k=10)
    for text, among in (
        ("This is one of the best [MASK] I have ever seen.", {"movies", "films"}),
        ("The acting was [MASK] and the story was boring.", {"bad", "terrible", "awful", "poor", "good", "horrible"}),
        ("He was born in the [MASK] of New York.", {"city", "town", "state"}),
    ):
        found = [answer["token_str"] for answer in fill(text)]
        assert among & set(found), (text, found)


def test_unknown_names_are_told(tmp_path: Path) -> None:
    done = run_cli("finetune", "--model", "builtin:bert-tiny", "--data", "builtin:reviews", cwd=tmp_path)
    assert done.code == 2
    assert "builtin:bert-tiny" in done.stderr
    assert "hint: " in done.stderr
    assert "bert-tiny-en" in done.stderr.split("hint: ")[1]


def test_longer_texts_than_it_knows_are_refused(tmp_path: Path) -> None:
    done = run_cli("finetune", "--model", NAME, "--data", "builtin:reviews", "--max-length", "512", cwd=tmp_path)
    assert done.code == 2
    assert "256" in done.stderr


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_it_is_trained_on_by_name(command: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_cli(command, "--model", NAME, "--data", "builtin:reviews", "--limit", "40", "--max-steps", "2",
                   "--out", str(out), cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.stderr
    assert resolve(out / "recipe.yaml").model.name == NAME
    again = run_cli("predict", str(out), stdin="the [MASK] was good\n", cwd=tmp_path)
    assert again.code == 0, again.stderr
