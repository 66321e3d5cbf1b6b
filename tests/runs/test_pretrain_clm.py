"""A decoder pretrained, saved, scored and asked to go on with texts, through the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import run_cli, tiny_reviews, write_jsonl

TEXTS = [row["text"] for row in tiny_reviews(40, seed=5) if len(row["text"].split()) >= 8]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has learnt some dozens of texts by heart, and their folder."""
    root = tmp_path_factory.mktemp(request.param)
    data = root / "data"
    data.mkdir()
    write_jsonl([{"text": text} for text in TEXTS], data / "train.jsonl")
    write_jsonl([{"text": row["text"]} for row in tiny_reviews(8, seed=9)], data / "validation.jsonl")
    done = run_cli(
        "pretrain", "--objective", "clm", "--model", f"preset:{request.param}-tiny", "--data", str(data),
        "--out", str(root / "run"), "--epochs", "60", "--batch-size", "8", "--lr", "3e-3", "--max-length", "64",
        "--set", "regularize.dropout=0", "--set", "eval.every=1000", "--set", "generation.max_new_tokens=32",
        cwd=root,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return root / "run", data


def evaluated(model: Path, data: Path, split: str) -> dict[str, Any]:
    done = run_cli("evaluate", str(model), "--data", str(data), "--split", split, "--json", "-q", cwd=data)
    assert done.code == 0, done.stderr
    metrics: dict[str, Any] = json.loads(done.stdout)["metrics"]
    return metrics


def test_some_dozens_of_texts_are_learnt_by_heart(learnt: tuple[Path, Path]) -> None:
    run, data = learnt
    report = json.loads((run / "report.json").read_text())
    assert report["command"] == "pretrain"
    seen, held_out = evaluated(run, data, "train"), evaluated(run, data, "validation")
    assert seen["loss"] < 0.5 * report["metrics"]["unigram_loss"]
    assert seen["perplexity"] == pytest.approx(math.exp(seen["loss"]), rel=1e-5)
    assert seen["accuracy"] > 0.7
    for name in ("loss", "perplexity", "bits_per_byte", "accuracy"):
        assert held_out[name] == pytest.approx(report["metrics"][name], rel=1e-5)


def test_texts_are_gone_on_with_from_memory(learnt: tuple[Path, Path]) -> None:
    run, _ = learnt
    prompts = [" ".join(text.split()[:5]) for text in TEXTS]
    done = run_cli("predict", str(run), stdin="".join(f"{prompt}\n" for prompt in prompts))
    assert done.code == 0, done.stderr
    answers = [json.loads(line)["prediction"] for line in done.stdout.splitlines()]
    right = [
        f"{prompt}{answer}".split() == text.split()
        for prompt, answer, text in zip(prompts, answers, TEXTS, strict=True)
    ]
    assert sum(right) >= 0.8 * len(TEXTS)
    # The library alone, on what was saved, says the same.
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.float32).eval()
    begin = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    ids = torch.tensor([[begin, *tokenizer(prompts[0], add_special_tokens=False)["input_ids"]]])
    whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False)
    assert tokenizer.decode(whole[0], skip_special_tokens=True).split() == f"{prompts[0]}{answers[0]}".split()


def test_a_saved_decoder_is_known_for_one(learnt: tuple[Path, Path]) -> None:
    run, data = learnt
    alone, of_run = evaluated(run / "model", data, "validation"), evaluated(run, data, "validation")
    assert alone["perplexity"] == pytest.approx(of_run["perplexity"], rel=1e-5)
    done = run_cli("predict", str(run / "model"), stdin=f"{TEXTS[0]}\n")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["prediction"] == ""


def test_a_pretrained_run_is_scored_by_the_task_asked_for(learnt: tuple[Path, Path], tmp_path: Path) -> None:
    """And not by what it was pretrained by; where its texts are cut, the length is said."""
    run, _ = learnt
    turns = [{"instruction": "say it " * 300, "output": text} for text in TEXTS[:4]]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turns), encoding="utf-8")
    for model in (run, run / "model"):
        done = run_cli(
            "evaluate",
            str(model),
            "--task",
            "causal-lm",
            "--data",
            str(tmp_path / "test.jsonl"),
            "--json",
            cwd=tmp_path,
        )
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)["task"] == "causal-lm"
        assert "are longer than" in done.stderr
        assert "None tokens" not in done.stderr


def test_draws_are_asked_for_by_settings(learnt: tuple[Path, Path]) -> None:
    run, _ = learnt
    drawn = ("--set", "generation.do_sample=true", "--set", "generation.temperature=5")
    found = [run_cli("predict", str(run), *settings, stdin="the film\n").stdout for settings in (drawn, drawn, ())]
    assert found[0] == found[1] != found[2]
    refused = run_cli("predict", str(run), "--set", "generation.top_p=0.9", stdin="the film\n")
    assert refused.code == 2
    assert "do_sample=true" in refused.stderr


def test_pretraining_goes_on_from_a_run_and_without_padding_as_with_it(
    learnt: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = learnt
    curves = []
    for unpadded in ("true", "false"):
        out = tmp_path / unpadded
        done = run_cli(
            "pretrain", "--model", str(run), "--data", str(data), "--out", str(out), "--max-steps", "3", "--lr", "1e-4",
            "--set", f"train.unpadded={unpadded}", "--set", "regularize.dropout=0", "--set", "log.every=1",
            "--set", "pretrain.z_loss=1e-4", "--precision", "fp32", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if line["split"] == "train"])
    assert len(curves[0]) == 3
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert max(curves[0]) < 2.5, "it goes on from what it knew"


def test_a_dry_run_counts_examples(tmp_path: Path) -> None:
    data = write_jsonl([{"text": " ".join(TEXTS[:8])}, *({"text": text} for text in TEXTS[:20])], tmp_path / "a.jsonl")
    done = run_cli(
        "pretrain", "--model", "preset:gpt2-tiny", "--data", str(data), "--max-length", "32", "--batch-size", "2",
        "--dry-run", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["task"] == "clm", "what a GPT-2 is made for"
    assert facts["steps"] * 2 > facts["rows"]["train"], "a long text is several examples"
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize(("model", "hint"), [("preset:bert-tiny", "--objective mlm")])
def test_encoders_are_refused(model: str, hint: str, tmp_path: Path) -> None:
    done = run_cli(
        "pretrain", "--objective", "clm", "--model", model, "--data", "builtin:reviews", "--limit", "20",
        "--out", str(tmp_path / "run"), cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    assert hint in done.stderr
