"""A vocabulary without the tokens that some texts do not use, and a model without their embeddings.

Texts that made the choice are cut as before: what they use stays, and so does what it is merged from. Any other text
still can be written, in smaller pieces: single characters (or bytes) stay too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from ftcli.errors import UsageError


def trim_tokenizer(tokenizer: Any, used: set[int], name: str) -> list[int]:
    """Drop all other tokens, in place, special ones and single characters aside; the old ids that are left, in order.

    UsageError for a tokenizer whose pieces cannot be told apart.
    """
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    model = core["model"]
    listed = model["vocab"]
    vocab: dict[str, int] = (
        {piece: i for i, (piece, _) in enumerate(listed)} if isinstance(listed, list) else dict(listed)
    )
    added = {entry["content"]: entry["id"] for entry in core["added_tokens"]}
    kept = {*used, *added.values(), *tokenizer.all_special_ids}
    if model["type"] == "BPE":
        kept |= _merged_from(model, vocab, kept)
    elif model["type"] in ("WordPiece", "Unigram"):
        prefix = model.get("continuing_subword_prefix") or "\0"
        kept |= {i for piece, i in vocab.items() if len(piece.removeprefix(prefix)) == 1 or _is_byte(piece)}
        kept |= {vocab[token] for token in (model.get("unk_token"),) if token in vocab}
        kept |= {model["unk_id"]} if model.get("unk_id") is not None else set()
    else:
        raise UsageError(f"student.trim_vocabulary: {name} has a tokenizer of another kind ({model['type']})")
    order = sorted(kept)
    new = {old: at for at, old in enumerate(order)}
    if isinstance(listed, list):
        model["vocab"] = [entry for i, entry in enumerate(listed) if i in new]
        model["unk_id"] = new.get(model.get("unk_id"))
    else:
        model["vocab"] = {piece: new[i] for piece, i in vocab.items() if i in new}
    if model["type"] == "BPE":
        model["merges"] = [
            m for m in model["merges"] if all(p in model["vocab"] for p in (*_pair(m), "".join(_pair(m))))
        ]
    for entry in core["added_tokens"]:
        entry["id"] = new[entry["id"]]
    _renumber(core.get("post_processor"), new)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(core))
    return order


def _merged_from(model: Any, vocab: dict[str, int], kept: set[int]) -> set[int]:
    """What the kept tokens are merged from, down to single characters, all of which stay."""
    parts: dict[str, set[str]] = {}
    for merge in model["merges"]:
        one, other = _pair(merge)
        parts.setdefault(one + other, set()).update((one, other))
    names = {i: piece for piece, i in vocab.items()}
    found = {i for piece, i in vocab.items() if piece not in parts}
    waiting = [names[i] for i in kept if i in names]
    while waiting:
        piece = waiting.pop()
        for part in parts.get(piece, ()):
            if part in vocab and vocab[part] not in found:
                found.add(vocab[part])
                waiting.append(part)
    return found


def _pair(merge: Any) -> tuple[str, str]:
    one, other = merge.split(" ", 1) if isinstance(merge, str) else merge
    return one, other


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _renumber(part: Any, new: dict[int, int]) -> None:
    """New ids in what puts special tokens around a text."""
    if not isinstance(part, dict):
        return
    for name in ("sep", "cls"):
        if isinstance(part.get(name), list):
            part[name] = [part[name][0], new[part[name][1]]]
    special = part.get("special_tokens")
    for entry in special.values() if isinstance(special, dict) else ():
        entry["ids"] = [new[i] for i in entry["ids"]]
    for inner in part.get("processors") or ():
        _renumber(inner, new)


@torch.no_grad()
def trim_embeddings(model: nn.Module, kept: Sequence[int]) -> None:
    """Keep these rows of the embeddings, and the configuration's ids of special tokens pointing at them."""
    body: Any = model
    config, table = body.config, body.get_input_embeddings()
    if body.get_output_embeddings() is not None:
        raise UsageError("student.trim_vocabulary is for classifiers: a language model needs its whole vocabulary")
    new = {old: at for at, old in enumerate(kept)}
    table.weight = nn.Parameter(table.weight[torch.tensor(list(kept))].clone())
    table.num_embeddings = len(kept)
    if table.padding_idx is not None:
        table.padding_idx = new.get(table.padding_idx)
    config.vocab_size = len(kept)
    for role in ("pad", "bos", "eos", "cls", "sep"):
        old = getattr(config, f"{role}_token_id", None)
        if isinstance(old, int):
            setattr(config, f"{role}_token_id", new.get(old))
