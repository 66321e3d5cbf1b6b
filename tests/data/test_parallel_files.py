"""Folders of parallel texts: a column for each language, lines that belong together, faults with their place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ftcli.data.load import load
from ftcli.data.parallel_files import parallel_files
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.seq2seq import Seq2Seq

COLUMNS = Seq2Seq.columns


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "-").replace("_", ".", 1)
        (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(text.encode())
    return folder


def read(folder: Path, columns: str | None = None) -> dict[str, list[tuple[str, str]]]:
    recipe = DataRecipe(name=str(folder), columns=columns)
    data = load(recipe, COLUMNS, seed=1, splits=("train", "validation", "test"))
    return {split: [(row["source"], row["target"]) for row in rows] for split, rows in data.splits.items()}


def test_files_of_a_split_are_columns(tmp_path: Path) -> None:
    """As Multi30k is: packed, val for validation, and a test set with a name of its own."""
    for split, count in (("train", 4), ("val", 2), ("test_2016_flickr", 1)):
        for side in ("de", "en"):
            with gzip.open(tmp_path / f"{split}.{side}.gz", "wt") as file:
                file.writelines(f"{side} {split} {i}\n" for i in range(count))
    (tmp_path / "README.md").write_text("about")
    found = read(tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "validation": 2, "test": 1}
    assert found["train"][1] == ("de train 1", "en train 1"), "into English, where nobody says"
    assert read(tmp_path, "source=en,target=de")["test"] == [("en test_2016_flickr 0", "de test_2016_flickr 0")]
    assert read(tmp_path, "source=en")["test"] == [("en test_2016_flickr 0", "de test_2016_flickr 0")]


def test_other_names(tmp_path: Path) -> None:
    for one in ("train.zh.txt", "train.src", "corpus.eng_Latn", "europarl.pt-BR"):
        stem, _, side = one.removesuffix(".txt").partition(".")
        other = one.replace(side, {"src": "tgt", "eng_Latn": "deu_Latn"}.get(side, "fr"))
        for name in (one, other):
            (tmp_path / name).write_text("a\nb\n")
        assert parallel_files([tmp_path / one, tmp_path / other])[stem].keys() == {side, other.split(".")[1]}
    (tmp_path / "train.pos.txt").write_text("a\n")
    (tmp_path / "train.neg.txt").write_text("a\n")
    assert not parallel_files([tmp_path / "train.pos.txt", tmp_path / "train.neg.txt"]), "labels are no languages"


def test_faults_have_a_place(tmp_path: Path) -> None:
    short = write(tmp_path / "short", train_de="eins\nzwei\n", train_en="one\n")
    with pytest.raises(DataError, match=r"train\.en ends after line 1, train\.de goes on"):
        read(short)
    empty = write(tmp_path / "empty", train_de="eins\n\ndrei\nvier\n", train_en="one\ntwo\nthree\nfour\n")
    with pytest.raises(DataError, match=r"train\.de \| train\.en, line 2: source \('de'\) is empty"):
        read(empty)
    several = write(tmp_path / "several", test_de="a\n", test_en="b\n")
    (several / "test_more.de").write_text("a\n")
    (several / "test_more.en").write_text("b\n")
    with pytest.raises(DataError, match="more than one set of parallel files for the test split"):
        load(DataRecipe(name=str(several)), COLUMNS, seed=1, splits=("test",))
