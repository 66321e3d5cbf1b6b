"""A model from scratch that reads with the tokenizer of another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.tiny import run_cli


def pretrain(tmp_path: Path, reviews_dir: Path, *more: str, out: str = "run") -> tuple[int, str]:
    done = run_cli(
        "pretrain", "--data", str(reviews_dir), "--text-column", "text", "--max-steps", "2", "--max-length", "64",
        *more, "--out", str(tmp_path / out), cwd=tmp_path,
    )  # fmt: skip
    return done.code, done.stderr


def test_its_vocabulary_is_taken_as_it_is(reviews_dir: Path, tiny_bert_dir: Path, tmp_path: Path) -> None:
    taken = ("--model", "preset:bert-tiny", "--set", f"model.tokenizer.name={tiny_bert_dir}")
    code, said = pretrain(tmp_path, reviews_dir, *taken)
    assert code == 0, said
    own, other = (AutoTokenizer.from_pretrained(place) for place in (tmp_path / "run" / "model", tiny_bert_dir))
    assert own.get_vocab() == other.get_vocab()
    assert f"tokenizer of {tiny_bert_dir}: {len(other):,} entries" in said
    again = run_cli("pretrain", str(tmp_path / "run" / "recipe.yaml"), "--out", str(tmp_path / "again"), cwd=tmp_path)
    assert again.code == 0, again.stderr
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert files[0] == files[1]


def test_inputs_are_those_of_the_model(reviews_dir: Path, tiny_bert_dir: Path, tmp_path: Path) -> None:
    """A ModernBERT takes no segments, and the tokenizer of a BERT tells some."""
    code, said = pretrain(
        tmp_path, reviews_dir, "--model", "preset:modernbert-tiny", "--set", f"model.tokenizer.name={tiny_bert_dir}"
    )
    assert code == 0, said
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(tmp_path / "run" / "model")("a film")


def test_one_that_has_its_own_keeps_it(reviews_dir: Path, tiny_bert_dir: Path, tmp_path: Path) -> None:
    code, said = pretrain(
        tmp_path, reviews_dir, "--model", str(tiny_bert_dir), "--set", "model.tokenizer.name=builtin:bert-tiny-en"
    )
    assert code == 0, said
    assert "the tokenizer of builtin:bert-tiny-en is not taken" in said


@pytest.mark.parametrize(
    ("model", "keys", "said"),
    [
        ("preset:gpt2-tiny", ("name=builtin:bert-tiny-en",), "has nothing for <|endoftext|> of preset:gpt2-tiny"),
        ("preset:t5-tiny", ("name=builtin:bert-tiny-en",), "has nothing for </s>, <extra_id_0> of preset:t5-tiny"),
        ("preset:bert-tiny", ("name=builtin:bert-tiny-en", "vocab_size=500"), "is taken as it is"),
        ("preset:bert-tiny", ("name=preset:bert-mini",), "which has no tokenizer"),
        ("preset:bert-tiny", ("name=./nowhere",), "nowhere"),
    ],
)
def test_mistakes(model: str, keys: tuple[str, ...], said: str, reviews_dir: Path, tmp_path: Path) -> None:
    settings = [word for key in keys for word in ("--set", f"model.tokenizer.{key}")]
    code, stderr = pretrain(tmp_path, reviews_dir, "--model", model, *settings)
    assert (code, said in stderr, "hint:" in stderr) == (2, True, True), stderr
