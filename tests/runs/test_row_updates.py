"""A model whose vocabulary is far larger than the texts': its embedding is updated by rows, and nobody can tell."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ftcli.engine import optim
from tests.tiny import run_cli

ROWS = 2**15
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def wide_bert(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Path:
    """The tiny BERT with more embedding rows than its tokenizer has tokens."""
    folder = tmp_path_factory.mktemp("model") / "wide-bert"
    config = AutoConfig.from_pretrained(tiny_bert_dir)
    config.vocab_size = ROWS
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert_dir).save_pretrained(folder)
    return folder


def finetune(model: Path, data: Path, out: Path, *more: str) -> Path:
    done = run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", str(out), "--batch-size", "8", "--lr", "2e-3",
        "--set", "optimizer.weight_decay=3", "--set", "log.every=1", *more,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return out


def test_rows_of_words_that_never_came_are_decayed(wide_bert: Path, reviews_dir: Path, tmp_path: Path) -> None:
    """In the saved model, by what AdamW takes off every weight: the product of 1 - lr x weight decay."""
    run = finetune(wide_bert, reviews_dir, tmp_path / "run", "--epochs", "1")
    last = load_file(run / "checkpoints" / "last" / "optimizer.safetensors")
    assert len(last[f"{WORDS}/rows"]) < 300, "it is updated by rows"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [line["lr"] for line in lines if line["split"] == "train"]
    assert len(rates) == 12
    factor = math.prod(1 - 3 * lr for lr in rates)
    assert 0.9 < factor < 0.99
    before, after = (load_file(folder / "model.safetensors") for folder in (wide_bert, run / "model"))
    name = next(name for name in before if name.endswith("word_embeddings.weight"))
    torch.testing.assert_close(after[WORDS][400:], before[name][400:] * factor, atol=1e-8, rtol=1e-6)


def test_same_results_as_plain_adamw(
    wide_bert: Path, reviews_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--epochs", "2", "--set", "train.clip=0.5", "--set", "train.gradient_accumulation=2")
    rows = finetune(wide_bert, reviews_dir, tmp_path / "rows", *settings)
    monkeypatch.setattr(optim, "row_embedding", lambda model: None)
    plain = finetune(wide_bert, reviews_dir, tmp_path / "plain", *settings)
    one, two = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for run in (rows, plain)
    )
    assert len(one) == len(two) >= 14
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["split"]) == (b["step"], b["split"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    weights = [load_file(run / "model" / "model.safetensors") for run in (rows, plain)]
    torch.testing.assert_close(weights[0][WORDS], weights[1][WORDS], atol=1e-4, rtol=0)


def test_resumed_is_uninterrupted(wide_bert: Path, reviews_dir: Path, tmp_path: Path) -> None:
    done = run_cli(
        "verify-resume", "--model", str(wide_bert), "--data", str(reviews_dir), "--steps", "5", "--batch-size", "8",
        "--set", "optimizer.weight_decay=3", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["passed"] is True
