"""Settings of `ftcli distill`: its teachers, its student, and what they are to have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftcli.recipe.bounds import bounded as _key


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """Who is learnt from, and how its answers are got."""

    name: str | None = None
    """A run folder, a model folder or a Hub name; several as A=WEIGHT,B=WEIGHT; self for the student's own average."""
    ema: float = _key(0.999, at_least=0, below=1)
    """self: share of the average that each step keeps of itself, smaller in the first steps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the teacher; auto: bf16 or fp16 on GPUs that have it, fp32 on CPUs."""
    batch_size: int | None = _key(None, at_least=1)
    """Rows per forward pass of the teacher; by default as many as make a good number of tokens."""
    max_length: int | None = _key(None, at_least=3)
    """Tokens per text of the teacher; by default what it was trained with."""
    cache: str | None = None
    """Folder that keeps the teacher's answers for other students; null for the user's cache folder, none to ask it at
    every step."""
    cache_gib: float = _key(4.0, above=0)
    """Answers that would take more than so many GiB are asked for at every step instead."""


@dataclass(frozen=True, kw_only=True)
class StudentRecipe:
    """How the student is made of the model it starts from (by default the teacher)."""

    layers: int | list[int] | None = None
    """Layers it keeps: their numbers from 0, or how many, evenly spread with the first and the last among them."""
    heads: int | None = _key(None, at_least=1)
    """Attention heads it keeps, those with the largest weights; where an architecture ties its width to them, it
    becomes narrower in proportion."""
    ffn: float | None = _key(None, above=0, at_most=1)
    """Share of the feed-forward width it keeps, the units with the largest weights."""
    trim_vocabulary: bool = False
    """Drop tokens that do not occur in the training texts, and their embeddings."""
    ladder: list[str] | None = None
    """Students to try one after the other under distill.until, e.g. [preset:bert-tiny, layers=1 ffn=0.5, layers=3]."""


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """What the student is to have in common with its teacher. Weights and temperature may change in a straight line
    over the run: "1 -> 0", or "1 -> 0 @ 0.5" for its first half."""

    labels: float | str = _key(0.5, at_least=0)
    """Weight of the task's own loss against the answers (labels, numbers, texts), where rows have them."""
    soft: float | str = _key(1.0, at_least=0)
    """Weight of the divergence from the teacher's probabilities (Hinton), of numbers the squared difference."""
    temperature: float | str = _key(2.0, above=0)
    """What logits are divided by before they are compared: more shows more of what the teacher holds less likely."""
    divergence: Literal["forward", "reverse", "js"] = "forward"
    """KL from the teacher's probabilities to the student's, the other way round, or Jensen-Shannon."""
    hidden: float | str = _key(0.0, at_least=0)
    """Weight of the difference of hidden states, projected where widths differ."""
    hidden_style: Literal["tinybert", "patient"] = "tinybert"
    """tinybert: squared difference for all tokens, embeddings too; patient: first tokens brought to length 1 (PKD)."""
    attention: float | str = _key(0.0, at_least=0)
    """Weight of the squared difference of attention scores (TinyBERT)."""
    relations: float | str = _key(0.0, at_least=0)
    """Weight of the divergence of relations between tokens; widths and numbers of heads may differ (MiniLM)."""
    relations_of: Literal["value", "minilm", "minilmv2"] = "minilm"
    """value: value relations; minilm: attention too; minilmv2: queries, keys and values, each among themselves."""
    relations_layer: int | None = _key(None, at_least=0)
    """Layer of the teacher whose relations the student's last layer learns; by default its last."""
    relation_heads: int | None = _key(None, at_least=1)
    """Heads that relations are compared by; by default as many as fit both models."""
    cosine: float | str = _key(0.0, at_least=0)
    """Weight of 1 - cosine of the last hidden states of all tokens (DistilBERT)."""
    contrastive: float | str = _key(0.0, at_least=0)
    """Weight of telling a row's own teacher embedding from those of the batch (CRD, InfoNCE)."""
    contrastive_temperature: float = _key(0.1, above=0)
    """What the similarities of embeddings are divided by there."""
    relational_distance: float | str = _key(0.0, at_least=0)
    """Weight of the difference of distances between rows (RKD)."""
    relational_angle: float | str = _key(0.0, at_least=0)
    """Weight of the difference of angles between rows (RKD)."""
    layer_map: Literal["skip", "last"] | list[int] = "skip"
    """Teacher layers that the student's layers learn from: evenly spread, the last ones, or their numbers from 0."""
    unlabelled: str | None = None
    """Further rows, whose labels are not looked at: the training split of a Hub name, a file or a folder."""
    augment: int = _key(0, at_least=0)
    """Changed copies of each text to learn the teacher's answers on."""
    augment_how: str = "mask,delete,swap,sample"
    """How copies are changed, one way each, drawn by seed and row."""
    augment_rate: float = _key(0.15, above=0, below=1)
    """Share of the words that a copy changes; sample keeps a run of the others."""
    sequences: bool = False
    """Learn from what the teacher writes, as generation.* says (Kim & Rush): seq2seq in the place of the targets, clm
    after the first half of each text."""
    baseline: bool = False
    """Also train the student without its teacher, to compare with (into the run folder's baseline/)."""
    until: str | None = None
    """What is enough, by the validation split: "f1_macro >= teacher - 0.01 and cpu_ms_per_row <= 2"; stops at the
    first student of student.ladder that has it."""
