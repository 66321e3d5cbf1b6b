"""A stream: every document once a pass, any chunk by its number, no more than a chunk and a half alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.data.reader import Places, Raw, Reader
from ftcli.data.stream import Document, Stream
from ftcli.data.streamed import load_stream
from ftcli.data.texts import TEXT
from ftcli.errors import DataError, FtcliError, UsageError
from ftcli.recipe.schema import CorpusRecipe, DataRecipe
from tests.tiny import write_jsonl

CORPUS = CorpusRecipe(stream=True, buffer=100)


class Counted(str):
    """A text that is counted as long as it lives."""

    alive = most = 0

    def __init__(self, text: str) -> None:
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1


def reader(name: str, count: int, kind: type[str] = str) -> Reader:
    """A file of that many documents."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        return (Raw(line, {"text": kind(f"{name} {line}")}) for line in range(1, count + 1))

    return Reader(Places(name), ("text",), read)


def stream(*sizes: int, seed: int = 0, held: int = 0, kind: type[str] = str, corpus: CorpusRecipe = CORPUS) -> Stream:
    """A stream of files of these sizes."""
    made = Stream([reader(f"f{n}", size, kind) for n, size in enumerate(sizes)], TEXT, corpus, seed, fail=True)
    if held:
        made.hold_out(made.first(held))
    return made


def texts(made: Stream, number: int) -> list[str | None]:
    return [document.text for document in made.chunk(number)]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 180), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 40),
    held=st.integers(0, 40),
    seed=st.integers(0, 3),
    asked=st.lists(st.integers(0, 13), min_size=1, max_size=3),
)
def test_a_pass_has_every_document_once_and_a_chunk_is_the_same_however_it_is_come_to(
    sizes: list[int], held: int, seed: int, asked: list[int]
) -> None:
    made = stream(*sizes, seed=seed, held=held)
    chunks = [texts(made, number) for number in range(14)]
    apart = {document.text for document in stream(*sizes, seed=seed).first(held)}
    everything = {f"f{n} {line}" for n, size in enumerate(sizes) for line in range(1, size + 1)} - apart
    each_pass, at = Counter[str | None](), 0
    for chunk in chunks:
        each_pass.update(chunk)
        assert 1 <= len(chunk) <= 160
        if each_pass.total() == len(everything):
            assert set(each_pass) == everything
            each_pass.clear()
            at += 1
        assert each_pass.total() < len(everything)
        assert not each_pass or max(each_pass.values()) == 1
    assert at, "a pass ended"
    other = stream(*sizes, seed=seed, held=held)
    for number in asked:
        assert texts(other, number) == chunks[number]


def test_the_next_pass_has_another_order() -> None:
    made = stream(*[3] * 40)
    first, second = texts(made, 0), texts(made, 1)
    assert first != second
    assert sorted(map(str, first)) == sorted(map(str, second))


def test_no_more_than_a_chunk_and_a_half_is_alive() -> None:
    Counted.alive = Counted.most = 0
    made = stream(700, 700, kind=Counted)
    for number in range(20):
        chunk = made.chunk(number)
        assert len(chunk) >= 100
        del chunk
    assert 100 <= Counted.most <= 155, "a chunk, half of one to see whether it is the last, and what is being read"


@pytest.mark.parametrize(("size", "sizes"), [(3, (130, 300)), (2, (130, 300, 50, 90)), (4, (400,))])
def test_shares_are_the_whole(size: int, sizes: tuple[int, ...]) -> None:
    """More processes than files, fewer, and one file; they are asked for chunks in any order."""
    asked = (0, 1, 2, 5, 3)
    alone = stream(*sizes, held=20)
    whole = [alone.chunk(number) for number in asked]
    meeting, said = Barrier(size), [object()] * size
    opened: list[set[str]] = [set() for _ in range(size)]

    def share(rank: int) -> list[list[Document]]:
        def tell(own: object) -> list[object]:
            said[rank] = own
            meeting.wait(20)
            told = list(said)
            meeting.wait(20)
            return told

        made = stream(*sizes, held=20)
        made.readers = [watched(reader, opened[rank]) for reader in made.readers]
        made.share(rank, size, tell)
        return [made.chunk(number) for number in asked]

    with ThreadPoolExecutor(size) as threads:
        shares = list(threads.map(share, range(size)))
    for number, chunk in enumerate(whole):
        for row, document in enumerate(chunk):
            held = [of_one[number][row] for of_one in shares]
            assert [one.text for one in held if one.text is not None] == [document.text]
            assert {one._replace(text=None) for one in held} == {document._replace(text=None)}
        assert all(len(of_one[number]) == len(chunk) for of_one in shares)
    assert set.union(*opened) == {f"f{n}" for n in range(len(sizes))}
    if size < len(sizes):
        assert not opened[0] & opened[1], "no file is read by two"


