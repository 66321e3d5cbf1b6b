"""Settings of single tasks, in the manner of `ftcli.recipe.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftcli.recipe.bounds import bounded as _key


@dataclass(frozen=True, kw_only=True)
class LongRecipe:
    """What becomes of texts longer than the model takes."""

    name: Literal["cut", "windows"] = "cut"
    """What becomes of texts longer than train.max_length: they are cut there, or read whole in windows that overlap (of
    a pair the longer text, each window beside the whole other one)."""
    overlap: float = _key(0.25, at_least=0, at_most=0.9)
    """Share of a window that the next one reads again."""
    pooling: Literal["mean", "max"] = "mean"
    """How the outputs of a text's windows become one: their mean, or the largest of each."""


@dataclass(frozen=True, kw_only=True)
class MultiLabelRecipe:
    """Any number of labels per text."""

    thresholds: Literal["tuned", "half"] = "tuned"
    """From which probability on a label is given: tuned for each one's F1 on the validation split, or 0.5 for all."""


@dataclass(frozen=True, kw_only=True)
class RegressionRecipe:
    """Numbers to be told of texts."""

    loss: Literal["mse", "mae", "huber"] = "mse"
    """Of the distance to the true number: its square, itself, or its square up to huber_delta and itself beyond."""
    huber_delta: float = _key(1.0, above=0)
    """Where the Huber loss turns from square to straight, in standard deviations of the training numbers."""


@dataclass(frozen=True, kw_only=True)
class AudioRecipe:
    """Sounds to be heard."""

    max_seconds: float = _key(30.0, above=0)
    """Seconds of a sound that are heard; of longer ones the rest is cut (and they are counted)."""
    augment: bool | None = None
    """Train on sounds varied at random (speed, voice, loudness, onset, hidden parts); by default from scratch only."""


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """Images to be seen."""

    randaugment: int = _key(0, at_least=0, at_most=8)
    """Random changes to each training image (turned, shifted, darker, ...), e.g. 2; 0 for none."""
    magnitude: float = _key(0.3, above=0, at_most=1)
    """How far such a change goes at most, as a share of what still makes sense."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe:
    """Boxes to be told of images."""

    threshold: float = _key(0.5, at_least=0, below=1)
    """Least score of a box that predict writes, and that precision and recall are about."""


@dataclass(frozen=True, kw_only=True)
class TagsRecipe:
    """Tags of tokens."""

    scheme: Literal["auto", "bio", "iob1", "bioes", "plain"] = "auto"
    """Marks of entities: B- where one begins (bio), only between neighbours (iob1), ends too (bioes), none (plain)."""


@dataclass(frozen=True, kw_only=True)
class QaRecipe:
    """Answers to questions, marked in a text."""

    no_answer: Literal["auto"] | bool = "auto"
    """Whether a text may hold no answer to a question; auto: where there are such questions in the training split."""
    max_answer: int = _key(30, at_least=1)
    """Tokens of an answer at most."""


@dataclass(frozen=True, kw_only=True)
class RankingRecipe:
    """Candidates to be put in order for a query."""

    kind: Literal["bi", "cross"] = "bi"
    """bi: query and candidates are read apart and compared by the angle between them, which serves large sets of
    candidates; cross: each is read together with the query, slower and often better."""
    pooling: Literal["mean", "cls"] = "mean"
    """bi: what stands for a text: the mean of its tokens' outputs, or that of its first token."""
    temperature: float = _key(0.05, above=0)
    """bi: what cosines are divided by before the softmax over candidates."""
    loss: Literal["listwise", "pointwise"] = "listwise"
    """cross: a softmax over the candidates of a query, or a yes or no for each; a bi-encoder's is listwise, over the
    candidates of all queries of a forward pass (train.batch_size)."""
    candidates: str | None = None
    """predict: a file of candidates (or other data) to be put in order for each query."""
    top: int | None = _key(None, at_least=1)
    """predict: how many of the candidates to give; by default 10 of a file, and all that come with a query."""


@dataclass(frozen=True, kw_only=True)
class Seq2SeqRecipe:
    """Texts to be written from others: translations, summaries."""

    prefix: str = ""
    """Put before each source; published T5s know their tasks by it, e.g. "translate English to German: "."""
    max_target_length: int = _key(128, at_least=2)
    """Tokens of a target, its end among them; longer ones are cut (and counted), and none longer is written."""
    label_smoothing: float = _key(0.0, at_least=0, below=1)
    """Share of each target token's probability spread over the whole vocabulary while training, e.g. 0.1."""
    metrics: Literal["bleu", "rouge", "both"] = "bleu"
    """What written texts are scored by: bleu and chrF, for translations; rouge, for summaries; or both."""
    tokenize: Literal["auto", "13a", "zh", "char", "intl"] = "auto"
    """How BLEU cuts texts into words, as sacrebleu names it; auto: 13a, but zh for Chinese and char for Japanese."""


@dataclass(frozen=True, kw_only=True)
class ChatRecipe:
    """Conversations a language model learns to take part in."""

    template: str | None = None
    """File with a chat template (Jinja); by default the tokenizer's own, or a plain one where it has none."""
    system: str | None = None
    """What every conversation without a system message begins with."""


@dataclass(frozen=True, kw_only=True)
class GenerationRecipe:
    """How a language model goes on with a text, or writes another."""

    max_new_tokens: int | None = _key(None, at_least=1)
    """Tokens written at most; 64 by default, for seq2seq its max_target_length. What goes on with a text stays within
    train.max_length, of which the text itself keeps half where it needs it."""
    do_sample: bool = False
    """Draw each token by its probability (seeded) instead of taking the likeliest."""
    temperature: float = _key(1.0, above=0)
    """Draws are bolder above 1, safer below."""
    top_p: float = _key(1.0, above=0, at_most=1)
    """Draw only from the likeliest tokens that have this much of the probability together."""
    top_k: int = _key(50, at_least=0)
    """Draw only from so many of the likeliest tokens; 0 for all."""
    num_beams: int = _key(1, at_least=1)
    """Continuations followed at a time; the likeliest as a whole is taken."""
    length_penalty: float = 1.0
    """With beams: longer texts win above 0, the more the larger it is; shorter ones below."""
    no_repeat_ngram: int = _key(0, at_least=0)
    """Write no sequence of so many tokens twice, e.g. 3; 0 for no such rule."""

    @property
    def most(self) -> int:
        """Tokens written at most, where nothing else says."""
        return 64 if self.max_new_tokens is None else self.max_new_tokens
