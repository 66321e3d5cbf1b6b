"""Tokens added to a pretrained model's vocabulary, each beginning as the mean of the pieces it was split into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from ftcli.errors import UsageError


def read_tokens(value: str) -> list[str]:
    """The tokens of `model.add_tokens`: a file's lines where there is a file of that name, else separated by commas."""
    file = Path(value).expanduser()
    try:
        found = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else value.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"model.add_tokens: {file} cannot be read as text ({error})") from None
    tokens = list(dict.fromkeys(filter(None, map(str.strip, found))))
    if not tokens:
        raise UsageError(
            f"model.add_tokens: no token in '{value}'", hint="tokens separated by commas, or a file of them"
        )
    return tokens


def add_tokens(model: nn.Module, tokenizer: Any, tokens: Sequence[str]) -> int:
    """Add `tokens` to both, whole words each; returns how many were not one piece already. See `extend` and `grow`."""
    added = extend(tokenizer, tokens)
    grow(model, added)
    return len(added)


def extend(tokenizer: Any, tokens: Sequence[str]) -> dict[int, list[int]]:
    """Add `tokens` to the tokenizer; new id -> the ids of the pieces that the token was split into before.

    Tokens that are one piece already stay as they are. Pieces that are the unknown token count only where there are no
    others. UsageError for a token that is nothing to the tokenizer.
    """
    pieces: dict[str, list[int]] = {}
    for token in tokens:
        # In a text most words follow a space, which byte-level vocabularies keep with the word.
        alone, after_space = tokenizer([token, f" {token}"], add_special_tokens=False)["input_ids"]
        if not alone:
            raise UsageError(f"model.add_tokens: {token!r} holds nothing that the tokenizer keeps")
        if not any(len(ids) == 1 and ids[0] != tokenizer.unk_token_id for ids in (alone, after_space)):
            pieces[token] = [i for i in alone if i != tokenizer.unk_token_id] or alone
    tokenizer.add_tokens([AddedToken(token, single_word=True, normalized=True) for token in pieces])
    return {tokenizer.convert_tokens_to_ids(token): ids for token, ids in pieces.items()}


@torch.no_grad()
def grow(model: nn.Module, added: Mapping[int, Sequence[int]]) -> None:
    """Give the ids `extend` added rows of their own, in the input embedding and in the output layer and its bias.

    Each begins as the mean of its pieces' rows (Gee et al. 2022, "Fast Vocabulary Transfer for Language Model
    Compression", arXiv:2402.09977), so that the model reads the token as much like before as one row can.
    """
    body: Any = model
    size = max(added, default=-1) + 1
    if size > len(body.get_input_embeddings().weight):  # there may be rows to spare
        body.resize_token_embeddings(size, mean_resizing=False)
        _part_bias(body)
    for rows in _rows(body):
        before = rows.clone()
        for place, ids in added.items():
            rows[place] = before[list(ids)].mean(0)


def _rows(model: Any) -> list[Tensor]:
    """What has an entry for each token: the input embedding, and an output layer of its own, and its bias."""
    head = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight]
    if head is not None:
        found += [head.weight, *([head.bias] if getattr(head, "bias", None) is not None else [])]
    return [tensor.data for tensor in {id(tensor): tensor for tensor in found}.values()]


def _part_bias(model: Any) -> None:
    """Undo that resizing an untied BERT makes two biases one: of two names for it a checkpoint keeps one, and loading,
    which ties nothing in such a model, finds the other missing."""
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is None or model.config.tie_word_embeddings:
        return
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter is bias and module is not model.get_output_embeddings():
                setattr(module, name, nn.Parameter(bias.detach().clone()))
