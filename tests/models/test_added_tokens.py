"""Tokens added to a vocabulary: where their rows come from, and that they are there after saving and reloading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from ftcli.errors import UsageError
from ftcli.models.added_tokens import add_tokens, read_tokens
from tests.tiny import tiny_model

ADDED = ["filmplot", "warmhotel", "thefilm"]


@pytest.fixture(scope="module", params=["bert", "distilbert", "modernbert", "electra", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, tiny_model(request.param, tmp_path_factory.mktemp("model") / request.param)


def load(kind: str, path: Path, tied: bool) -> tuple[Any, Any]:
    head = AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM
    torch.manual_seed(3)
    model = head.from_pretrained(path, tie_word_embeddings=tied)
    bias = model.get_output_embeddings().bias
    if bias is not None:
        torch.nn.init.normal_(bias)
    return model.eval(), AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_are_means_of_the_pieces(folder: tuple[str, Path], tied: bool, tmp_path: Path) -> None:
    model, tokenizer = load(*folder, tied)
    size = len(tokenizer)
    pieces = {t: tokenizer(t, add_special_tokens=False)["input_ids"] for t in ADDED}
    assert all(len(ids) > 1 for ids in pieces.values())
    before = [t.detach().clone() for t in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)]
    assert add_tokens(model, tokenizer, [*ADDED, "film"]) == len(ADDED), "film is one already, alone or with its space"
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert (after[0] is after[1]) == tied
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:size], old[:size])
        for token, ids in pieces.items():
            known = [i for i in ids if i != tokenizer.unk_token_id] or ids
            torch.testing.assert_close(new[tokenizer.convert_tokens_to_ids(token)], old[known].mean(0))
    bias = model.get_output_embeddings().bias
    if bias is not None:
        assert len(bias) == len(after[1])
        for token, ids in pieces.items():
            known = [i for i in ids if i != tokenizer.unk_token_id] or ids
            torch.testing.assert_close(bias[tokenizer.convert_tokens_to_ids(token)], bias[known].mean())
    assert model.config.vocab_size == len(tokenizer)
    reloaded(folder[0], model, tokenizer, tmp_path)


def reloaded(kind: str, model: Any, tokenizer: Any, path: Path) -> None:
    """Saved and loaded again, it reads the new tokens and gives the same answers."""
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    again, words = type(model).from_pretrained(path), AutoTokenizer.from_pretrained(path)
    text = "a filmplot, and warmhotel."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert words(text, return_tensors="pt")["input_ids"].tolist() == ids.tolist()
    new = {tokenizer.convert_tokens_to_ids(t) for t in ("filmplot", "warmhotel")}
    assert new <= set(ids[0].tolist())
    assert max(ids[0].tolist()) < len(again.get_input_embeddings().weight)
    with torch.no_grad():
        one, two = model(input_ids=ids).logits, again.eval()(input_ids=ids).logits
    assert one.shape[-1] == len(words)
    torch.testing.assert_close(one, two)


def test_only_whole_words_are_taken(tmp_path: Path) -> None:
    path = tiny_model("bert", tmp_path / "bert")
    model, tokenizer = load("bert", path, True)
    add_tokens(model, tokenizer, ["Filmplot"])
    new = tokenizer.convert_tokens_to_ids("Filmplot")
    taken = {
        text: new in tokenizer(text)["input_ids"] for text in ("a filmplot", "(FILMPLOT)", "filmplots", "afilmplot")
    }
    assert taken == {"a filmplot": True, "(FILMPLOT)": True, "filmplots": False, "afilmplot": False}


def test_rows_to_spare_are_used_and_kept(tmp_path: Path) -> None:
    path = tiny_model("bert", tmp_path / "bert")
    model, tokenizer = load("bert", path, True)
    model.resize_token_embeddings(len(tokenizer) + 40, mean_resizing=False)
    rows = len(tokenizer) + 40
    assert add_tokens(model, tokenizer, ADDED) == 3
    assert len(model.get_input_embeddings().weight) == rows
    assert add_tokens(model, tokenizer, ADDED) == 0


def test_lists_and_files(tmp_path: Path) -> None:
    assert read_tokens(" alpha, beta,,alpha ") == ["alpha", "beta"]
    file = tmp_path / "tokens.txt"
    file.write_text("\ufeffalpha\n\n  beta, too \nalpha\n", encoding="utf-8")
    assert read_tokens(str(file)) == ["alpha", "beta, too"]
    with pytest.raises(UsageError, match="no token"):
        read_tokens(" , ")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_tokens(str(file))
    model, tokenizer = load("bert", tiny_model("bert", tmp_path / "bert"), True)
    with pytest.raises(UsageError, match="nothing that the tokenizer keeps"):
        add_tokens(model, tokenizer, ["\u200b"])
