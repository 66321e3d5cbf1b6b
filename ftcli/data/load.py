"""From a recipe to data ready for a task: splits by role, checked, held out, limited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ftcli.contract import Column, Data, Problem
from ftcli.data.checks import RowFault, listed, raise_problems
from ftcli.data.columns import find, read_options, unlike_names
from ftcli.data.groups import Gather, gathered
from ftcli.data.lines import check_encoding
from ftcli.data.paths import column_of, get
from ftcli.data.read import Split, check_fields, class_names, read_split, sample
from ftcli.data.reader import Raw, Reader
from ftcli.data.rows import TableRows
from ftcli.data.sources import Source, no_split, open_source
from ftcli.data.split import hold_out, limit, match
from ftcli.data.values import AS_THEY_ARE, Reading, guess_separator, sources
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe

_ORDER = ("train", "validation", "test")
TEST_SEED = 0
"""Of the rows held out for the test: the same ones whatever the seed of a run."""


def load(
    recipe: DataRecipe,
    columns: tuple[Column, ...],
    *,
    seed: int,
    splits: Sequence[str],
    row_fault: RowFault | None = None,
    gathers: tuple[str, Gather] | None = None,
) -> Data:
    """Read the splits asked for (and the training split where validation has to be held out of it); `row_fault` is the
    task's own, and `gathers` the role by which it makes one row of several, and how."""
    check_encoding(recipe.encoding)
    work = _Loading(recipe, columns, open_source(recipe), row_fault, gathers)
    actual = work.choose(splits)
    for role in sorted(actual, key=lambda role: _ORDER.index(role) if role in _ORDER else len(_ORDER)):
        work.read(role, actual[role], alone=len(splits) == 1)
    if "validation" in splits and "validation" not in work.found and "train" not in work.found:
        # Asked for without train, or found to be unlabelled.
        work.read("train", work.train_split(), alone=True)
    work.settle_problems()
    rows = {role: split.rows for role, split in work.found.items()}
    if work.makes_test and "train" in rows:
        rows["train"], rows["test"] = _held_out(work, rows["train"], "test", recipe.test_fraction or 0.0, TEST_SEED)
    if "validation" in splits and "validation" not in rows:
        rows["train"], rows["validation"] = _held_out(
            work, rows["train"], "validation", recipe.validation_fraction, seed
        )
    chosen: dict[str, TableRows] = {}
    for role in splits:
        if role in rows:
            indices = limit(len(rows[role]), _at_most(recipe, role), seed, role)
            chosen[role] = rows[role] if indices is None else rows[role].select(indices)
            if indices is not None:
                work.notes.append(f"{role}: {len(indices)} of {len(rows[role])} rows, chosen at random")
    return Data(
        name=str(recipe.name),
        splits=chosen,
        columns=work.fields,
        label_names=work.label_names(),
        fingerprints={role: part.fingerprint() for role, part in chosen.items()},
        all_train=rows.get("train"),
        notes=tuple(dict.fromkeys(work.notes)),
        skipped=tuple(work.problems),
        hint=work.hint,
    )


def _at_most(recipe: DataRecipe, role: str) -> int | None:
    given = (recipe.limit, recipe.limit_train if role == "train" else None)
    return min((number for number in given if number is not None), default=None)