def watched(given: Reader, opened: set[str]) -> Reader:
    """A reader that tells when it is read."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        opened.add(given.name)
        return given.read(columns)

    return replace(given, read=read)


def load(folder: Path, corpus: CorpusRecipe, **keys: object) -> Stream:
    found = load_stream(DataRecipe(name=str(folder), **keys), corpus, (TEXT,), seed=1).stream  # type: ignore[arg-type]
    assert found is not None
    return found


def test_repetitions_within_a_chunk_and_of_what_is_held_out(tmp_path: Path) -> None:
    rows = [{"text": f"document {n % 120}"} for n in range(240)]
    write_jsonl(rows, tmp_path / "train.jsonl")
    made = load(tmp_path, CorpusRecipe(stream=True, buffer=130, held_out=10))
    found = texts(made, 0)  # 130 of the 230 documents left; those from 110 on are the first again
    assert found == [f"document {n}" for n in range(10, 120)]
    assert sorted(map(str, texts(made, 1))) == sorted(f"document {n}" for n in range(20, 120))
    kept = load(tmp_path, CorpusRecipe(stream=True, buffer=130, held_out=10, dedup=False))
    assert len(texts(kept, 0)) == 130


def test_a_validation_split_is_what_is_held_out(tmp_path: Path) -> None:
    write_jsonl([{"text": f"document {n}"} for n in range(60)], tmp_path / "train.jsonl")
    write_jsonl([{"text": f"document {n}"} for n in range(50, 90)], tmp_path / "validation.jsonl")
    corpus = CorpusRecipe(stream=True, held_out=30)
    found = load_stream(DataRecipe(name=str(tmp_path)), corpus, (TEXT,), seed=1)
    assert found.splits["validation"].column("text") == [f"document {n}" for n in range(50, 80)]
    assert found.splits["train"].column("text") == [f"document {n}" for n in range(50)]


@pytest.mark.parametrize(
    ("keys", "corpus", "kind", "said"),
    [
        ({}, {"held_out": 60}, DataError, "60 documents to train on, and corpus.held_out takes the first 60"),
        ({"limit": 5}, {}, UsageError, "data.limit looks at all documents"),
        ({}, {"near_dup": 0.8}, UsageError, "corpus.near_dup looks at all documents"),
        ({"name": "a=1,b=2"}, {}, UsageError, "data.name mixes several"),
    ],
)
def test_refused(
    keys: dict[str, object], corpus: dict[str, object], kind: type[FtcliError], said: str, tmp_path: Path
) -> None:
    write_jsonl([{"text": f"document {n}"} for n in range(60)], tmp_path / "train.jsonl")
    given_keys = {"name": str(tmp_path), **keys}
    with pytest.raises(kind, match=said) as refused:
        load_stream(DataRecipe(**given_keys), CorpusRecipe(stream=True, **corpus), (TEXT,), seed=1)  # type: ignore[arg-type]
    assert refused.value.hint


def test_bad_rows_are_named_or_told_once(tmp_path: Path) -> None:
    lines = [f'{{"text": "document {n}"}}' for n in range(200)]
    lines[5], lines[190] = '{"text": 3}', "{"
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    corpus = CorpusRecipe(stream=True, buffer=100, held_out=10)
    with pytest.raises(DataError, match=r"train\.jsonl, line 6: ") as refused:
        load(tmp_path, corpus)
    assert "--on-bad-row skip" in str(refused.value.hint)
    made = load(tmp_path, corpus, on_bad_row="skip")
    assert sum(len(made.chunk(number)) for number in range(4)) == 188 * 2
    assert [problem.place for problem in made.problems] == ["train.jsonl, line 191"]


def test_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="no document to train on"):
        load(tmp_path, CorpusRecipe(stream=True))
