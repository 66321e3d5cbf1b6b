"""Teachers by name: opened, asked about the rows of a run, their answers kept on disk for the next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ftcli.contract import Example, Rows
from ftcli.data.examples import lengths
from ftcli.data.token_cache import key_of, user_folder
from ftcli.distillable import targets_of, texts_of
from ftcli.distillation.distilled import Transfer
from ftcli.distillation.store import AnswerStore, joined, parted
from ftcli.distillation.teachers import Asked, Cached, Live, TeacherRows
from ftcli.engine import world
from ftcli.engine.device import is_out_of_memory, too_large
from ftcli.engine.evaluate import batches_by_length, encode_rows, tokens_per_batch
from ftcli.engine.interrupt import StopRequest
from ftcli.engine.precision import pick_device
from ftcli.engine.seeding import randomness_kept
from ftcli.errors import UsageError, did_you_mean, system_error
from ftcli.models.states import PLAIN_ATTENTION, Capture, Real
from ftcli.recipe.schema import Recipe
from ftcli.runs.environment import model_fingerprint
from ftcli.runs.speed import unanswered
from ftcli.runs.trained import Trained, inherited, open_trained
from ftcli.trackers.console import Console

SELF = "self"
FURTHER = ("unlabelled", "changed", "changed unlabelled")
"""Splits a student is trained on beside the labelled rows."""
ANSWERS_VERSION = 2
"""To be raised whenever the same question gets another answer than before: what was cached then no longer counts."""

_LOOKED_AT = 8
"""Rows whose targets are counted to know how many there are in all."""


@dataclass
class Teacher:
    """A model that a student learns from."""

    name: str
    share: float
    """Of the weights of all teachers; they sum to 1."""
    trained: Trained
    fingerprint: str
    asked: Asked

    @property
    def content(self) -> str:
        """What a resumed run has to find unchanged: the weights, and what they count among several."""
        return self.fingerprint if self.share == 1 else f"{self.fingerprint}*{self.share:g}"

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.trained.model


def teacher_names(given: str) -> list[tuple[str, float]]:
    """Names and shares of ``A``, ``A,B`` or ``A=2,B=1``."""
    if Path(given).expanduser().exists():
        return [(given, 1.0)]
    found = []
    for part in (part.strip() for part in given.split(",")):
        name, equals, text = part.rpartition("=")
        try:
            found.append((name.strip(), float(text)) if equals else (part, 1.0))
        except ValueError:
            found.append((part, 1.0))
    total = sum(weight for _, weight in found)
    if not all(name and weight > 0 for name, weight in found):
        raise UsageError(f"teacher.name is '{given}'; expected A, A,B or A=2,B=1 with weights above 0")
    return [(name, weight / total) for name, weight in found]


def open_teachers(recipe: Recipe, *, inside: bool, console: Console) -> list[Teacher]:
    """The teachers named, without self; nothing of theirs is trained, and no random number of the run's is used up."""
    found: list[Teacher] = []
    for name, share in teacher_names(str(recipe.teacher.name)):
        if name != SELF:
            found.append(_open(name, share, recipe, whole=inside and not found))
            settings = found[-1].trained.recipe
            length = "" if settings.train.max_length is None else f", at most {settings.train.max_length} tokens"
            console.note(f"teacher {name}: {settings.task}{length}, {found[-1].trained.precision.name}")
    for teacher in found[1:]:
        if teacher.trained.task.name != found[0].trained.task.name:
            raise UsageError(f"teachers {found[0].name} and {teacher.name} do different things")
    return found


def open_as_used(
    name: str, recipe: Recipe, *, precision: str, max_length: int | None = None, whole: bool = False
) -> Trained:
    """A trained model as predictions run it; with `whole` as whoever looks inside wants it."""
    given = {
        "objective": recipe.objective,
        "train.device": recipe.train.device,
        "train.precision": precision,
        "train.max_length": max_length,
        "train.unpadded": recipe.train.unpadded,
        "model.trust_remote_code": recipe.model.trust_remote_code or None,
    }
    with randomness_kept(pick_device(recipe.train.device)):
        return open_trained(inherited(name, given, ""), whole=whole)


def _open(name: str, share: float, recipe: Recipe, *, whole: bool) -> Teacher:
    asked = recipe.teacher
    trained = open_as_used(name, recipe, precision=asked.precision, max_length=asked.max_length, whole=whole)
    longest = trained.source.max_length(trained.recipe.train.max_length) if trained.source.tokenizer else None
    if trained.source.tokenizer is not None and trained.recipe.train.max_length is None:
        trained = replace(
            trained, recipe=replace(trained.recipe, train=replace(trained.recipe.train, max_length=longest))
        )
    trained.model.eval().requires_grad_(False)
    answering = Asked(
        trained.task, trained.model, Capture(trained.model, (), name), trained.precision.autocast, None, 1,
        trained.precision.device,
    )  # fmt: skip
    return Teacher(name, share, trained, model_fingerprint(trained.model), answering)