@dataclass
class _Loading:
    """What is known so far while the splits are read one after the other."""

    recipe: DataRecipe
    columns: tuple[Column, ...]
    source: Source
    row_fault: RowFault | None
    gathers: tuple[str, Gather] | None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    found: dict[str, Split] = field(default_factory=dict)
    hint: str | None = None
    reading: Reading = AS_THEY_ARE

    def __post_init__(self) -> None:
        self.options = read_options(self.recipe, self.columns)
        self.notes.extend(self.source.notes)
        has_test = not self.source.single and match(self._asked("test"), self.source.splits) is not None
        self.makes_test = self.recipe.test_fraction is not None and not has_test
        """The test split is a part of train."""

    def choose(self, wanted: Sequence[str]) -> dict[str, str]:
        """Role -> split of the source that fills it, for those that exist."""
        available = list(self.source.splits)
        if self.makes_test and "test" in wanted:
            wanted = [role for role in dict.fromkeys(("train", *wanted)) if role != "test"]
        if self.source.single:
            if len(wanted) == 1 and not self.makes_test:
                return {wanted[0]: available[0]}
            actual = {"train": available[0]}
        else:
            found = {role: match(self._asked(role), available) for role in wanted}
            actual = {role: split for role, split in found.items() if split is not None}
        for role in wanted:
            if role not in actual:
                self._missing(role, len(wanted) == 1)
        if "validation" in wanted and "validation" not in actual:
            actual.setdefault("train", self.train_split())
        return actual

    def train_split(self) -> str:
        """The source's training split."""
        split = match(self._asked("train"), self.source.splits)
        if split is None and self.source.single:
            return next(iter(self.source.splits))
        if split is None:
            raise no_split(self.source, self._asked("train"))
        return split

    def read(self, role: str, split: str, *, alone: bool) -> None:
        """Read and check one split; one without labels is left out where others are wanted."""
        readers = self.source.splits[split](self.options)
        if not self.fields:
            first = sample(readers)
            self.fields, notes = find(self.recipe, self.columns, readers[0], first)
            self.reading = self._reading(first)
            self.notes.extend((*readers[0].notes, *notes))
            self.hint = readers[0].header_hint if unlike_names(readers[0].fields) else None
        unlabelled = self._lacks_label(readers)
        if not unlabelled:
            result = read_split(split, readers, self.columns, self.fields, self.kinds, self.reading, self.row_fault)
            unlabelled = result.unlabelled
        if unlabelled:
            if role == "train" or alone:
                raise DataError(f"{self.source.name}: split {split} has no labels (all missing or -1)")
            self.notes.append(f"split {split} has no labels and is not used")
            return
        if self.gathers is not None and len(result.rows):
            result = replace(result, rows=gathered(result.rows, *self.gathers))
        self.found[role] = result
        self.problems.extend(result.problems)
        self.names = class_names(readers) or self.names
        self.kinds = {**result.kinds, **self.kinds}

    def settle_problems(self) -> None:
        """Raise what is wrong with the rows, or go on without them."""
        if self.problems and self.recipe.on_bad_row == "fail":
            raise_problems(self.problems)
        for role, split in self.found.items():
            if not len(split.rows):
                raise DataError(listed(f"{self.source.name}: every row of {role} was skipped", split.problems))
        if self.problems:
            self.notes.append(f"{len(self.problems)} bad rows skipped")

    def label_names(self) -> tuple[str, ...] | None:
        """Names the source gives to the labels."""
        role = next(
            (
                column.role
                for column in self.columns
                if column.kind in ("label", "labels", "tags") or (column.kind == "json" and column.answer)
            ),
            "",
        )
        return self.names.get(self.fields.get(role, ""))

    def _reading(self, first: Sequence[Raw]) -> Reading:
        """How values are read: the separator between labels as the recipe says, else as the first rows show it."""
        fields = {self.fields.get(column.role) for column in self.columns if column.kind == "labels"}
        cells = [get(raw.values, str(field)) for field in fields for raw in first if raw.values is not None]
        given = self.recipe.separator
        guessed = guess_separator(cells) if given is None else None
        if guessed is not None:
            self.notes.append(f"labels are separated by '{guessed}' (data.separator)")
        return Reading(separator=given or guessed)

    def _asked(self, role: str) -> str:
        """The split name that the recipe gives to a role."""
        if role == "validation":
            return self.recipe.validation_split or role
        return {"train": self.recipe.train_split, "test": self.recipe.test_split}.get(role, role)

    def _missing(self, role: str, alone: bool) -> None:
        asked = self._asked(role)
        named = (role == "validation" and self.recipe.validation_split) or (role == "test" and asked != "test")
        if role == "validation" and not named:
            return
        if role == "test" and not alone and not named:
            self.notes.append("no test split")
            return
        raise no_split(self.source, asked)

    def _lacks_label(self, readers: Sequence[Reader]) -> bool:
        """True for a split that has the columns of the others except the label's (a test split without answers)."""
        answers = {c: self.fields[c.role] for c in self.columns if c.answer and c.role in self.fields}
        fields = set(readers[0].fields)
        named = [name for c, field in answers.items() for name in sources(c.kind, field, readers[0].fields)]
        lacking = [name for name in named if column_of(name, fields) not in fields]
        others = set(self.found["train"].all_fields) if "train" in self.found else set()
        if not lacking or not fields <= others:
            return False
        check_fields(readers[0], [c for c in self.columns if not c.answer], self.fields)
        return True


def _held_out(work: _Loading, train: TableRows, split: str, fraction: float, seed: int) -> tuple[TableRows, TableRows]:
    label = next((column.role for column in work.columns if column.kind == "label"), None)
    labels = train.column(label) if label in work.fields else [None] * len(train)
    kept, held = hold_out(labels, fraction, seed)
    if not len(held):
        why = "every label occurs once" if label in work.fields else f"it has {len(train)} row"
        raise DataError(
            f"{work.source.name}: no row of the training split can be held out for {split}: {why}",
            hint=f"give a {split} split, or more rows",
        )
    work.notes.append(f"{len(held)} of {len(train)} training rows ({len(held) / len(train):.0%}) held out for {split}")
    return train.select(kept), train.select(held)
