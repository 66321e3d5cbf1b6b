"""The sets of the benchmark, and the files both sides read: train, validation and test as JSON lines of text, label."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VALIDATION_ROWS = 16
"""ftcli asks for a validation split; the few rows are none of those trained on, and are scored outside the clock."""
Pairs = list[tuple[str, str]]
"""(text, label)"""


class MissingError(Exception):
    """The data of a set is not there; says which file is."""


@dataclass(frozen=True)
class Set:
    """One set: where its rows come from, how many are used, and how both sides train on them."""

    read: Callable[[Path | None, str], Pairs]
    """From the data folder and a split's name."""
    rows: int
    test_rows: int
    max_length: int
    lr: float = 5e-5
    epochs: int = 1


@dataclass(frozen=True)
class Prepared:
    """A folder of train.jsonl, validation.jsonl and test.jsonl."""

    folder: Path
    labels: int
    rows: int
    test_rows: int


def reviews(data: Path | None, split: str) -> Pairs:
    """What comes in the package."""
    lines = (ROOT / f"ftcli/data/builtin/reviews/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def imdb(data: Path | None, split: str) -> Pairs:
    """Large Movie Review Dataset (Maas et al. 2011) as imdb/{train,test}.parquet: text, label 0 or 1."""
    import pyarrow.parquet as pq

    table = pq.read_table(_found(data, f"imdb/{split}.parquet"), columns=["text", "label"]).to_pydict()
    return [(text, ("negative", "positive")[label]) for text, label in zip(table["text"], table["label"], strict=True)]


def trec(data: Path | None, split: str) -> Pairs:
    """Question types (Li & Roth 2002) as trec/{train,test}.txt: Latin-1 lines of CLASS[:SUBCLASS] TEXT; the class."""
    lines = _found(data, f"trec/{split}.txt").read_text(encoding="latin-1").splitlines()
    return [(text, label.split(":")[0]) for label, text in (line.split(maxsplit=1) for line in lines if line.strip())]


def banking77(data: Path | None, split: str) -> Pairs:
    """Customer intents (Casanueva et al. 2020) as banking77/{train,test}.csv: text, category."""
    with _found(data, f"banking77/{split}.csv").open(encoding="utf-8", newline="") as handle:
        return [(row["text"], row["category"]) for row in csv.DictReader(handle)]


# As many rows as make a round of three contenders take 2 to 10 minutes on two cores without AVX-512.
SETS = {
    "reviews": Set(reviews, rows=1600, test_rows=400, max_length=256),
    "imdb-256": Set(imdb, rows=480, test_rows=400, max_length=256, lr=1e-4),
    "imdb-512": Set(imdb, rows=240, test_rows=320, max_length=512, lr=1e-4),
    "trec": Set(trec, rows=5400, test_rows=500, max_length=64),
    "banking77": Set(banking77, rows=5400, test_rows=3000, max_length=64, lr=2e-4),
}


def prepare(chosen: Set, data: Path | None, folder: Path, rows: int, test_rows: int) -> Prepared:
    """The same seeded choice of rows, in the same order, for both sides. Raises MissingError.

    Test rows whose label no training row has are left out: with few rows of many classes there are some.
    """
    pool, test = _shuffled(chosen.read(data, "train")), _shuffled(chosen.read(data, "test"))
    train = pool[: min(rows, len(pool) - VALIDATION_ROWS)]
    known = {label for _, label in train}
    validation = [pair for pair in pool[len(train) :] if pair[1] in known][:VALIDATION_ROWS]
    test = [pair for pair in test if pair[1] in known][:test_rows]
    for split, pairs in (("train", train), ("validation", validation), ("test", test)):
        lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return Prepared(folder, len(known), len(train), len(test))


def _shuffled(pairs: Pairs) -> Pairs:
    """In one random order for all time: some sets come sorted by label."""
    random.Random(0).shuffle(pairs)
    return pairs


def _found(data: Path | None, name: str) -> Path:
    if data is None:
        raise MissingError(f"its data folder is not given (--data FOLDER or BENCH_DATA, with {name} in it)")
    if not (data / name).is_file():
        raise MissingError(f"{data / name} is not there")
    return data / name
