"""Presets are the architectures they are called after, and train from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from ftcli.models.load import open_source
from ftcli.models.presets import PRESETS
from ftcli.recipe.schema import ModelRecipe
from tests.tiny import run_cli

PUBLISHED = {
    "bert-tiny": 4.4, "bert-mini": 11.2, "bert-small": 28.8, "bert-medium": 41.4, "bert-base": 109.5,
    "bert-large": 335.1, "modernbert-base": 149, "modernbert-large": 395, "electra-small": 13.5,
    "t5-tiny": 15.6, "t5-mini": 31.2, "t5-small": 60.5, "t5-base": 222.9, "bart-base": 139.4, "bart-large": 406.3,
    "gpt2-small": 124.4, "gpt2-medium": 354.8, "vit-tiny": 5.5, "vit-small": 21.7, "vit-base": 86.4, "vit-large": 304.4,
    "wav2vec2-base": 94.4, "whisper-tiny": 37.8,
}  # fmt: skip
"""Millions of parameters, with the vocabularies that these models were published with."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_published(name: str) -> None:
    values = dict(PRESETS[name])
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PUBLISHED[name], rel=0.03)


DECODERS = {"gpt2-tiny": 0.53, "gpt2-mini": 3.42, "gpt2-small": 85.8, "llama-tiny": 0.39, "llama-mini": 2.95}
"""Millions of weights beside the embedding of tokens."""


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_have_one_matrix_for_tokens_and_answers(name: str) -> None:
    config = open_source(ModelRecipe(name=f"preset:{name}")).config
    config.vocab_size = 50_257
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    assert (total - 50_257 * config.hidden_size) / 1e6 == pytest.approx(DECODERS[name], rel=0.02)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(("name", "objective"), [("modernbert-tiny", "mlm"), ("bart-tiny", "denoising")])
def test_from_nothing_and_then_a_task(name: str, objective: str, reviews_dir: Path, tmp_path: Path) -> None:
    made = run_cli(
        "pretrain", "--model", f"preset:{name}", "--objective", objective, "--data", str(reviews_dir), "--text-column",
        "text", "--max-steps", "12", "--lr", "5e-3", "--set", "train.tokens_per_batch=256", "--set", "log.every=1",
        "--set", "model.tokenizer.vocab_size=300", "--out", str(tmp_path / "made"), cwd=tmp_path,
    )  # fmt: skip
    assert made.code == 0, made.stderr
    lines = (tmp_path / "made" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if record["split"] == "train"]
    assert losses[-1] < losses[0] - 0.3
    tuned = run_cli(
        "finetune", "--model", str(tmp_path / "made"), "--data", str(reviews_dir), "--max-steps", "4",
        "--out", str(tmp_path / "tuned"), cwd=tmp_path,
    )  # fmt: skip
    assert tuned.code == 0, tuned.stderr
    assert AutoConfig.from_pretrained(tmp_path / "tuned" / "model").model_type == PRESETS[name]["model_type"]
