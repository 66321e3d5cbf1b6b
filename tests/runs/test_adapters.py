"""Methods that keep a base: small on disk, the base as it was, read back by ftcli and by peft, merged to the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ftcli.models.methods import METHODS
from tests.tiny import run_cli

BASED = sorted(name for name in METHODS if METHODS.part(name).keeps_base)
MERGEABLE = [name for name in BASED if METHODS.part(name).mergeable]
SETTINGS = (
    "--epochs", "12", "--batch-size", "8", "--lr", "1e-2", "--set", "eval.metric=loss", "--set", "regularize.dropout=0",
    "--set", "method.rank=4", "--set", "method.block_size=8",
)  # fmt: skip
VARIANTS = [
    *((name,) for name in BASED),
    ("lora", "--set", "method.pissa=true"),
    ("lora", "--set", "method.dora=true"),
    ("lora", "--set", "method.rslora=true", "--set", "method.pissa=true"),
    ("adapter", "--set", "method.placement=pfeiffer"),
    ("prefix", "--set", "method.projection=true"),
]
TEXT = "good great plain lovely"


def finetune(folder: Path, model: Path | str, data: Path, *more: str, out: str = "run", code: int = 0) -> Any:
    done = run_cli("finetune", "--model", str(model), "--data", str(data), "--out", out, *SETTINGS, *more, cwd=folder)
    assert done.code == code, done.stderr
    return done


def scores(folder: Path, run: str = "run") -> dict[str, float]:
    said = run_cli("predict", run, "-", "--quiet", cwd=folder, stdin=f"{TEXT}\n")
    assert said.code == 0, said.stderr
    return dict(json.loads(said.stdout)["scores"])


def logits(model: Any, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(**tokenizer(TEXT, return_tensors="pt")).logits
    return found


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_what_is_saved_is_small_and_reads_back(
    variant: tuple[str, ...], tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    """By ftcli as the report says, by peft to the same answers; the base's files are as they were."""
    before = {file: file.read_bytes() for file in (trained_run / "model").glob("*.safetensors")}
    done = finetune(tmp_path, trained_run, reviews_dir, "--method", *variant)
    assert before == {file: file.read_bytes() for file in before}
    model = tmp_path / "run" / "model"
    told = json.loads((model / "base.json").read_text(encoding="utf-8"))
    assert told["name"] == str(trained_run)
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    assert size < 0.8 * sum(map(len, before.values()))  # a tiny model's head is a large part of it
    trained = int(done.stderr.split(f"method {variant[0]} trains ")[1].split(" of ")[0].replace(",", ""))
    for file in (tmp_path / "run" / "checkpoints").rglob("model.safetensors"):
        held = sum(tensor.numel() for name, tensor in load_file(file).items() if "importance" not in name)
        assert held < trained + (10_000 if variant[0] == "vera" else 100)

    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    again = json.loads(scored.stdout)["metrics"]
    assert again == (pytest.approx(report["metrics"], abs=1e-6) if variant[0] == "adalora" else report["metrics"])
    if variant[0] != "adapter":
        labels = json.loads((model / "config.json").read_text(encoding="utf-8"))["id2label"]
        base = AutoModelForSequenceClassification.from_pretrained(trained_run / "model", num_labels=len(labels))
        found = logits(PeftModel.from_pretrained(base, model), model).softmax(-1)[0]
        assert found.tolist() == pytest.approx([scores(tmp_path)[labels[str(i)]] for i in range(len(labels))], abs=1e-5)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] in MERGEABLE], ids=" ".join)
