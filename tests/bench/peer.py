"""The peer: Hugging Face's Trainer with dynamic padding on the rows it is given. Prints one JSON line."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time

import torch
from datasets import load_dataset
from sklearn.metrics import accuracy_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main() -> None:
    """Train on ``train.jsonl`` and predict ``test.jsonl`` of a folder."""
    parser = argparse.ArgumentParser()
    for name in ("model", "data"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--group", action="store_true", help="the Trainer's own length grouping")
    given = parser.parse_args()
    set_seed(given.seed)
    splits = load_dataset("json", data_files={s: f"{given.data}/{s}.jsonl" for s in ("train", "test")})
    names = sorted(set(splits["train"]["label"]))
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=len(names), dtype=torch.float32)

    def encode(batch: dict[str, list[str]]) -> dict[str, object]:
        encoded = tokenizer(batch["text"], truncation=True, max_length=given.max_length)
        return {**encoded, "labels": [names.index(label) for label in batch["label"]]}

    splits = splits.map(encode, batched=True, remove_columns=splits["train"].column_names)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=16,
            per_device_eval_batch_size=32,
            num_train_epochs=given.epochs,
            learning_rate=given.lr,
            warmup_steps=math.ceil(0.06 * given.epochs * len(splits["train"]) / 16),
            weight_decay=0.01,
            seed=given.seed,
            save_strategy="no",
            report_to=[],
            logging_steps=50,
            disable_tqdm=True,
            train_sampling_strategy="group_by_length" if given.group else "random",
        ),
        train_dataset=splits["train"],
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    began = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    answers = trainer.predict(splits["test"]).predictions.argmax(-1)
    done = time.perf_counter()
    rows = len(splits["train"]) * given.epochs
    print(
        json.dumps(
            {
                "train": rows / (trained - began),
                "predict": len(splits["test"]) / (done - trained),
                "accuracy": float(accuracy_score(splits["test"]["labels"], answers)),
            }
        )
    )


if __name__ == "__main__":
    main()
