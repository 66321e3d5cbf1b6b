"""Golden loss curves: a refactor must reproduce them. `python -m tests.tasks.test_golden` writes them anew."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from ftcli.data.sampler import Sampler
from ftcli.engine.corrupt import drawing
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.optim import adamw
from ftcli.engine.precision import pick_precision
from ftcli.engine.schedule import factor
from ftcli.models.tokenizers import train_wordpiece
from ftcli.objectives.mlm import MaskedLanguageModelling
from ftcli.recipe.schema import OptimizerRecipe, Recipe, ScheduleRecipe, TokenizerRecipe, TrainRecipe
from ftcli.tasks import TASKS
from ftcli.tasks.image_classification import ImageClassification
from ftcli.tasks.text_classification import TextClassification

GOLDEN = Path(__file__).parent.parent / "golden"
WORDS = ["film", "plot", "warm", "cold", "dull", "bright", "slow", "fine", "a", "the", "very", "not"]
TOLERANCE = 2e-5
"""What other processors' order of additions may change over the curve."""


class Split:
    """A split in memory."""

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels

    def column(self, role: str) -> list[str]:
        return self.labels


def text_classification() -> list[float]:
    """42 steps of a two-layer BERT with dropout, accumulation, clipping and warm-up."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(50):
        words = list(random.choice(WORDS, random.integers(1, 12)))
        rows.append({"text": " ".join([*words, ("good", "bad")[i % 2]]), "label": ("positive", "negative")[i % 2]})
    tokenizer = train_wordpiece([r["text"] for r in rows], TokenizerRecipe(vocab_size=150), 32)
    task = TextClassification(tokenizer, 32)
    task.fit_labels(Split([r["label"] for r in rows]), None)  # type: ignore[arg-type]
    torch.manual_seed(11)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, num_labels=2, initializer_range=0.1)
    )  # fmt: skip
    task.prepare(model)
    return trained(task, model, task.encode(rows))


def image_classification() -> list[float]:
    """42 steps of a two-layer ViT on scikit-learn's digits 0 and 1."""
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 2)[:50]
    labels = [("zero", "one")[digits.target[i]] for i in chosen]
    processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    task = ImageClassification(processor, 32)
    task.fit_labels(Split(labels), None)  # type: ignore[arg-type]
    torch.manual_seed(11)
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, hidden_size=32, num_hidden_layers=2,
                       num_attention_heads=2, intermediate_size=64, num_labels=2, hidden_dropout_prob=0.1,
                       initializer_range=0.1)  # fmt: skip
    model = ViTForImageClassification(config)
    task.prepare(model)
    rows = []
    for i, label in zip(chosen, labels, strict=True):
        image, file = Image.fromarray((digits.images[i] * 15.9375).astype(np.uint8)), io.BytesIO()
        image.save(file, format="png")
        rows.append({"image": file.getvalue(), "label": label})
    return trained(task, model, task.encode(rows))


def masked_language_modelling() -> list[float]:
    """42 steps of a two-layer BERT whose masks are drawn anew in every epoch."""
    random = np.random.default_rng(7)
    texts = [" ".join(["a very", *random.choice(WORDS[:4], random.integers(1, 6)), "the end"]) for _ in range(50)]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=150), 32)
    task = MaskedLanguageModelling(tokenizer, 32, Recipe())
    torch.manual_seed(11)
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, initializer_range=0.1)
    )  # fmt: skip
    task.prepare(model)
    examples = task.arrange(task.documents([{"text": text} for text in texts]), 3)
    return trained(task, model, examples, drawing(task.corrupt, 3))


def trained(task: Any, model: Any, examples: Any, draw: Any = None) -> list[float]:
    """The losses of six epochs with accumulation, clipping and warm-up."""
    recipe = TrainRecipe(epochs=6, batch_size=4, gradient_accumulation=2, clip=1.0)
    sampler = Sampler([len(e["input_ids"]) if "input_ids" in e else 1 for e in examples], 8, 3)
    total = count_steps(recipe, sampler.steps)
    optimizer = adamw(model, OptimizerRecipe(lr=5e-3))
    precision = pick_precision("fp32", torch.device("cpu"))
    loop = Loop(
        task, model, examples, sampler, optimizer, factor(ScheduleRecipe(warmup=0.1), total), precision, recipe, total,
        draw=draw,
    )  # fmt: skip
    return [float(progress.loss) for progress in loop]


CURVES = {
    "text-classification": text_classification,
    "image-classification": image_classification,
    "mlm": masked_language_modelling,
}


def golden(name: str) -> Path:
    return GOLDEN / f"{name}.json"


def test_every_task_has_a_curve() -> None:
    assert set(TASKS) <= set(CURVES)
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CURVES)


@pytest.mark.parametrize("name", sorted(CURVES))
def test_curve(name: str) -> None:
    expected = json.loads(golden(name).read_text(encoding="utf-8"))
    assert len(expected) >= 20
    assert sum(expected[-5:]) < 0.6 * sum(expected[:5]), "a curve that does not learn holds little"
    assert CURVES[name]() == pytest.approx(expected, abs=TOLERANCE)


if __name__ == "__main__":
    for task_name, curve in CURVES.items():
        golden(task_name).write_text(json.dumps(curve(), indent=0) + "\n", encoding="utf-8")
