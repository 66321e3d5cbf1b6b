"""The few shapes every room meets in: columns, data, tasks, metrics, trackers. Nothing here does any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Row = Mapping[str, Any]
"""Values by role, e.g. ``{"text": "a fine film", "label": "positive"}``; an image or a sound is its file's path,
or its bytes."""
Example = dict[str, Any]
"""An encoded row: ``input_ids`` (an array of ints), whatever else the task needs, ready for `Task.collate`."""
Batch = dict[str, Any]
"""Tensors by name, first dimension the rows of the batch."""
Outputs = Any
"""What a model's forward pass returns."""
Prediction = dict[str, Any]
"""One row's answer: ``prediction`` and, by task, ``score``, ``scores``, ..."""


Kind = Literal["text", "image", "audio", "label", "number", "labels", "tokens", "tags", "texts", "turns", "json"]
"""What the values of a column are, and what a task gets of each:

``text`` a string; ``image`` and ``audio`` a path or bytes; ``label`` one class (a string, a whole number, true or
false); ``number`` a finite float; ``labels`` a list, maybe empty, of strings or whole numbers; ``tokens`` a list of
words (when predicting also a string, still to be cut into words); ``tags`` a list of strings or whole numbers, one a
token; ``texts`` a list of strings; ``turns`` the messages of a conversation; ``json`` whatever JSON can hold (boxes).
"""


@dataclass(frozen=True)
class Column:
    """A role a task needs from the data, and how to recognise its column."""

    role: str
    kind: Kind
    names: tuple[str, ...]
    """Usual column names, best first, lower case."""
    required: bool = True
    """False: may be absent."""
    answer: bool = False
    """True for what the model is to tell: not looked at when predicting, and a split may lack it as a whole."""
    blank: bool = False
    """True where an empty value is as good as none, of a column that may be absent."""
    unless: str | None = None
    """A role that makes up for this one: where that is found, this one may be absent."""
    inside: tuple[str, int] | None = None
    """A usual column of objects of two texts, and which of the two this is where nothing else says so."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one row: where (file and line or row) and what."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


class Rows(Protocol):
    """The rows of one split: random access by role, and the place each row came from."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...
    def __iter__(self) -> Iterator[Row]: ...
    def column(self, role: str) -> list[Any]: ...
    def place(self, index: int) -> str: ...
    def select(self, indices: Sequence[int]) -> Rows: ...
    def text_bytes(self) -> int:
        """Size of the texts."""

    def fingerprint(self) -> str:
        """Hash of the content: values by role, in order."""


@dataclass(frozen=True)
class Data:
    """A data set ready for a task: its splits by role, and what was found on the way."""

    name: str
    splits: Mapping[str, Rows]
    columns: Mapping[str, str]
    """Role -> the column that fills it."""
    label_names: tuple[str, ...] | None
    """Names the source itself gives to integer labels, or of class folders; None where it gives none."""
    fingerprints: Mapping[str, str]
    """Split -> hash of its content (values by role, in order)."""
    all_train: Rows | None = None
    """The training split before `limit` chose some of it: the labels there are, and nothing to train on."""
    notes: tuple[str, ...] = ()
    """Choices made for the user, in words ("10 % of train held out for validation")."""
    skipped: tuple[Problem, ...] = ()
    hint: str | None = None
    """What to try where a column was not found."""
    sources: tuple[str, ...] = ()
    """Names of what was mixed, where several data sets were."""
    weights: tuple[float, ...] = ()
    """Share of the training tokens each source is to have; they sum to 1."""
    groups: Mapping[str, Any] = field(default_factory=dict)
    """Split -> number of each row's source in `sources` (an integer array); empty where there is but one."""


class Table(Protocol):
    """What the first rows of a data set show, for a task to see whether it was made for it."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Columns, those that number the rows left out."""

    def named(self, names: Sequence[str], looks: Sequence[Look] = ()) -> list[str]:
        """Columns that go by one of `names` (the best first) and look like one of `looks` (of any, where none is)."""

    def looking(self, *looks: Look) -> list[str]:
        """Columns whose values look like one of these, in the order of the table."""

    def values(self, field: str) -> list[Any]:
        """The values of a column, absent ones left out."""


Look = Literal["text", "word", "class", "flag", "number", "list", "lists", "object", "image", "audio", "other"]
"""What the values of a column look like: ``text`` running text; ``word`` short strings of which few occur twice;
``class`` few different strings, whole numbers or truth values; ``flag`` nothing but 0 and 1 (or true and false);
``number`` other numbers; ``list`` lists of strings or whole numbers; ``lists`` other lists; ``object`` mappings."""


Strength = Literal[1, 2, 3]


@dataclass(frozen=True)
class Claim:
    """That a table is made for a task."""

    strength: Strength
    """1: it could be; 2: the types of the columns say so; 3: so do their names. The strongest claim wins, alone."""
    why: str
    """What shows it, in words that go on after "since": "there are two columns of text"."""


class Learner(Protocol):
    """What the loop needs of a task."""

    def collate(self, examples: Sequence[Example]) -> Batch: ...
    def counts(self, batch: Batch) -> dict[str, int]:
        """Targets per loss term, known before the forward pass."""

    def forward(self, model: nn.Module, batch: Batch) -> Outputs: ...
    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Loss SUMS (scalars) under the keys of `counts`; the loop divides once, by the whole window's counts."""


