"""The HF Trainer resumed in mid-epoch beside ftcli, each against its own whole run (`-s` prints the figures)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from tests.forked import start
from tests.tiny import tiny_reviews

pytestmark = pytest.mark.slow
STEPS, STOP = 24, 7
"""12 steps an epoch: the stop comes in the middle of the first."""


def trainer(model_dir: Path, out: Path, stop: int | None) -> Any:
    """A Trainer over 96 rows of tiny reviews; with `stop` it saves there and ends."""
    from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if stop is not None and state.global_step == stop:
                control.should_save = control.should_training_stop = True

    set_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    rows = [
        {**tokenizer(row["text"], truncation=True, max_length=64), "labels": int(row["label"] == "positive")}
        for row in tiny_reviews(96)
    ]
    arguments = TrainingArguments(
        output_dir=str(out), num_train_epochs=2, per_device_train_batch_size=8, learning_rate=2e-3, logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, seed=42, use_cpu=True,
        train_sampling_strategy="group_by_length",
    )  # fmt: skip
    return Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=2), args=arguments,
        train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer), processing_class=tokenizer,
        callbacks=[Stop()],
    )  # fmt: skip


def losses_of(made: Any) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in made.state.log_history if "loss" in entry}


def furthest(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((tensor - second[name]).abs().max()) for name, tensor in first.items())


def of_trainer(model_dir: Path, folder: Path) -> tuple[float, float]:
    """Largest difference in loss after the stop, and in weights."""
    whole = trainer(model_dir, folder / "whole", None)
    whole.train()
    trainer(model_dir, folder / "parts", STOP).train()
    resumed = trainer(model_dir, folder / "parts", None)
    resumed.train(resume_from_checkpoint=str(folder / "parts" / f"checkpoint-{STOP}"))
    one, two = losses_of(whole), losses_of(resumed)
    return (
        max(abs(one[step] - two[step]) for step in range(STOP + 1, STEPS + 1)),
        furthest(whole.model.state_dict(), resumed.model.state_dict()),
    )


def of_ftcli(model_dir: Path, data: Path, folder: Path) -> tuple[float, float]:
    def run(out: str, *more: str) -> int:
        return start(
            "finetune", "--model", str(model_dir), "--data", str(data), "--out", out, "--epochs", "2", "--lr", "2e-3",
            "--batch-size", "8", "--set", "log.every=1", *more, cwd=folder,
            before=None if more else lambda: stop_after(STOP if out == "parts" else None),
        ).wait()  # fmt: skip

    assert run("whole") == 0
    assert run("parts") == 75
    assert run("parts", "--resume") == 0
    one, two = (
        {r["step"]: r["loss"] for r in map(json.loads, (folder / out / "metrics.jsonl").read_text().splitlines())
         if r["split"] == "train"}
        for out in ("whole", "parts")
    )  # fmt: skip
    weights = [load_file(folder / out / "model" / "model.safetensors") for out in ("whole", "parts")]
    return max(abs(one[step] - two[step]) for step in one), furthest(weights[0], weights[1])


def stop_after(step: int | None) -> None:
    """What SIGTERM asks for, at a step of our choice."""
    from ftcli.runs import finetune

    finetune.run = partial(finetune.run, stop_at=step)  # type: ignore[assignment]


def test_resumed_beside_the_peer(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    pytest.importorskip("accelerate")
    (tmp_path / "ours").mkdir()
    ours = of_ftcli(tiny_bert_dir, reviews_dir, tmp_path / "ours")
    peers = of_trainer(tiny_bert_dir, tmp_path / "peer")
    print(f"\nlargest difference after resuming: loss, weights\n  ftcli   {ours}\n  Trainer {peers}")
    assert ours == (0.0, 0.0)
