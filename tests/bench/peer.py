"""The peers: Hugging Face's Trainer in four settings, and a loop that pads everything to the maximum.

usage: peer.py CONTENDER JOB, a contender's name and a Job as JSON. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from contenders import Job
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

Rows = list[dict[str, Any]]
GROUPED = {"trainer-grouped", "trainer-bf16", "trainer-best"}


def in_bf16(job: Job) -> bool:
    """Whether a peer computes in bf16; on a CPU only where it is asked to."""
    return job.precision == "bf16" or (job.precision == "auto" and job.device == "cuda")


def now(device: str) -> float:
    """The time, once the device has done what it was asked to."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass
class Clock(TrainerCallback):
    """Seconds of each epoch from just before its first step to just after its last one."""

    device: str
    epochs: list[float] = field(default_factory=list)
    began: float = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.began = now(self.device)

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.epochs.append(now(self.device) - self.began)


class Collator:
    """Dynamic padding that counts real and padded tokens as it goes."""

    def __init__(self, tokenizer: Any, multiple: int | None = None) -> None:
        self.pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
        self.real = self.computed = 0

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Any:
        batch = self.pad(rows)
        self.real += int(batch["attention_mask"].sum())
        self.computed += batch["attention_mask"].numel()
        return batch


def load(job: Job, *, pad: bool) -> tuple[Any, Any, Rows, Rows]:
    """Tokenizer, model with a head for the labels of the training rows, and the tokenized rows of both splits."""
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    splits = {}
    for split in ("train", "test"):
        lines = (Path(job.data) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        splits[split] = [json.loads(line) for line in lines]
    names = sorted({row["label"] for row in splits["train"]})
    model = AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=len(names), dtype=torch.float32)

    def encode(rows: Rows) -> Rows:
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=job.max_length,
                            padding="max_length" if pad else False)  # fmt: skip
        return [
            {**{key: values[i] for key, values in encoded.items()}, "labels": names.index(row["label"])}
            for i, row in enumerate(rows)
        ]

    return tokenizer, model, encode(splits["train"]), encode(splits["test"])


def warmup_steps(job: Job, rows: int) -> int:
    """The share of all steps, rounded up as ftcli does."""
    return math.ceil(job.warmup * job.epochs * math.ceil(rows / job.batch_size))


def arguments(name: str, job: Job, rows: int) -> TrainingArguments:
    """The Trainer's settings: its defaults beyond what `job` says; the best ones differ on purpose."""
    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(prefix="bench-"),
        "per_device_train_batch_size": job.batch_size,
        "per_device_eval_batch_size": job.eval_batch_size,
        "num_train_epochs": job.epochs,
        "learning_rate": job.lr,
        "warmup_steps": warmup_steps(job, rows),
        "weight_decay": job.weight_decay,
        "seed": job.seed,
        "bf16": in_bf16(job),
        "use_cpu": job.device == "cpu",
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 50,
        "disable_tqdm": True,
    }
    if name in GROUPED:
        newer = "train_sampling_strategy" in {f.name for f in fields(TrainingArguments)}
        settings |= {"train_sampling_strategy": "group_by_length"} if newer else {"group_by_length": True}
    if name == "trainer-best":
        settings |= {"torch_compile": True, "optim": "adamw_torch_fused"}
    return TrainingArguments(**settings)


def by_trainer(name: str, job: Job) -> dict[str, Any]:
    """Train and predict with the Trainer."""
    tokenizer, model, train, test = load(job, pad=False)
    clock = Clock(job.device)
    # Shapes that fit the tensor cores, as its documentation recommends with bf16.
    collator = Collator(tokenizer, 8 if name == "trainer-best" and job.device == "cuda" else None)
    trainer = Trainer(model=model, args=arguments(name, job, len(train)), train_dataset=train, data_collator=collator,
                      callbacks=[clock])  # fmt: skip
    trainer.train()
    real, computed = collator.real, collator.computed
    if name in GROUPED and not isinstance(trainer._get_eval_sampler(test), LengthGroupedSampler):
        test = sorted(test, key=lambda row: len(row["input_ids"]))
    began = now(job.device)
    answers = trainer.predict(test)
    predicted = now(job.device) - began
    # Grouping changes the order, of the answers and of the labels beside them alike.
    right = answers.predictions.argmax(-1) == answers.label_ids
    return summary(job, clock.epochs, predicted, len(train), right, real, computed)


def by_loop(job: Job) -> dict[str, Any]:
    """The loop many tutorials show: everything padded to the maximum, the loss read at every step."""
    tokenizer, model, train, test = load(job, pad=True)
    model.to(job.device)
    collator, clock = Collator(tokenizer), Clock(job.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.lr, weight_decay=job.weight_decay)
    batches = torch.utils.data.DataLoader(train, batch_size=job.batch_size, shuffle=True, collate_fn=collator)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, warmup_steps(job, len(train)), job.epochs * len(batches)
    )

    def forward(batch: dict[str, torch.Tensor]) -> Any:
        with torch.autocast(job.device, dtype=torch.bfloat16, enabled=in_bf16(job)):
            return model(**{key: value.to(job.device) for key, value in batch.items()})

    model.train()
    for _ in range(job.epochs):
        clock.on_epoch_begin()
        for batch in batches:
            optimizer.zero_grad()
            loss = forward(batch).loss
            loss.item()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        clock.on_epoch_end()
    real, computed = collator.real, collator.computed
    model.eval()
    right: list[bool] = []
    began = now(job.device)
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(test, batch_size=job.eval_batch_size, collate_fn=collator):
            right += (forward(batch).logits.argmax(-1).cpu() == batch["labels"]).tolist()
    return summary(job, clock.epochs, now(job.device) - began, len(train), np.asarray(right), real, computed)


def summary(
    job: Job, epochs: list[float], predicted: float, rows: int, right: np.ndarray, real: int, computed: int
) -> dict[str, Any]:
    """What contenders.measure returns, less the memory."""
    return {
        "train": rows * len(epochs) / sum(epochs),
        "train_last_epoch": rows / epochs[-1],
        "predict": len(right) / predicted,
        "padding": 1 - real / computed,
        "accuracy": float(right.mean()),
        "tokens": real,
        "precision": "bf16" if in_bf16(job) else "fp32",
    }


def main() -> None:
    """Run the contender and print what was found."""
    name, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    transformers.logging.set_verbosity_error()
    set_seed(job.seed)
    print(json.dumps(by_loop(job) if name == "padded" else by_trainer(name, job)))


if __name__ == "__main__":
    main()
