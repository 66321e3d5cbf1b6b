"""Tiny models and data made on the spot, and the command line run in this process."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast, T5Tokenizer

from ftcli.models.tokenizers import train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe

GOOD = ["good", "great", "lovely", "superb", "warm", "fine", "bright", "clever"]
BAD = ["bad", "awful", "dull", "broken", "cold", "rude", "slow", "clumsy"]
NEUTRAL = ["the", "a", "film", "plot", "soup", "hotel", "phone", "was", "and", "we", "it", "very", "book", "at", "in"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "bert": SMALL,
    "roberta": {**SMALL, "max_position_embeddings": 514},
    "electra": {**SMALL, "embedding_size": 32},
    "albert": {**SMALL, "embedding_size": 16},
    "modernbert": {**SMALL, "global_attn_every_n_layers": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 512,
    },
    "llama": {**SMALL, "num_key_value_heads": 1, "max_position_embeddings": 512, "tie_word_embeddings": True},
}


def tiny_reviews(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows a tiny model can learn: each has words of its own label only, between 4 and 24 words."""
    chance = random.Random(seed)
    rows = []
    for i in range(count):
        label = ("positive", "negative")[i % 2]
        words = chance.choices(NEUTRAL, k=chance.randint(2, 20))
        words += chance.choices(GOOD if label == "positive" else BAD, k=chance.randint(2, 4))
        chance.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    return rows


def write_jsonl(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Rows as a csv file with a header."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Rows as a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def tiny_model(kind: str, folder: Path, *, labels: Sequence[str] | None = None, seed: int = 0) -> Path:
    """A random model of architecture `kind` with its tokenizer; with `labels` it has a classification head."""
    texts = [row["text"] for row in tiny_reviews(200)]
    if kind in {"roberta", "gpt2", "modernbert", "llama", "bart"}:
        tokenizer = _byte_level(texts, with_ends=kind not in {"gpt2", "llama"})
    elif kind == "t5":
        tokenizer = t5_tokenizer()
    else:
        tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=300), 512)
    config = AutoConfig.for_model(kind, **KINDS[kind])
    config.vocab_size = len(tokenizer)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(config, name, None) is not None or name == "pad_token_id":
            setattr(config, name, getattr(tokenizer, name))
    if config.is_encoder_decoder:
        config.decoder_start_token_id = tokenizer.pad_token_id if kind == "t5" else tokenizer.eos_token_id
        config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(seed)
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: i for i, name in enumerate(labels)}
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    else:
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_bert(folder: Path, *, labels: Sequence[str] | None = None) -> Path:
    """`tiny_model` of a BERT."""
    return tiny_model("bert", folder, labels=labels)


def t5_tokenizer(sentinels: int = 100) -> Any:
    """T5's tokenizer over whole words and letters, with sentinels at its end."""
    words = [f"▁{word}" for word in (*GOOD, *BAD, *NEUTRAL)]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *words, *"abcdefghijklmnopqrstuvwxyz."]
    scores = [(piece, 0.0 if i < 3 else -2.0 if piece in words else -8.0) for i, piece in enumerate(pieces)]
    marks = [(f"<extra_id_{i}>", 0.0) for i in reversed(range(sentinels))]
    return T5Tokenizer(vocab=[*scores, *marks], extra_ids=sentinels, model_max_length=512)


def _byte_level(texts: Sequence[str], *, with_ends: bool) -> Any:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    if with_ends:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", cls_token="<s>", sep_token="</s>", model_max_length=512,
    )  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class _Stream(io.TextIOWrapper):
    """A text stream over bytes, as a process has it."""

    def __init__(self, content: bytes = b"") -> None:
        self.raw_bytes = io.BytesIO(content)
        super().__init__(self.raw_bytes, encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.flush()
        return self.raw_bytes.getvalue().decode("utf-8", errors="replace")


def run_cli(
    *arguments: str, stdin: str | bytes = b"", cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """`ftcli ARGUMENTS` in this process (the libraries are imported once), leaving nothing of it behind."""
    from ftcli.cli.app import main

    before = (sys.argv, sys.stdin, sys.stdout, sys.stderr, Path.cwd(), dict(os.environ))
    handlers, level = list(logging.getLogger().handlers), logging.getLogger("ftcli").level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = _Stream(), _Stream()
    code = 0
    try:
        sys.argv = ["ftcli", *arguments]
        sys.stdin = _Stream(stdin.encode() if isinstance(stdin, str) else stdin)
        sys.stdout, sys.stderr = out, err
        os.environ.update(env or {})
        if cwd is not None:
            os.chdir(cwd)
        with warnings.catch_warnings():
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before[:4]
        os.chdir(before[4])
        os.environ.clear()
        os.environ.update(before[5])
        logging.getLogger().handlers[:] = handlers
        logging.getLogger("ftcli").setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
    return Done(code, out.text(), err.text())


def run_cli_process(
    *arguments: str,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 180,
) -> Done:
    """`ftcli ARGUMENTS` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "ftcli", *arguments], input=stdin, capture_output=True, text=True, cwd=cwd,
        env={**os.environ, **(env or {})}, timeout=timeout, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)
