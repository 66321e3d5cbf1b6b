"""Where the layers of each architecture have their projections: what a method that adds to them has to find."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from ftcli.errors import UsageError

ROLES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
"""Projections of a transformer layer: into attention, out of it, into the feed-forward network and out of it."""
ATTENTION = ("query", "key", "value", "attention_out")

_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}
_LLAMA = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_out": "self_attn.o_proj",
    "ffn_in": "mlp.gate_proj mlp.up_proj",
    "ffn_out": "mlp.down_proj",
}
_BART = {
    "query": "attn.q_proj",
    "key": "attn.k_proj",
    "value": "attn.v_proj",
    "attention_out": "attn.out_proj",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
}
_WAV2VEC2 = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "attention_out": "attention.out_proj",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
}
_VIT = {  # as transformers names them now, and as it did before
    "query": "attention.q_proj attention.attention.query",
    "key": "attention.k_proj attention.attention.key",
    "value": "attention.v_proj attention.attention.value",
    "attention_out": "attention.o_proj attention.output.dense",
    "ffn_in": "mlp.fc1 intermediate.dense",
    "ffn_out": "mlp.fc2 output.dense",
}
_DETR = {
    "query": "attn.q_proj",
    "key": "attn.k_proj",
    "value": "attn.v_proj",
    "attention_out": "attn.o_proj",
    "ffn_in": "mlp.fc1",
    "ffn_out": "mlp.fc2",
}
_T5 = {
    "query": "Attention.q",
    "key": "Attention.k",
    "value": "Attention.v",
    "attention_out": "Attention.o",
    "ffn_in": "DenseReluDense.wi DenseReluDense.wi_0 DenseReluDense.wi_1",
    "ffn_out": "DenseReluDense.wo",
}

FAMILIES: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "electra", "layoutlm", "big_bird",
         "longformer", "convbert", "ernie", "nezha", "roformer", "data2vec-text", "roberta-prelayernorm"), _BERT
    ),
    "deberta": {**_BERT, "query": "attention.self.in_proj", "key": "", "value": ""},
    "deberta-v2": {
        **_BERT,
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
    },
    "distilbert": {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_out": "attention.out_lin",
        "ffn_in": "ffn.lin1",
        "ffn_out": "ffn.lin2",
    },
    "albert": {
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "attention_out": "attention.dense",
        "ffn_in": "ffn",
        "ffn_out": "ffn_output",
    },
    "mpnet": {
        **_BERT,
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "attention_out": "attention.attn.o",
    },
    "modernbert": {
        "query": "attn.Wqkv",  # one projection for all three
        "attention_out": "attn.Wo",
        "ffn_in": "mlp.Wi",
        "ffn_out": "mlp.Wo",
    },
    "gpt2": {
        "query": "attn.c_attn",  # one projection for all three
        "attention_out": "attn.c_proj",
        "ffn_in": "mlp.c_fc",
        "ffn_out": "mlp.c_proj",
    },
    "gpt_neox": {
        "query": "attention.query_key_value",
        "attention_out": "attention.dense",
        "ffn_in": "mlp.dense_h_to_4h",
        "ffn_out": "mlp.dense_4h_to_h",
    },
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "olmo2", "smollm3"), _LLAMA),
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5"), _T5),
    **dict.fromkeys(("bart", "mbart", "marian", "pegasus", "whisper", "opt", "m2m_100", "blenderbot"), _BART),
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm", "unispeech"), _WAV2VEC2),
    "detr": _DETR,
    **dict.fromkeys(("vit", "deit", "vit_mae", "yolos", "audio-spectrogram-transformer"), _VIT),
}  # fmt: skip
"""Model type -> role -> how names of its modules end, several separated by spaces. The longest ending that fits
counts: ``attention.output.dense`` is no ``output.dense``."""

_IN_A_LAYER = re.compile(r"\.\d+\.")


def projections(model: Any) -> dict[str, str]:
    """Names of the model's projections inside its layers -> the role of each.

    UsageError for an architecture that the table does not have.
    """
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise UsageError(
            f"where {kind} models keep their projections is not in the table of target modules",
            hint="--set 'method.targets=...' names modules by the endings of their names, e.g. q_proj,v_proj",
        )
    endings = {ending: role for role, given in FAMILIES[kind].items() for ending in given.split()}
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        if _IN_A_LAYER.search(name) is None or not is_projection(module):
            continue
        fitting = [ending for ending in endings if _ends(name, ending)]
        if fitting:
            found[name] = endings[max(fitting, key=len)]
    return found


def chosen(model: nn.Module, asked: str | None, usual: Collection[str]) -> list[str]:
    """Full names of the modules to adapt: those of the roles in `usual`, or as `method.targets` asks for them
    (``all``, ``attention``, roles, or endings of names). UsageError where nothing goes by such a name."""
    if asked is None:
        roles: Collection[str] = usual
    elif asked.strip() == "all":
        roles = ROLES
    elif asked.strip() == "attention":
        roles = ATTENTION
    else:
        words = [word.strip() for word in asked.split(",") if word.strip()]
        if words and all(word in ROLES for word in words):
            roles = words
        else:
            return _by_ending(model, words)
    return [name for name, role in projections(model).items() if role in roles]


def _by_ending(model: nn.Module, words: list[str]) -> list[str]:
    modules = [name for name, module in model.named_modules() if is_projection(module)]
    found = {word: [name for name in modules if _ends(name, word)] for word in words}
    missing = [word for word, names in found.items() if not names]
    if missing or not words:
        endings = sorted({name.rsplit(".", 1)[-1] for name in modules})
        raise UsageError(
            f"method.targets: no linear module's name ends in '{(missing or [''])[0]}'; expected all, attention, "
            f"{', '.join(ROLES)}, or endings of names",
            hint=f"this model has {', '.join(endings[:12])}",
        )
    return sorted({name for names in found.values() for name in names})


def _ends(name: str, ending: str) -> bool:
    """True for whole parts of a dotted name; an ending in capitals may follow a word (SelfAttention.q)."""
    if not name.endswith(ending):
        return False
    before = name[: -len(ending)]
    return not before or before.endswith((".", "_")) or ending[0].isupper()


def is_projection(module: nn.Module) -> bool:
    """True for a matrix product: a linear layer, or GPT-2's, which keeps its matrix the other way round."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
