"""Settings of the ways to adapt a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftcli.recipe.bounds import bounded as _key


@dataclass(frozen=True, kw_only=True)
class MethodRecipe:
    """Which weights are adapted, and how."""

    name: str = "full"
    """How weights are adapted: all (full), some (head, head-then-full, bitfit, ln), or small parts added to a frozen
    base: adapter, lora, adalora, ia3, vera, oft, prefix, prompt, p-tuning."""
    head_share: float = _key(0.2, above=0, below=1)
    """head-then-full: share of the steps in which the head alone is trained."""
    targets: str | None = None
    """Modules to add to: all, attention, roles (query, key, value, attention_out, ffn_in, ffn_out) or endings of names;
    by default what the method's paper takes, all for lora, adalora, vera and oft."""
    rank: int | None = _key(None, at_least=1)
    """lora: rank of each update (8); adalora: mean rank at the end (8); vera: rank of the fixed matrices (256)."""
    alpha: float | None = _key(None, above=0)
    """lora, adalora: scale of the updates, divided by the rank in lora; by default twice the rank."""
    dropout: float = _key(0.0, at_least=0, below=1)
    """lora, adalora, vera: share of the updates' inputs dropped while training."""
    rslora: bool = False
    """lora: divide the scale by the root of the rank, which keeps high ranks learning (rsLoRA)."""
    dora: bool = False
    """lora: learn magnitudes apart from directions (DoRA)."""
    pissa: bool = False
    """lora: start from the main singular vectors of the weights (PiSSA); saved as a lora of twice the rank."""
    init_rank: int | None = _key(None, at_least=1)
    """adalora: rank of each update at the start; by default half as much again as rank."""
    warmup_share: float = _key(0.1, at_least=0, below=1)
    """adalora: share of the steps before ranks are pruned."""
    final_share: float = _key(0.4, above=0, below=1)
    """adalora: share of the steps, at the end, with the ranks as they came out."""
    orthogonality: float = _key(0.5, at_least=0)
    """adalora: weight of the penalty that keeps the vectors of an update orthogonal."""
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """adapter: behind attention and feed-forward networks, with norms trained; or behind the latter alone."""
    bottleneck: int | None = _key(None, at_least=1)
    """adapter: inner size; by default an eighth of the model's width."""
    virtual_tokens: int = _key(20, at_least=1)
    """prefix, prompt, p-tuning: learnt tokens before each text."""
    projection: bool = False
    """prefix: learn through a small network, as its paper does."""
    block_size: int = _key(32, at_least=2)
    """oft: size of the blocks that are rotated."""
    quantize: Literal["none", "int8", "nf4"] = "none"
    """lora, adalora, ia3, vera, oft: the frozen base in few bits (nf4 makes it QLoRA); on GPUs, with bitsandbytes."""
    merge: bool = False
    """Write the model with what was learnt put into the base's weights, where the method can; the parts go beside."""
