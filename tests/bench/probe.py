"""What is measured beside the contenders, each in a process of its own that prints one JSON object.

ceiling DEVICE                             the rate of the fastest of a few matrix products, by precision
facts MODEL FOLDER MAX_LENGTH LABELS       tokens of the rows, and the FLOPs a model of this kind needs for them
padding FOLDER MAX_LENGTH MODEL BATCH_SIZE SEED EPOCHS   padding share of ftcli's batches, where they are padded
random-bert-base TOKENIZER FOLDER          a bert-base of random weights, with the tokenizer of another model
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

CPU_SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 384, 1536), (4096, 1536, 384), (4096, 768, 3072))
GPU_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 768, 3072), (16384, 3072, 768), (16384, 4096, 4096))
PIECES = 6
PIECE_SECONDS = 0.1
"""A shape's rate is the best of this many pieces of this length: a ceiling, not an average."""


def ceiling(device: str) -> dict[str, Any]:
    """By precision, FLOP/s of (m, k) x (k, n), the best of several shapes."""
    return {name: _ceiling(device, dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}


def _ceiling(device: str, dtype: torch.dtype) -> dict[str, Any]:
    rates = {}
    for m, k, n in GPU_SHAPES if device == "cuda" else CPU_SHAPES:
        a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        out = torch.empty((m, n), device=device, dtype=dtype)
        _products(a, b, out, 2)
        times = max(1, round(PIECE_SECONDS / _products(a, b, out, 2) * 2))
        rates[f"{m}x{k}x{n}"] = 2 * m * k * n * times / min(_products(a, b, out, times) for _ in range(PIECES))
    best = max(rates, key=rates.__getitem__)
    return {"flops_per_s": rates[best], "shape": best, "threads": torch.get_num_threads()}


def _products(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, times: int) -> float:
    """Seconds of so many products."""
    wait = torch.cuda.synchronize if a.is_cuda else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(times):
        torch.mm(a, b, out=out)
    wait()
    return time.perf_counter() - began


def facts(model: str, folder: str, max_length: str, labels: str) -> dict[str, Any]:
    """What both sides have to do, whatever they pad: real tokens and model FLOPs of one epoch and of the test rows.

    Forward and backward take 6 FLOPs per weight and token; the two products of attention 12 per layer, hidden unit and
    pair of tokens. Embeddings are looked up, and what stands after the encoder sees one token per row.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(model, num_labels=int(labels))
    with torch.device("meta"):
        built = AutoModelForSequenceClassification.from_config(config)
    encoder = head = 0
    for name, weight in built.named_parameters():
        if any(part in name for part in ("pooler", "classifier", "head.")):
            head += weight.numel()
        elif "embeddings" not in name:
            encoder += weight.numel()
    found: dict[str, Any] = {"parameters": built.num_parameters(), "encoder_parameters": encoder}
    for split, passes in (("train", 3), ("test", 1)):
        sizes = lengths(model, Path(folder) / f"{split}.jsonl", int(max_length))
        pairs = sum(size**2 for size in sizes)
        attention = 4 * config.num_hidden_layers * config.hidden_size * pairs
        found[f"{split}_tokens"] = sum(sizes)
        found[f"{split}_flops"] = passes * (2 * encoder * sum(sizes) + 2 * head * len(sizes) + attention)
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def padding(folder: str, max_length: str, model: str, batch_size: str, seed: str, epochs: str) -> dict[str, Any]:
    """Padding tokens among all tokens of ftcli's batches, each padded to its longest row."""
    from ftcli.data.sampler import Sampler

    sizes = lengths(model, Path(folder) / "train.jsonl", int(max_length))
    sampler = Sampler(sizes, int(batch_size), int(seed))
    steps = [[sizes[row] for row in rows] for epoch in range(int(epochs)) for rows in sampler.plan(epoch)]
    computed = sum(len(step) * max(step) for step in steps)
    return {"padding": 1 - sum(map(sum, steps)) / computed}


def lengths(model: str, file: Path, max_length: int) -> list[int]:
    """Tokens of each row."""
    from transformers import AutoTokenizer

    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    encoded = AutoTokenizer.from_pretrained(model)(texts, truncation=True, max_length=max_length)
    return [len(ids) for ids in encoded["input_ids"]]


def random_bert_base(tokenizer: str, folder: str) -> dict[str, Any]:
    """For speed alone: 110 million weights that know nothing."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    words = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), pad_token_id=words.pad_token_id)).save_pretrained(folder)
    words.save_pretrained(folder)
    return {"model": folder}


if __name__ == "__main__":
    commands = {"ceiling": ceiling, "facts": facts, "padding": padding, "random-bert-base": random_bert_base}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