def test_merged_it_is_one_model_with_the_same_answers(
    variant: tuple[str, ...], tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    done = finetune(tmp_path, trained_run, reviews_dir, "--method", *variant, "--merge", "--max-steps", "20")
    assert "merged into one model" in done.stderr
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert not (tmp_path / "run" / "model" / "base.json").exists()
    beside = scores(tmp_path, "run/adapter")
    found = logits(whole, tmp_path / "run" / "model").softmax(-1)[0].tolist()
    assert found == pytest.approx([beside[whole.config.id2label[i]] for i in range(2)], abs=1e-5)
    moved = [name for name, tensor in load_file(trained_run / "model" / "model.safetensors").items()
             if not torch.equal(tensor, load_file(tmp_path / "run" / "model" / "model.safetensors")[name])]  # fmt: skip
    assert any(".query." in name or ".key." in name for name in moved)


def test_a_run_is_the_base_of_the_next(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    """Of any method: with all weights trained it is one model; of another adapter, that one over the first."""
    finetune(tmp_path, trained_run, reviews_dir, "--method", "lora", out="first")
    done = finetune(tmp_path, "first", reviews_dir, "--method", "full", "--max-steps", "2", out="whole")
    assert "starts fresh" not in done.stderr
    assert not (tmp_path / "whole" / "model" / "base.json").exists()
    finetune(tmp_path, "first", reviews_dir, "--method", "adapter", "--max-steps", "2", out="second")
    assert scores(tmp_path, "second").keys() == {"positive", "negative"}
    for_nothing = finetune(
        tmp_path, "first", reviews_dir, "--method", "ia3", "--max-steps", "1", "--lr", "1e-30", out="same"
    )
    assert "starts fresh" not in for_nothing.stderr
    assert scores(tmp_path, "same") == pytest.approx(scores(tmp_path, "first"), abs=1e-5)
    refused = finetune(tmp_path, "second", reviews_dir, out="third", code=2)
    assert "cannot be put into the weights of its base" in refused.stderr


def test_another_base_is_not_taken_for_it(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_bert_dir, base)
    finetune(tmp_path, "base", reviews_dir, "--method", "lora", "--max-steps", "2")
    expected = scores(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    base.rename(tmp_path / "elsewhere" / "base")
    lost = run_cli("predict", "run", "-", cwd=tmp_path, stdin="a\n")
    assert lost.code == 2
    assert "model.base=FOLDER" in lost.stderr
    again = run_cli("predict", "run", "-", "--quiet", "--set", "model.base=elsewhere/base", cwd=tmp_path, stdin=TEXT)
    assert json.loads(again.stdout)["scores"] == expected
    (tmp_path / "elsewhere" / "base").rename(base)
    whole = load_file(base / "model.safetensors")
    whole["encoder.layer.0.attention.self.query.weight"][0, 0] += 1
    save_file(whole, base / "model.safetensors", metadata={"format": "pt"})
    changed = run_cli("predict", "run", "-", cwd=tmp_path, stdin="a\n")
    assert changed.code == 2
    assert "has other weights now" in changed.stderr
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "moved" / "run")
    shutil.copytree(tiny_bert_dir, tmp_path / "moved" / "base")
    shutil.rmtree(base)
    assert scores(tmp_path / "moved") == expected  # both moved together


def test_ranks_are_dealt_out(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    """AdaLoRA ends with its budget, not the same everywhere; peft's file holds no more than that."""
    done = finetune(tmp_path, trained_run, reviews_dir, "--method", "adalora", "--set", "method.init_rank=8")
    pattern = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text(encoding="utf-8"))[
        "rank_pattern"
    ]
    ranks = [sum(kept) for kept in pattern.values()]
    assert sum(ranks) == 4 * len(ranks)
    assert len(set(ranks)) > 1
    tensors = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    assert sum(len(tensor) for name, tensor in tensors.items() if "lora_E" in name) == sum(ranks)
    assert f"{sum(ranks)} in all (budget {sum(ranks)})" in done.stderr


def test_what_cannot_be_is_refused(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    for model, more, said in (
        ("preset:bert-tiny", ("--method", "lora"), "has no weights yet"),
        (tiny_bert_dir, ("--method", "prefix", "--merge"), "cannot be put into a base's weights"),
        (tiny_bert_dir, ("--method", "lora", "--set", "model.add_tokens=xyzzy"), "leaves to the base model"),
        (tiny_bert_dir, ("--method", "lora", "--set", "method.targets=q_prj"), "this model has"),
        (
            tiny_bert_dir,
            ("--method", "lora", "--set", "method.dora=true", "--set", "method.pissa=true"),
            "one of the two",
        ),
        (tiny_bert_dir, ("--method", "oft", "--set", "method.block_size=4096"), "method.block_size=32"),
        (tiny_bert_dir, ("--method", "prompt", "--max-length", "512"), "--max-length 492"),
        (tiny_bert_dir, ("--set", "model.base=x"), "is a whole model"),
        (tiny_bert_dir, ("--method", "adapter", "--set", "method.quantize=nf4"), "not for method adapter"),
        (tiny_bert_dir, ("--method", "lora", "--merge", "--set", "method.quantize=nf4"), "with --merge"),
        (tiny_bert_dir, ("--method", "lora", "--set", "method.quantize=nf4"), "needs a GPU"),
    ):
        assert said in finetune(tmp_path, model, reviews_dir, *more, code=2).stderr, (more, said)