def agree(teachers: Sequence[Teacher], labels: Sequence[str]) -> None:
    """Have each teacher answer in the order of the student's `labels`; UsageError where it has others."""
    for teacher in teachers:
        own = list(getattr(teacher.trained.task, "labels", ()))
        if sorted(own) != sorted(labels):
            odd = next((name for name in [*own, *labels] if name not in own or name not in labels), "")
            raise UsageError(
                f"teacher {teacher.name} tells {len(own)} labels, the student {len(labels)}; '{odd}' is in one only",
                hint=did_you_mean(odd, labels if odd in own else own),
            )
        teacher.asked.order = None if own == list(labels) else [own.index(name) for name in labels]


class Classroom:
    """The rows of a run with what its teachers say of them."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        splits: Mapping[str, Rows],
        recipe: Recipe,
        console: Console,
        stop: StopRequest,
    ) -> None:
        self.teachers, self.splits, self.recipe, self.console, self.stop = teachers, splits, recipe, console, stop
        self._encoded: dict[tuple[int, str], Sequence[Example]] = {}

    def encoded(self, number: int, split: str) -> Sequence[Example]:
        """A split as teacher `number` reads it; the training rows without answers where others beside have none."""
        if (number, split) not in self._encoded:
            task, rows = self.teachers[number].trained.task, self.splits[split]
            mixed = not self.recipe.distill.sequences and any(name in self.splits for name in FURTHER)
            plain = mixed and split == "train"
            self._encoded[number, split] = encode_rows(
                lambda part: task.encode([unanswered(row, task.columns) for row in part] if plain else part), rows
            )
        return self._encoded[number, split]

    def seats(self, splits: Sequence[str], rows_seen: int) -> list[TeacherRows]:
        """Each teacher before these splits, one after the other: from the cache, or live where it would not pay."""
        return [self._seat(number, splits, rows_seen) for number in range(len(self.teachers))]

    def _seat(self, number: int, splits: Sequence[str], rows_seen: int) -> TeacherRows:
        recipe, teacher = self.recipe.teacher, self.teachers[number]
        total = sum(len(self.splits[split]) for split in splits)
        why = None
        if recipe.cache is None and rows_seen < total:
            why = f"it sees {rows_seen:,} of {total:,} rows"
        size = self.size(number, splits) / 2**30 if recipe.cache != "none" and why is None else 0.0
        if size > recipe.cache_gib:
            why = f"its answers would take {size:.1f} GiB, and teacher.cache_gib is {recipe.cache_gib:g}"
        if recipe.cache == "none" or why is not None:
            if why is not None:
                self.console.note(f"teacher {teacher.name} is asked at every step: {why}")
            whole = Transfer([self.encoded(number, split) for split in splits])
            return Live(teacher.asked, whole, recipe.batch_size)
        stores = [self.store(number, split) for split in splits]
        ends = [0]
        for store in stores:
            ends.append(ends[-1] + store.count)

        def read(rows: Sequence[int]) -> Mapping[str, Tensor]:
            each = []
            for row in rows:
                part = next(i for i in range(len(stores)) if row < ends[i + 1])
                each.append(stores[part].row(row - ends[part]))
            return joined(each)

        return Cached(read, teacher.asked.device)

    def size(self, number: int, splits: Sequence[str]) -> int:
        """Bytes of all answers, near enough."""
        task, model = self.teachers[number].trained.task, self.teachers[number].model
        config: Any = getattr(model, "config")  # noqa: B009
        entries = self.teachers[number].asked.capture.wanted
        of_texts = sum(entry.startswith("first.") for entry in entries)
        width = config.hidden_size if entries else 0
        found = 0
        for split in splits:
            examples = self.encoded(number, split)
            some = [examples[row] for row in range(min(len(examples), _LOOKED_AT))]
            batch, tokens = task.collate(some), int(lengths(examples).sum())
            targets, texts = (sum(of(task, batch, len(some))) / len(some) for of in (targets_of, texts_of))
            choices = len(getattr(task, "labels", ())) or tokens / len(examples)
            if hasattr(task, "tell"):
                choices = config.vocab_size
            by_row = 4 * targets * choices + 4 * texts * width * of_texts
            found += int(by_row * len(examples)) + 2 * width * (len(entries) - of_texts) * tokens
        return found

    def store(self, number: int, split: str) -> AnswerStore:
        """A split's answers on disk, what is missing asked for now. Raises Leave where the run is to stop."""
        return world.first_of_host(lambda: self._store(number, split))

    def _store(self, number: int, split: str) -> AnswerStore:
        teacher, rows = self.teachers[number], self.splits[split]
        asked, cache = teacher.asked, self.recipe.teacher.cache
        folder = Path(cache).expanduser() if cache not in (None, "none") else user_folder() / "teachers"
        names = ["logits", *asked.capture.wanted]
        store = AnswerStore(folder, self._key(teacher, rows, names), len(rows), names)
        missing = store.missing()
        if not missing:
            self.console.info(f"teacher {teacher.name} on {split}: from the cache")
            return store
        examples = self.encoded(number, split)
        try:
            with self.console.progress(f"teacher on {split}", sum(map(len, missing)), "rows") as bar:
                for portion in missing:
                    self.stop.leave_if_due()
                    store.write(portion, self.ask(number, examples, portion))
                    bar.advance(len(portion))
        except Exception as error:
            failure = system_error(error)
            if failure is None:
                raise
            raise UsageError(
                f"the teacher's answers cannot be kept in {folder}: {failure.strerror}",
                hint="--set teacher.cache=FOLDER, or none",
            ) from error
        store.make_room()
        return store

    def _key(self, teacher: Teacher, rows: Rows, names: Sequence[str]) -> str:
        task, config = teacher.trained.task, getattr(teacher.model, "config")  # noqa: B009
        encoding = task.encoding()
        if encoding is None:  # images and sounds: what the processor does is in its settings
            processor: Any = teacher.trained.source.processor
            said = f"{getattr(processor, 'extractor', processor)} {teacher.trained.recipe.audio.max_seconds}"
            encoding = {"processor": hashlib.sha256(said.encode()).hexdigest()}
        return key_of(
            {
                "version": ANSWERS_VERSION,
                "rows": rows.fingerprint(),
                "encoding": {k: v for k, v in encoding.items() if k not in ("labels", "positions")},
                "teacher": teacher.fingerprint,
                "architecture": type(teacher.model).__name__,
                "config": hashlib.sha256(config.to_json_string().encode()).hexdigest(),
                "order": teacher.asked.order,
                "precision": teacher.trained.precision.name,
                "asked": sorted(names),
            }
        )

    def ask(self, number: int, examples: Sequence[Example], rows: Sequence[int]) -> list[dict[str, Tensor]]:
        """Each row's answers, on the host, in order; a batch that does not fit into memory is halved."""
        asked = self.teachers[number].asked
        part = [examples[row] for row in rows]
        found: list[dict[str, Tensor]] = [{}] * len(part)
        most = tokens_per_batch(asked.device)
        waiting = list(batches_by_length(lengths(part), self.recipe.teacher.batch_size, most))[::-1]
        while waiting:
            places = waiting.pop()
            batch = asked.task.collate([part[int(i)] for i in places])
            counts = {"targets": targets_of(asked.task, batch, len(places))}
            if asked.capture.wanted:
                counts["texts"] = texts_of(asked.task, batch, len(places))
                counts["tokens"] = in_rows(Real.of(batch, asked.tokens_per_row).lengths, counts["texts"])
            try:
                answers = {name: x.cpu() for name, x in asked(batch).items()}
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(places) == 1:
                    raise too_large(asked.device, batch) from None
                waiting += [places[len(places) // 2 :], places[: len(places) // 2]]
                continue
            for i, answer in zip(places, parted(answers, counts), strict=True):
                found[int(i)] = answer
        return found

    def soft(self, split: str) -> list[list[Tensor]]:
        """Soft answers of each teacher to each row of a split, from the cache where there is one."""
        found: list[list[Tensor]] = []
        for number in range(len(self.teachers)):
            capture = self.teachers[number].asked.capture
            wanted, capture.wanted = capture.wanted, []
            try:
                if self.recipe.teacher.cache == "none":
                    examples = self.encoded(number, split)
                    each = self.ask(number, examples, range(len(examples)))
                else:
                    store = self.store(number, split)
                    each = [store.row(row) for row in range(store.count)]
            finally:
                capture.wanted = wanted
            found.append([answer["logits"] for answer in each])
        return found


def in_rows(lengths: Sequence[int], texts: Sequence[int]) -> list[int]:
    """Tokens of rows, out of those of their texts."""
    ends = np.cumsum([0, *lengths])[np.cumsum([0, *texts])]
    found: list[int] = np.diff(ends).tolist()
    return found


def plain(model: nn.Module) -> bool:
    """Whether the attention of a model is what `models.states` takes it for."""
    return getattr(model, "config").model_type in PLAIN_ATTENTION  # noqa: B009
