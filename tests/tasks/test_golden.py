"""Golden loss curves: a refactor must reproduce them. `python -m tests.tasks.test_golden` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from ftcli.data.sampler import Sampler
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.optim import adamw
from ftcli.engine.precision import pick_precision
from ftcli.engine.schedule import factor
from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import OptimizerRecipe, ScheduleRecipe, TokenizerRecipe, TrainRecipe
from ftcli.tasks import TASKS
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
    recipe = TrainRecipe(epochs=6, batch_size=4, gradient_accumulation=2, clip=1.0)
    examples = task.encode(rows)
    sampler = Sampler([len(e["input_ids"]) for e in examples], 8, 3)
    total = count_steps(recipe, sampler.steps)
    optimizer = adamw(model, OptimizerRecipe(lr=5e-3))
    precision = pick_precision("fp32", torch.device("cpu"))
    loop = Loop(
        task, model, examples, sampler, optimizer, factor(ScheduleRecipe(warmup=0.1), total), precision, recipe, total
    )
    return [float(progress.loss) for progress in loop]


CURVES = {"text-classification": text_classification}


def golden(name: str) -> Path:
    return GOLDEN / f"{name}.json"


def test_every_task_has_a_curve() -> None:
    assert set(CURVES) == set(TASKS)
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(TASKS)


@pytest.mark.parametrize("name", sorted(CURVES))
def test_curve(name: str) -> None:
    expected = json.loads(golden(name).read_text(encoding="utf-8"))
    assert len(expected) >= 20
    assert sum(expected[-5:]) < 0.6 * sum(expected[:5]), "a curve that does not learn holds little"
    assert CURVES[name]() == pytest.approx(expected, abs=TOLERANCE)


if __name__ == "__main__":
    for task_name, curve in CURVES.items():
        golden(task_name).write_text(json.dumps(curve(), indent=0) + "\n", encoding="utf-8")
