"""Special tokens of the architectures: what they are called, which ids they take, and where they go around a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ftcli.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Family:
    """What architectures of a kind expect of their tokenizer."""

    kind: str
    """The vocabulary the published models of this family have, as in `model.tokenizer.kind`."""
    roles: Mapping[str, str]
    """Role -> special token, in the order of their ids from 0 on; a token may have several roles."""
    single: str
    """Template of one text ($A), as `tokenizers` writes it."""
    pair: str
    """Template of two; ``:1`` gives a part the segment id 1."""
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    """What the model takes."""
    sentinels: tuple[str, ...] = ()
    """Stand for spans left out, from the end of the vocabulary downwards."""

    def tokens(self, *, unknown: bool) -> dict[str, str]:
        """Role -> special token; with `unknown` there is one for what the vocabulary cannot write."""
        return {**self.roles, "unk_token": self.roles.get("unk_token", "<unk>")} if unknown else dict(self.roles)


BERT = Family(
    "wordpiece",
    {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    inputs=("input_ids", "token_type_ids", "attention_mask"),
)
DISTILBERT = replace(BERT, inputs=Family.inputs)
MODERNBERT = replace(DISTILBERT, kind="byte-bpe", pair="[CLS] $A [SEP] $B [SEP]")
ROBERTA = Family(
    "byte-bpe",
    {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>",
     "unk_token": "<unk>", "mask_token": "<mask>"},
    single="<s> $A </s>",
    pair="<s> $A </s> </s> $B </s>",
)  # fmt: skip
GPT2 = Family(
    "byte-bpe",
    {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
    single="$A",
    pair="$A $B",
)
LLAMA = Family(
    "byte-bpe",
    {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    single="<s> $A",
    pair="<s> $A <s> $B",
)
T5 = Family(
    "unigram",
    {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    single="$A </s>",
    pair="$A </s> $B </s>",
    sentinels=tuple(f"<extra_id_{i}>" for i in range(100)),
)

FAMILIES: Mapping[str, Family] = {
    "bert": BERT, "electra": BERT, "albert": BERT, "distilbert": DISTILBERT, "modernbert": MODERNBERT,
    "roberta": ROBERTA, "xlm-roberta": ROBERTA, "camembert": ROBERTA, "bart": ROBERTA,
    "gpt2": GPT2, "gpt_neo": GPT2, "gpt_neox": GPT2,
    "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA,
    "t5": T5, "mt5": T5, "umt5": T5, "longt5": T5,
}  # fmt: skip
"""By the `model_type` of a configuration."""


def family(model_type: str) -> Family:
    """The family of a `model_type`; UsageError where it has none here."""
    if model_type not in FAMILIES:
        raise UsageError(
            f"no tokenizer can be trained for {model_type} models: what they expect of one is not known here",
            hint=did_you_mean(model_type, FAMILIES),
        )
    return FAMILIES[model_type]
