"""Every setting ftcli has: its key, type, default, bounds and help text (the docstring below the field).

Flags, recipes, ``--set``, ``ftcli recipe schema`` and validation all read these classes; nothing is listed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ftcli.recipe.bounds import bounded as _key
from ftcli.recipe.distill_schema import DistillRecipe, StudentRecipe, TeacherRecipe
from ftcli.recipe.distributed import DistributedRecipe
from ftcli.recipe.method import MethodRecipe
from ftcli.recipe.regularize import RegularizeRecipe
from ftcli.recipe.task_schema import (
    AudioRecipe,
    ChatRecipe,
    DetectionRecipe,
    GenerationRecipe,
    ImageRecipe,
    LongRecipe,
    MultiLabelRecipe,
    QaRecipe,
    RankingRecipe,
    RegressionRecipe,
    Seq2SeqRecipe,
    TagsRecipe,
)

ROWS_PER_PASS = 16
"""What `train.batch_size` is by default, and what `auto` takes for the rows of a step."""
MANY = 2**31 - 1
"""Rows without a limit of their own."""


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """The tokenizer of a model that brings none: that of another model, or one trained from the training texts."""

    name: str | None = None
    """Take the tokenizer of this model (a Hub name, a folder, a run folder, builtin:NAME) as it is and train none."""
    kind: Literal["auto", "wordpiece", "bpe", "byte-bpe", "unigram"] = "auto"
    """What a vocabulary trained from the training texts is made of. auto: what the model's family is published with."""
    vocab_size: int = _key(8000, at_least=100)
    """Entries of a vocabulary trained from the training texts (only where the model brings no tokenizer)."""
    lowercase: bool | None = None
    """Fold case in a trained vocabulary; by default in WordPiece only."""
    normalizer: Literal["none", "nfc", "nfkc"] = "none"
    """Unicode form that a trained tokenizer brings texts into; nfkc also makes wide letters and ligatures plain."""
    special_tokens: str | None = None
    """Further special tokens of a trained tokenizer, never split or masked: "[URL], [NAME]" (YAML wants the quotes)."""


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Where the model comes from."""

    name: str | None = None
    """A Hub name, a model folder, a run folder, builtin:NAME, or preset:NAME (an architecture from scratch)."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model."""
    base: str | None = None
    """The base model of a run that keeps none (lora, adapter, ...), where it is no longer where it was."""
    config: Mapping[str, Any] = _key({}, free=True)
    """Changes to the model's configuration, e.g. hidden_size of a preset."""
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    add_tokens: str | None = None
    """Words to add to the vocabulary: a list with commas, or a file of lines. Each begins as the mean of its pieces."""
    trust_remote_code: bool = False
    """Run Python code that comes with a model, if you trust its author; only the command line can say so."""


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the data comes from and how it is read."""

    name: str | None = None
    """A Hub name, a file, a folder of split files or of class folders, or builtin:NAME; a corpus also a=0.7,b=0.3."""
    revision: str | None = None
    """Branch, tag or commit of a Hub data set."""
    text_column: str | None = None
    """Column that holds the text; found by name and type when not given."""
    label_column: str | None = None
    """Column that holds the label; found by name and type when not given."""
    columns: str | None = None
    """Roles of columns as role=name,... (positions from 0 for files without a header; text=review.body is inside of a
    column of objects)."""
    label_names: str | None = None
    """Names for integer labels 0, 1, ... separated by commas, where the data has none: negative,positive."""
    encoding: str = "utf-8"
    """Text encoding of files."""
    delimiter: str | None = None
    """Separator of csv-like files; found by the file name when not given."""
    separator: str | None = None
    """What separates several labels in one cell; found by the first rows when not given."""
    train_split: str = "train"
    """Split to train on."""
    validation_split: str | None = None
    """Split to choose the best state on; found by name, or held out of the training split."""
    test_split: str = "test"
    """Split scored once, at the end."""
    validation_fraction: float = _key(0.1, above=0, below=1)
    """Share of train held out (seeded, stratified) where no validation split is; of a corpus 2,000 rows at most."""
    test_fraction: float | None = _key(None, above=0, below=1)
    """Share of train held out for the test (stratified, the same whatever the seed) where no test split is."""
    test_files: str | None = None
    """Files of a folder that make up its test split, shell-like: '*_george_*' of a speaker's sounds."""
    label_pattern: str | None = None
    """Where the names of a folder's images or sounds hold the label: '{label}_{speaker}_{take}'."""
    limit: int | None = _key(None, at_least=1)
    """Use at most this many rows of each split (a seeded, random choice)."""
    limit_train: int | None = _key(None, at_least=1)
    """Train on at most this many rows, the other splits whole: what can be learnt from few labels."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """What to do with rows that cannot be used: stop and list them, or skip, count and list them in the run folder."""
    token_cache: str | None = None
    """Folder that keeps tokenized splits for the next run; null for the user's cache folder, none for no cache."""


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """How texts become the documents to pretrain on."""

    documents: Literal["auto", "lines", "blank-lines", "file"] = "auto"
    """What a document of a .txt file is: a line, what blank lines separate, or the file; auto sees if there are any."""
    dedup: bool = True
    """Leave out documents that occurred before, and training documents that are in the validation split as well."""
    near_dup: float | None = _key(None, above=0, at_most=1)
    """Leave out documents that have about this share (0.8) of their 5-word sequences in common with an earlier one."""
    stream: bool = False
    """Read the corpus a chunk at a time while training (pretrain): for one larger than memory or, of the Hub, disk."""
    buffer: int = _key(10_000, at_least=100)
    """Documents of a chunk of a stream: rows are shuffled, and repetitions left out, among so many."""
    held_out: int = _key(1000, at_least=1)
    """Documents at the start of a stream (or of its validation split) that are scored and never trained on."""


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """How long, in what portions and on what to train."""

    epochs: float | None = _key(None, above=0)
    """Passes over the training split; by default chosen by the model: fewer for a pretrained one."""
    max_steps: int | None = _key(None, at_least=1)
    """Stop after this many optimiser steps, whatever the epochs say."""
    batch_size: int | Literal["auto"] = _key(ROWS_PER_PASS, at_least=1)
    """Rows per forward pass; times gradient_accumulation, the rows of a step. auto: 16 times it, as memory allows."""
    gradient_accumulation: int = _key(1, at_least=1)
    """Forward passes per optimiser step; 4 x 2 rows give exactly the update of 8."""
    tokens_per_batch: int | None = _key(None, at_least=1)
    """Tokens per forward pass: rows of like length until there are as many. Takes the place of batch_size."""
    max_length: int | None = _key(None, at_least=3)
    """Tokens per text; longer ones are cut (and counted). By default what the model takes, at most 512."""
    batch_warmup: float = _key(0.0, at_least=0, below=1)
    """Share of all steps, at the start, over which the rows or tokens of a step grow from an eighth to all."""
    length_warmup: float = _key(0.0, at_least=0, below=1)
    """Share of all steps, at the start, over which texts are cut short, from an eighth of the longest on (pretrain)."""
    clip: float | None = _key(1.0, above=0)
    """Largest norm of the gradient; null for no clipping."""
    unpadded: bool = True
    """Run encoders over real tokens only, where the architecture can; false pads a batch to its longest row."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; auto: bf16 or fp16 on GPUs that have it, bf16 to train on CPUs that have it."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto."""
    max_rollbacks: int = _key(3, at_least=0)
    """How often to go back to the last checkpoint and pass over the rows that made the loss or gradient not finite."""
    spike: float | None = _key(None, above=1)
    """Treat a gradient this many times its running mean as not finite; null never does."""
    deterministic: bool = False
    """Only kernels that give the same bits every time, even where slower (CPU runs always repeat)."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: the same results, far less memory, about a third more time."""
    compile: Literal["auto"] | bool = "auto"
    """Compile the forward pass with torch.compile (minutes, once a run). auto: not, until it is measured to pay."""

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step."""
        return (ROWS_PER_PASS if self.batch_size == "auto" else self.batch_size) * self.gradient_accumulation

    @property
    def tokens_per_step(self) -> int | None:
        """Tokens of one optimiser step; None where rows are counted."""
        return None if self.tokens_per_batch is None else self.tokens_per_batch * self.gradient_accumulation

    @property
    def step_in_words(self) -> str:
        """What one optimiser step takes in."""
        said = f"{self.rows_per_step} rows" if self.tokens_per_step is None else f"{self.tokens_per_step:,} tokens"
        return f"{said}, fewer in the first {100 * self.batch_warmup:.3g} %" if self.batch_warmup else said

    @property
    def rows_per_pass(self) -> int:
        """Rows of one forward pass at most; all of the step where `auto` is not settled yet, or by tokens."""
        if self.tokens_per_batch is not None:
            return MANY
        return self.rows_per_step if self.batch_size == "auto" else self.batch_size


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """How gradients become updates."""

    name: str = "adamw"
    """Optimiser, by name."""
    lr: float | None = _key(None, above=0)
    """Peak learning rate; by default chosen by the model's size and stated."""
    weight_decay: float = _key(0.01, at_least=0)
    """Decoupled decay; never on norms and biases."""
    layer_decay: float = _key(1.0, above=0, at_most=1)
    """Learning rate of a layer as a share of that of the layer above it, e.g. 0.8; with adamw."""
    beta1: float = _key(0.9, at_least=0, below=1)
    """Decay of the first moment."""
    beta2: float = _key(0.999, at_least=0, below=1)
    """Decay of the second moment."""
    eps: float = _key(1e-8, above=0)
    """Term added to the root of the second moment."""


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe:
    """The learning rate over the run."""

    name: str = "linear"
    """Shape of the learning rate after the warm-up, by name."""
    warmup: float = _key(0.06, at_least=0)
    """Warm-up: a share of all steps when under 1, else a number of steps."""
    decay: float = _key(0.2, above=0, at_most=1)
    """wsd: share of all steps, at the end, over which the learning rate falls."""
    floor: float = _key(0.0, at_least=0, at_most=1)
    """What the learning rate falls to, as a share of its peak."""


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """What an objective makes of unlabelled data."""

    mask_rate: float | None = _key(None, above=0, below=1)
    """Share that is hidden; by default 0.15 of the tokens (0.3 by BART), 0.75 of an image's patches (0.6 by SimMIM)."""
    mean_span: float = _key(3.0, at_least=1)
    """Tokens hidden at a time, on average, from a T5 or a BART."""
    mask_style: Literal["token", "whole-word", "span"] = "token"
    """What is masked at a time: single tokens, all tokens of a word, or runs of words."""
    z_loss: float = _key(0.0, at_least=0)
    """Weight of the squared log of the softmax's denominator in causal language modelling, e.g. 1e-4; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """How the best state is chosen and how results are scored."""

    every: int | None = _key(None, at_least=1)
    """Optimiser steps between validations; null for one after each epoch."""
    metric: str | None = None
    """Validation metric that picks the best state; by default the task's main one."""
    patience: int | None = _key(None, at_least=1)
    """Stop after this many validations without a better one (early stopping); null never does."""
    batch_size: int | None = _key(None, at_least=1)
    """Rows per forward pass when scoring and predicting; by default as many as make a good number of tokens."""
    bootstrap: int = _key(1000, at_least=0)
    """Resamples behind the 95 % intervals; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """When training state is saved, and how much of it stays."""

    every: int | str | None = _key(None, at_least=1)
    """Optimiser steps between checkpoints, or a time such as 10m; null for one after each validation and every 10m."""
    keep: int = _key(2, at_least=1)
    """Newest checkpoints that stay on disk: with two, one that is damaged costs little."""


@dataclass(frozen=True, kw_only=True)
class LogRecipe:
    """What is written down while training."""

    every: int = _key(10, at_least=1)
    """Optimiser steps between lines of metrics.jsonl."""
    trackers: str = "jsonl"
    """Where metrics go, by name, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run. Sections may be given by their name alone: ``model: bert-base-cased``."""

    task: str = "auto"
    """What the model learns to do; auto takes what the data shows."""
    objective: str | None = None
    """What the model learns from unlabelled data; by default what its architecture is made for."""
    seed: int = _key(42, at_least=0, at_most=2**32 - 1)
    """Seed of every random choice."""
    out: str | None = None
    """Run folder; by default runs/COMMAND-MODEL-DATA, never over an earlier run."""
    stage_cache: str | None = None
    """Folder that keeps finished stages for other chains; null for the user's cache folder, none for no cache."""
    method: MethodRecipe = field(default_factory=MethodRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    regularize: RegularizeRecipe = field(default_factory=RegularizeRecipe)
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    distill: DistillRecipe = field(default_factory=DistillRecipe)
    pretrain: PretrainRecipe = field(default_factory=PretrainRecipe)
    generation: GenerationRecipe = field(default_factory=GenerationRecipe)
    long: LongRecipe = field(default_factory=LongRecipe)
    multi_label: MultiLabelRecipe = field(default_factory=MultiLabelRecipe)
    regression: RegressionRecipe = field(default_factory=RegressionRecipe)
    tags: TagsRecipe = field(default_factory=TagsRecipe)
    qa: QaRecipe = field(default_factory=QaRecipe)
    ranking: RankingRecipe = field(default_factory=RankingRecipe)
    audio: AudioRecipe = field(default_factory=AudioRecipe)
    image: ImageRecipe = field(default_factory=ImageRecipe)
    detection: DetectionRecipe = field(default_factory=DetectionRecipe)
    seq2seq: Seq2SeqRecipe = field(default_factory=Seq2SeqRecipe)
    chat: ChatRecipe = field(default_factory=ChatRecipe)
    eval: EvalRecipe = field(default_factory=EvalRecipe)
    checkpoint: CheckpointRecipe = field(default_factory=CheckpointRecipe)
    log: LogRecipe = field(default_factory=LogRecipe)
    distributed: DistributedRecipe = field(default_factory=DistributedRecipe)