class Task(Learner, Protocol):
    """What a model learns to do. Training, evaluation and prediction all go encode -> collate -> forward -> decode."""

    name: str
    columns: tuple[Column, ...]
    main_metric: str
    """Picks the best state; higher is better unless it is a loss."""
    first_only: bool
    """True where the head looks at the first token of each row alone, in architectures that have such a head."""
    rows_meet: bool
    """True where the rows of a forward pass take part in each other's losses: fewer rows are another loss."""
    pad_to_multiple: int
    """Lengths are padded to a multiple of it: a larger one makes fewer shapes, for models that are compiled."""

    notes: Sequence[str]
    """What learning the labels found worth saying."""
    head_note: str | None
    """What became of the head of a model that was trained for something else."""
    long_hint: str
    """What is said after the number of texts that were cut: what to do about it, if anything."""
    gathers: str | None
    """A role whose equal values make one row of several, the values of the others in lists; None leaves rows alone."""
    settles: bool
    """True where `settle` has something to do, which takes another pass over the validation split."""

    @staticmethod
    def row_fault(row: Row) -> str | None:
        """What is wrong with a row whose values are each fine by themselves (tags that are fewer than its tokens); of
        a row to predict the answers are missing."""

    @staticmethod
    def gather(rows: Sequence[Row]) -> Row:
        """Rows with the same value in the role `gathers` as one."""

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """For ``--task auto``: whether a table is made for this task; None where it is not."""

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """Learn the label set from the training split only; `names` are the source's own, in order."""

    def align(self, names: Sequence[str] | None) -> str | None:
        """Read whole-number labels of other data by `names`, its own names for 0, 1, ...; a note where they differ."""

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows of another split this task cannot score (a label never seen in training)."""

    def build_model(self, source: Any) -> tuple[nn.Module, list[str]]:
        """The model with a head for the fitted labels, and the parameters that start fresh."""

    def load_model(self, source: Any) -> nn.Module:
        """A model that already does this task, labels and all, for evaluation and prediction."""

    def metric_names(self) -> list[str]:
        """What a recipe may choose the best state by: "loss" and the metrics of `score`. Labels are fitted."""

    def adopt(self, config: Any) -> None:
        """Take over what a saved model's configuration says of the task: its labels, and its own ``ftcli`` entry."""

    def encode(self, rows: Sequence[Row]) -> list[Example]: ...
    def encoding(self) -> Mapping[str, Any] | None:
        """All that `encode` depends on beside the row, as JSON can hold it; None where that cannot be told."""

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]: ...
    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Predictions against the rows' answers: metrics and, with `bootstrap` resamples, their intervals."""

    def settle(self, model: nn.Module, rows: Rows, predictions: Sequence[Prediction]) -> str | None:
        """What follows from the best state's predictions on the validation split (thresholds of labels, say), put
        into the task and into the model's configuration, with which it is saved; a note where there is something."""


class Objective(Task, Protocol):
    """A task whose answers come from the data itself; `encode` makes examples for prediction."""

    def documents(self, rows: Sequence[Row]) -> list[Example]:
        """Whole rows as the model's units: all tokens of a text, no special ones among them."""

    def arrange(self, documents: Sequence[Example], seed: int) -> Sequence[Example]:
        """Examples that the model can take, without answers yet, made from documents."""

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """An example with its answers, ``labels`` among them; drawn anew each time it is trained on."""

    def deployed(self, model: nn.Module) -> nn.Module:
        """What of the trained model is saved for use; all of it but for parts that only training needs."""

    def baseline(self, examples: Sequence[Example], validation: Sequence[Example]) -> dict[str, float]:
        """What an answer reaches that looks at nothing of a row, by name: losses on `validation`, learnt from
        `examples`; none where that has no meaning."""

    def prompt(self, text: str) -> str:
        """What of a text to predict from, for a person to see what the model has learnt."""


@dataclass
class Evaluation:
    """What scoring a split gave; the source of every report."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    classes: list[dict[str, Any]] = field(default_factory=list)
    confusion_matrix: dict[str, Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """Further facts of the task's own that go into report.json (thresholds, examples), as JSON can hold them."""


@dataclass(frozen=True)
class Progress:
    """What the loop yields after each optimiser step. `loss` stays on the device until somebody reads it."""

    step: int
    total_steps: int
    epoch: float
    lr: float
    loss: Tensor
    rows: int
    tokens: int
    epoch_ended: bool
    at: tuple[int, int] = (0, 0)
    """Epoch and position in it, both from 0."""
    skipped: bool = False
    """True where the rows were passed over; the loss means nothing then."""
    computed: int = 0
    """Tokens that went through the model, padding among them."""


class Tracker(Protocol):
    """A place metrics go. `log` takes one flat record (see metrics.jsonl in the contract)."""

    def log(self, record: Mapping[str, Any]) -> None: ...
    def flush(self) -> None:
        """What was logged is kept from here on; OSError where it cannot be (a full disk)."""

    def truncate_after(self, step: int) -> None:
        """Forget records of later steps and ``final`` ones, where the place can: a resumed run writes them again."""

    def close(self) -> None: ...
