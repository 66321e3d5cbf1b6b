"""Corpora: any texts as documents, without repetitions, some held out, several mixed; the test split never read."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from ftcli.contract import Column, Data
from ftcli.data import corpus as corpus_module
from ftcli.data import hub
from ftcli.data.corpus import load_corpus
from ftcli.data.duplicates import first_of_each, text_hashes, unlike_earlier
from ftcli.data.reader import Places, Raw, Reader
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import CorpusRecipe, DataRecipe
from tests.tiny import write_parquet

TEXT = Column("text", "text", ("text", "sentence", "content"))


def read(path: Path | str, seed: int = 3, documents: str = "auto", dedup: bool = True, **keys: Any) -> Data:
    corpus = CorpusRecipe(documents=documents, dedup=dedup)  # type: ignore[arg-type]
    return load_corpus(DataRecipe(name=str(path), **keys), corpus, (TEXT,), seed=seed)


def texts(data: Data, split: str = "train") -> list[str]:
    return [row["text"] for row in data.splits[split]]


def all_texts(data: Data) -> list[str]:
    return sorted(texts(data) + texts(data, "validation"))


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_lines_of_a_text_file_are_documents(tmp_path: Path) -> None:
    data = read(write_lines(tmp_path / "a.txt", "one", "two", "three", "four", ""))
    assert all_texts(data) == ["four", "one", "three", "two"]
    assert any("each line is a document" in note for note in data.notes)
    assert data.columns == {"text": "text"}


def test_blank_lines_separate_documents_where_there_are_any(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", "", "one", "more of one", "", "  ", "two", "", "three")
    data = read(path)
    assert all_texts(data) == ["one\nmore of one", "three", "two"]
    places = {row["text"]: rows.place(n) for rows in data.splits.values() for n, row in enumerate(rows)}
    assert places == {"one\nmore of one": "a.txt, line 2", "two": "a.txt, line 6", "three": "a.txt, line 8"}
    assert all_texts(read(path, documents="lines")) == ["more of one", "one", "three", "two"]


def test_one_document_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 document") as caught:
        read(write_lines(tmp_path / "a.txt", "one", "two"), documents="file")
    assert "corpus.documents=lines" in (caught.value.hint or "")


def test_documents_that_occurred_before_are_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", "caf\u00e9 noir", "tea", " tea ", "cafe\u0301  noir", "tea", "Tea")
    data = read(path)
    assert all_texts(data) == ["Tea", "caf\u00e9 noir", "tea"]
    assert any("3 of 6 documents left out" in note for note in data.notes)
    assert len(all_texts(read(path, dedup=False))) == 6


def test_training_documents_of_the_validation_split_are_left_out(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.txt", "one", "two", "three")
    write_lines(tmp_path / "validation.txt", "three", "four")
    data = read(tmp_path)
    assert (texts(data), texts(data, "validation")) == (["one", "two"], ["three", "four"])
    write_lines(tmp_path / "validation.txt", "one", "two", "three")
    with pytest.raises(DataError, match="no document is left to train on"):
        read(tmp_path)


def near(path: Path, share: float | None) -> Data:
    return load_corpus(DataRecipe(name=str(path)), CorpusRecipe(near_dup=share), (TEXT,), seed=1)


def test_near_duplicates_are_left_out_on_request(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(60)]
    close, half = [*words[:57], "x", "y", "z"], [*words[:30], *(f"other{n}" for n in range(30))]
    write_lines(tmp_path / "train.txt", *map(" ".join, (close, half, ["short", "text"])))
    write_lines(tmp_path / "validation.txt", ", ".join(words).title())
    data = near(tmp_path, 0.8)
    assert texts(data) == [" ".join(half), "short text"]
    assert any("train: 1 of 3 documents left out: they are nearly as others" in note for note in data.notes)
    assert len(texts(near(tmp_path, 0.97))) == 3
    assert len(texts(near(tmp_path, None))) == 3


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.95, 0.99, 1.0])
def test_equal_word_sequences_are_near_at_any_share(share: float) -> None:
    text = " ".join(f"w{n}" for n in range(20))
    kept = unlike_earlier([text, "else entirely, from the first word to the last one", text.upper(), text], share)
    assert kept.tolist() == [True, True, False, False]


@pytest.mark.parametrize(("shared", "stay"), [(0.9, 0), (0.6, 40)])
def test_near_duplicates_are_found_about_where_they_should_be(shared: float, stay: int) -> None:
    """Asked for 0.8: of pairs that share 0.9 of their word sequences all are found, of those that share 0.6 none."""
    random = Random(5)
    own = round(300 * (1 - shared) / (1 + shared))
    firsts = [[f"w{random.randrange(10**6)}" for _ in range(300)] for _ in range(40)]
    seconds = [words[own:] + [f"v{random.randrange(10**6)}" for _ in range(own)] for words in firsts]
    kept = unlike_earlier(map(" ".join, firsts + seconds), 0.8)
    assert kept[:40].all()
    assert kept[40:].sum() == stay


def test_the_package_for_near_duplicates_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UsageError, match=r"corpus\.near_dup needs a package") as caught:
        near(write_lines(tmp_path / "a.txt", "one", "two"), 0.8)
    assert caught.value.hint == "pip install datasketch"


def test_a_source_that_the_others_hold(tmp_path: Path) -> None:
    a = write_lines(tmp_path / "a.txt", "one", "two", "three")
    b = write_lines(tmp_path / "b.txt", "two", "three")
    with pytest.raises(DataError, match=r"b\.txt: no document is left to train on"):
        read(f"{a}=1,{b}=1")


def test_the_test_split_is_never_opened(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.txt", "one", "two", "three")
    (tmp_path / "test.jsonl").write_bytes(b"\xff not JSON")
    data = read(tmp_path)
    assert all_texts(data) == ["one", "three", "two"]
    assert any("test is not read" in note for note in data.notes)
    (tmp_path / "train.txt").unlink()
    with pytest.raises(DataError, match="no split 'train'; there is test"):
        read(tmp_path)


def test_what_is_held_out_is_seeded_and_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.txt", *(f"document {n}" for n in range(100)))
    data = read(path)
    assert len(data.splits["validation"]) == 10
    assert texts(data, "validation") == texts(read(path), "validation") != texts(read(path, seed=4), "validation")
    assert not set(texts(data)) & set(texts(data, "validation"))
    monkeypatch.setattr(corpus_module, "MOST_HELD_OUT", 4)
    data = read(path)
    assert [len(rows) for rows in data.splits.values()] == [96, 4]
    assert any("at most 4" in note for note in data.notes)


def test_labelled_data_gives_its_texts(tmp_path: Path) -> None:
    rows = [{"label": n % 2, "content": f"text number {n}"} for n in range(10)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(path, label_column="label", limit=4)
    assert data.columns == {"text": "content"}
    assert data.splits["train"][0].keys() == {"text"}
    assert len(data.splits["train"]) == 4
    assert len(read(path, columns="text=content,label=label").splits["train"]) == 9
    assert len(read("builtin:reviews").splits["validation"]) > 100


def test_a_folder_of_files_of_any_name(tmp_path: Path) -> None:
    write_lines(tmp_path / "b" / "prose.txt", "one", "", "two", "more of two")
    write_lines(tmp_path / "a.jsonl", '{"content": "three"}', '{"content": ""}')
    write_lines(tmp_path / "c.csv", "text,stars", "four,5")
    write_lines(tmp_path / "README.md", "not data")
    write_lines(tmp_path / ".hidden.txt", "hidden")
    data = read(tmp_path)
    assert all_texts(data) == ["four", "one", "three", "two\nmore of two"]
    assert any("left out README.md" in note for note in data.notes)
    assert any("1 empty text" in note for note in data.notes)


def test_packed_files_are_parts_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(b"one\n\ntwo\n"))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "three"}\n'))
    (tmp_path / "train.jsonl.zst").write_bytes(zstandard.compress(b'{"text": "four"}\n{"text": "five"}\n'))
    assert all_texts(read(tmp_path)) == ["five", "four"]
    (tmp_path / "train.jsonl.zst").unlink()
    assert all_texts(read(tmp_path)) == ["one", "three", "two"]
    (tmp_path / "c.txt.zst").write_bytes(zstandard.compress(b"text\n" * 999)[:-3])
    with pytest.raises(DataError, match=r"c\.txt\.zst: the zstd file is cut off"):
        read(tmp_path)


def test_shards_and_splits_named_otherwise(tmp_path: Path) -> None:
    for n in range(2):
        write_parquet([{"text": f"shard {n}"}], tmp_path / f"train-0000{n}-of-00002.parquet")
    write_lines(tmp_path / "dev.txt", "development")
    write_lines(tmp_path / "my-part.txt", "another")
    data = read(tmp_path)
    assert (texts(data), texts(data, "validation")) == (["shard 0", "shard 1"], ["development"])
    assert any("left out my-part.txt" in note for note in data.notes)
    with pytest.raises(UsageError, match="no split 'held'"):
        read(tmp_path, validation_split="held")


@pytest.mark.parametrize("training", ["train", "training", "other"])
def test_what_is_named_as_unlabelled_is_training_data_too(tmp_path: Path, training: str) -> None:
    write_lines(tmp_path / f"{training}.txt", "labelled")
    write_parquet([{"text": "unlabelled"}], tmp_path / "unsupervised-00000-of-00001.parquet")
    write_lines(tmp_path / "test.txt", "never read")
    data = read(tmp_path)
    assert sorted(all_texts(data)) == ["labelled", "unlabelled"]
    assert not any("left out" in note for note in data.notes)


def test_columns_of_text_files_by_position(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", "1 a fine film", "0 a poor one", "1 so so")
    assert all_texts(read(path, columns="label=0,text=1")) == ["a fine film", "a poor one", "so so"]


def test_a_hub_data_set_gives_its_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*found: str) -> Reader:
        return Reader(Places("d"), ("content", "id"), lambda _: (Raw(n, {"content": t}) for n, t in enumerate(found)))

    splits = {"train": rows("one", "two", ""), "test": rows("three")}
    monkeypatch.setattr(hub, "open_hub", lambda name, revision: (splits, ["from the cache"]))
    data = read("owner/name")
    assert all_texts(data) == ["one", "two"]
    assert "from the cache" in data.notes
    del splits["train"]
    with pytest.raises(DataError, match="no split 'train'; there is test"):
        read("owner/name")


def test_class_folders_hold_a_document_in_each_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "train" / "pos" / "1.txt", "fine", "", "film")
    write_lines(tmp_path / "train" / "unsup" / "2.txt", "so so")
    write_lines(tmp_path / "train" / "urls.txt", "http://example.org")
    write_lines(tmp_path / "notes.txt", "about this folder")
    data = read(tmp_path)
    assert all_texts(data) == ["fine\n\nfilm", "so so"]
    assert any("left out notes.txt, train/urls.txt" in note or "train/urls.txt" in note for note in data.notes)


def test_sources_are_told_apart(tmp_path: Path) -> None:
    a = write_lines(tmp_path / "a.txt", *(f"a {n}" for n in range(20)))
    b = tmp_path / "b.jsonl"
    b.write_text("".join(json.dumps({"sentence": f"b {n}"}) + "\n" for n in range(10)))
    data = read(f"{a}=3, {b}=1")
    assert data.sources == (str(a), str(b))
    assert data.weights == (0.75, 0.25)
    for split in ("train", "validation"):
        assert ["ab"[group] for group in data.groups[split]] == [text[0] for text in texts(data, split)]
    assert texts(data, "validation")[-1].startswith("b")
    assert not read(a).sources


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_that_is_not_positive(weight: str) -> None:
    with pytest.raises(UsageError, match=rf"weight of 'b.txt' is {weight}, not a positive number") as caught:
        read(f"a.txt=1,b.txt={weight}")
    assert "--data b.txt=0.5" in (caught.value.hint or "")


def test_weights_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'b\.txt' has no weight"):
        read("a.txt=1,b.txt")
    with pytest.raises(UsageError, match=r"'a\.txt' is there twice"):
        read("a.txt=1,a.txt=2")
    # A name that exists is a name, whatever it looks like.
    assert all_texts(read(write_lines(tmp_path / "y=1", "one", "two").rename(tmp_path / "y,z=1.txt"))) == ["one", "two"]


def test_what_cannot_be_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no-such\.txt' does not exist"):
        read(tmp_path / "no-such.txt")
    with pytest.raises(UsageError, match="no data given"):
        read("")
    with pytest.raises(DataError, match="no rows"):
        read(write_lines(tmp_path / "empty.txt"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="no texts in this folder"):
        read(tmp_path / "folder")
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"bad\.txt, line 2: cannot be decoded"):
        read(tmp_path / "bad.txt")


def test_hashes_tell_texts_apart() -> None:
    assert text_hashes(["a b", " a\n b ", "ab"]).tolist()[:2] == text_hashes(["a b"] * 2).tolist()
    assert first_of_each(text_hashes(["x", "y", "x", "z", "y"])).tolist() == [True, True, False, True, False]
