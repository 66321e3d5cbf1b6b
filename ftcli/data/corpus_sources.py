"""What a name of data means as a corpus: texts to pretrain on, labelled or not, in files of any name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ftcli.bundled import PREFIX
from ftcli.data.bundled import bundled_folder
from ftcli.data.documents import open_documents, open_text_files
from ftcli.data.files import extension, is_data_file, open_file
from ftcli.data.folders import UNLABELLED, is_sidecar, split_of_file
from ftcli.data.lines import explained
from ftcli.data.reader import Options, Reader
from ftcli.data.sources import Source, local_notes, open_source
from ftcli.data.split import canonical
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe

_SHOWN = 5
_UNLABELLED = "unlabelled"


def open_corpus(recipe: DataRecipe, how: str, *, stream: bool = False) -> Source:
    """The corpus `recipe.name` means; `how` says what a document of a .txt file is (`corpus.documents`). A `stream` of
    the Hub is not downloaded first."""
    name = recipe.name or ""
    if name.startswith(PREFIX):
        return _folder(name, bundled_folder(name.removeprefix(PREFIX)), how, [])
    path = Path(os.path.expanduser(name))
    if not name or not os.path.lexists(path):
        return open_source(replace(recipe, name=name or None), stream=stream)
    notes = local_notes(name, path)
    if path.is_dir():
        return _folder(name, path, how, notes)
    return Source(name, {"train": partial(_open, path.parent, [path], [], how)}, True, tuple(notes))


def _folder(name: str, folder: Path, how: str, notes: Sequence[str]) -> Source:
    """A folder's files by the split they are named after or lie in; without any such, all are training data.

    What is named as unlabelled is training data too: a corpus needs no labels.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    single: dict[str, list[Path]] = defaultdict(list)
    others: list[str] = []
    with explained(str(folder)):
        for path in _files_below(folder):
            parts = path.relative_to(folder).parts
            if not is_data_file(path) or is_sidecar(path):
                others.append(path.relative_to(folder).as_posix())
                continue
            at = next((n for n, part in enumerate(parts[:-1]) if canonical(part)), None)
            split = parts[at] if at is not None else split_of_file(path)
            split = _UNLABELLED if split.lower() in UNLABELLED else split if canonical(split) else ""
            # train/pos/1.txt: class folders, whose files are a text each.
            whole = at is not None and len(parts) > at + 2 and extension(path) == ".txt"
            (single if whole else found)[split].append(path)
    said = list(notes)
    training = next((split for split in [*found, *single] if canonical(split) == "train"), "")
    found[training] += found.pop(_UNLABELLED, [])
    for split in single:  # aclImdb has lists of addresses beside its class folders
        others.extend(p.relative_to(folder).as_posix() for p in found[split] if extension(p) == ".txt")
        found[split] = [p for p in found[split] if extension(p) != ".txt"]
    splits = {s: (found[s], single[s]) for s in sorted({*found, *single}) if found[s] or single[s]}
    if not splits:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "") or "nothing"
        raise DataError(
            f"{folder}: no texts in this folder (it holds {shown})",
            hint="files of text (.txt, .jsonl, .parquet, ...), or files named train.* and validation.*",
        )
    unnamed = splits.pop("", None)
    if unnamed is not None and any(canonical(split) == "train" for split in splits):
        others.extend(p.relative_to(folder).as_posix() for p in (*unnamed[0], *unnamed[1]))
    elif unnamed is not None:
        splits["train"] = unnamed
    said.extend(f"{name}: {split} is not read" for split in splits if canonical(split) == "test")
    if others:
        shown = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else "")
        said.append(f"{name}: left out {shown}")
    return Source(name, _openers(folder, splits, how), False, tuple(said))


def _openers(
    folder: Path, splits: Mapping[str, tuple[list[Path], list[Path]]], how: str
) -> dict[str, partial[list[Reader]]]:
    return {split: partial(_open, folder, files, whole, how) for split, (files, whole) in splits.items()}


def _open(folder: Path, files: Sequence[Path], whole: Sequence[Path], how: str, options: Options) -> list[Reader]:
    """Readers of `files`, and one of `whole`, text files that are a document each."""
    readers: list[Reader] = []
    whole = list(whole)
    for path in files:
        name = path.relative_to(folder).as_posix()
        if extension(path) != ".txt" or options.width or options.delimiter:
            readers.append(open_file(path, options, name))
        elif how == "file":
            whole.append(path)
        else:
            readers.append(open_documents(path, name, options, how))
    if whole:
        shown = [path.relative_to(folder).as_posix() for path in whole]
        readers.append(open_text_files(folder.name, whole, shown, options))
    return readers


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, in the order of their names; links are followed, but not twice."""
    entered: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        folders[:] = [] if real in entered else sorted(f for f in folders if not f.startswith("."))
        if real not in entered:
            yield from (Path(at, file) for file in sorted(files) if not file.startswith("."))
        entered.add(real)
