"""Folders as data: files named after splits, class folders with a text, an image or a sound per file, files whose names
hold their labels, a list of files beside them, or images or sounds alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ftcli.contract import Kind
from ftcli.data.coco_files import FIELDS
from ftcli.data.file_names import NOTHING, Naming
from ftcli.data.files import extension, is_data_file, open_file, open_media
from ftcli.data.lines import explained, open_lines
from ftcli.data.media import SUFFIXES, kind_of_file
from ftcli.data.packed import without_packing
from ftcli.data.parallel_files import parallel_files, parallel_splits
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.split import canonical, split_of_name
from ftcli.errors import DataError, UsageError

Opener = Callable[[Options], list[Reader]]

UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
_SIDECARS = ("dataset_info", "dataset_infos", "dataset_dict", "state", "config", "metadata")
_SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")
_PLURALS = {"text": ".txt files", "image": "images", "audio": "sounds"}


def open_folder(folder: Path, naming: Naming = NOTHING) -> tuple[dict[str, Opener], list[str]]:
    """The splits a folder holds, each to be opened when wanted, and notes on what was left out."""
    with explained(str(folder)):
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        if naming.label_pattern is not None:
            return _named_splits(folder, entries, naming), []
        listed = _listed_splits(folder, entries) or _annotated_splits(folder, entries)
        if listed:
            return listed, []
        pairs = parallel_files(entries)
        if pairs:
            return parallel_splits(folder, pairs), []
        files = _split_files(entries)
        # The aclImdb folder has text files beside its class folders; a file named after a split is another matter.
        if any(canonical(split) for split in files):
            return _file_splits(folder, files), []
        classes, notes = _class_splits(folder, entries, naming)
        if classes:
            return classes, notes
        for inner in (folder / "data", *entries):
            if inner.is_dir() and (inner.name == "data" or canonical(inner.name)):
                files = files or _nested(entries)
                if inner.name == "data" and not files:
                    files = _split_files(sorted(inner.iterdir()))
        if files:
            return _file_splits(folder, files), []
        files_alone = _media_splits(folder, entries, naming)
        if files_alone:
            return files_alone, []
    found = ", ".join(entry.name + ("/" if entry.is_dir() else "") for entry in entries[:8]) or "nothing"
    raise DataError(
        f"{folder}: no data in this folder (it holds {found}{', ...' if len(entries) > 8 else ''})",
        hint="files named train.*, validation.*, test.* or a folder of .txt files, images or sounds for each class",
    )


def _split_files(entries: Sequence[Path]) -> dict[str, list[Path]]:
    """Data files by the split they are named after."""
    found: dict[str, list[Path]] = defaultdict(list)
    for entry in entries:
        if is_data_file(entry) and entry.is_file() and not is_sidecar(entry):
            found[split_of_file(entry)].append(entry)
    return dict(found)


def _nested(entries: Sequence[Path]) -> dict[str, list[Path]]:
    """Data files in folders that are named after splits."""
    found = {}
    for entry in entries:
        if entry.is_dir() and canonical(entry.name):
            inside = [f for f in sorted(entry.iterdir()) if is_data_file(f) and not is_sidecar(f)]
            if inside:
                found[entry.name] = inside
    return found


def _stem(path: Path) -> str:
    name = without_packing(path.name)
    return _SHARD.sub("", name[: -len(extension(path))])


def is_sidecar(path: Path) -> bool:
    """True for files that libraries put beside the data."""
    return _stem(path) in _SIDECARS


def split_of_file(path: Path) -> str:
    """The split in a file name: ``train``, or the one split word of ``reviews-train``; else the name itself."""
    return split_of_name(_stem(path))


def _file_splits(folder: Path, files: Mapping[str, list[Path]]) -> dict[str, Opener]:
    return {split: partial(_open_files, folder, split, paths) for split, paths in files.items()}


def _open_files(folder: Path, split: str, paths: Sequence[Path], options: Options) -> list[Reader]:
    shards = [path for path in paths if _SHARD.search(path.name.split(".")[0]) or path.parent.name == split]
    if len(paths) > 1 and (len(shards) < len(paths) or len({extension(path) for path in paths}) > 1):
        names = ", ".join(path.name for path in paths)
        raise DataError(
            f"{folder}: more than one file for the {split} split: {names}", hint="give one of them, or move one away"
        )
    return [open_file(path, options, path.relative_to(folder).as_posix()) for path in paths]


def _class_splits(folder: Path, entries: Sequence[Path], naming: Naming) -> tuple[dict[str, Opener], list[str]]:
    """Class folders below split folders, or below the folder itself (then it is all training data)."""
    notes: list[str] = []
    splits = {
        entry.name: _class_folders(entry, notes, folder)
        for entry in entries
        if entry.is_dir() and canonical(entry.name)
    }
    splits = {split: classes for split, classes in splits.items() if classes}
    if not splits:
        classes = _class_folders(folder, notes, folder)
        splits = {"train": classes} if classes else {}
    names = tuple(sorted({path.name for classes in splits.values() for path in classes}))
    found = {split: _of_classes(classes) for split, classes in splits.items()}
    opened: dict[str, Opener] = {
        split: partial(_open_classes, folder, split, role, files, names)
        for split, (role, files) in _test_apart(found, folder, naming).items()
    }
    return opened, notes


def _class_folders(folder: Path, notes: list[str], root: Path) -> list[Path]:
    inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classes = [entry for entry in inner if entry.name.lower() not in UNLABELLED]
    inside = [file for entry in classes for file in entry.iterdir()]
    # Folders without any text, image or sound are not classes at all; an empty one beside others is a class that lost
    # its files. Those named after splits hold the files of a split without labels.
    if not any(map(_is_text, inside)):
        unlabelled = folder == root and all(canonical(entry.name) for entry in classes)
        if unlabelled or not any(map(kind_of_file, inside)):
            return []
    notes.extend(f"{entry.relative_to(root)}: left out (no labels)" for entry in inner if entry not in classes)
    return classes


def _is_text(path: Path) -> bool:
    return extension(path) == ".txt" and not path.name.startswith(".")


_Labelled = tuple[str, list[tuple[Path, str | None]]]
"""Role of what files hold, and each file with its label; of a folder that lacks files, the folder itself."""


def _of_classes(classes: Sequence[Path]) -> _Labelled:
    """The files of class folders that are of the kind most told by: texts where there are any, else images, sounds."""
    inside = {entry: sorted(entry.iterdir()) for entry in classes}
    found = [file for files in inside.values() for file in files]
    kinds = {kind_of_file(file) for file in found}
    role = "text" if any(map(_is_text, found)) else next(kind for kind in SUFFIXES if kind in kinds)
    fits = _is_text if role == "text" else partial(_is_of, role)
    files: list[tuple[Path, str | None]] = []
    for entry, within in inside.items():
        fitting = [file for file in within if fits(file)]
        files.extend((file, entry.name) for file in fitting)
        if not fitting:
            files.append((entry, None))
    return role, files


def _is_of(kind: Kind, path: Path) -> bool:
    return kind_of_file(path) == kind


def _test_apart(splits: Mapping[str, _Labelled], folder: Path, naming: Naming) -> Mapping[str, _Labelled]:
    """The splits, the test's files taken out of the others where the recipe tells them by name."""
    if naming.test_files is None:
        return splits
    found: dict[str, _Labelled] = {}
    tests: list[tuple[Path, str | None]] = []
    role = ""
    for split, (role, files) in splits.items():
        tests += [(file, label) for file, label in files if naming.is_test(file, folder)]
        found[split] = role, [(file, label) for file, label in files if not naming.is_test(file, folder)]
    if not tests or not any(files for _, files in found.values()):
        raise UsageError(
            f"data.test_files '{naming.test_files}' fits {'all' if tests else 'none'} of the files in {folder}",
            hint="shell-like, e.g. '*_george_*'",
        )
    found["test"] = role, tests
    return {split: pair for split, pair in found.items() if pair[1]}


def _open_classes(
    folder: Path,
    split: str,
    role: str,
    files: Sequence[tuple[Path, str | None]],
    names: tuple[str, ...],
    options: Options,
    lacking: str | None = None,
) -> list[Reader]:
    shown = tuple(path.relative_to(folder).as_posix() for path, _ in files)
    fault = lacking or f"this class folder holds no {_PLURALS[role]}"

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for number, (path, label) in enumerate(files):
            if label is None:
                yield Raw(number, None, fault)
            elif role in SUFFIXES:
                yield Raw(number, {role: str(path), "label": label})
            else:
                yield _text_record(path, shown[number], number, label, options)

    places = Places(f"{folder.name}/{split}", files=shown)
    return [Reader(places, (role, "label"), read, class_names={"label": names})]


def _named_splits(folder: Path, entries: Sequence[Path], naming: Naming) -> dict[str, Opener]:
    """Images or sounds, in folders named after splits or anywhere in the folder, with the labels in their names."""
    places = {entry.name: entry for entry in entries if entry.is_dir() and canonical(entry.name)} or {"train": folder}
    inside = {split: sorted(filter(kind_of_file, place.rglob("*"))) for split, place in places.items()}
    kinds = {kind_of_file(file) for files in inside.values() for file in files}
    if not kinds:
        raise DataError(f"{folder}: no image or sound in this folder, whose names data.label_pattern could read")
    role = next(kind for kind in SUFFIXES if kind in kinds)
    found: dict[str, _Labelled] = {
        split: (role, [(file, naming.label(file, folder)) for file in files if kind_of_file(file) == role])
        for split, files in inside.items()
    }
    names = tuple(sorted({label for _, files in found.values() for _, label in files if label is not None}))
    lacking = f"its name does not fit data.label_pattern '{naming.label_pattern}'"
    return {
        split: partial(_open_classes, folder, split, role, files, names, lacking=lacking)
        for split, (_, files) in _test_apart(found, folder, naming).items()
    }


def _listed_splits(folder: Path, entries: Sequence[Path]) -> dict[str, Opener]:
    """Splits whose files a table named ``metadata`` beside them lists, as the datasets library has them."""
    places = {entry.name: entry for entry in entries if entry.is_dir() and canonical(entry.name)} or {"train": folder}
    found: dict[str, Opener] = {}
    for split, place in places.items():
        tables = [place / f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
        table = next((table for table in tables if table.is_file()), None)
        if table is not None and "file_name" in open_file(table, Options()).fields:
            found[split] = partial(_open_files, folder, split, [table])
    return found


def _annotated_splits(folder: Path, entries: Sequence[Path]) -> dict[str, Opener]:
    """Splits that COCO files tell of: in folders named after splits, or in the folder ``annotations``, as COCO itself
    has them beside other tasks' (``instances_train2017.json``)."""
    places = {entry.name: entry for entry in entries if entry.is_dir() and canonical(entry.name)}
    found = {split: [file for file in sorted(place.iterdir()) if _may_be_coco(file)] for split, place in places.items()}
    inner = folder / "annotations"
    if inner.is_dir() and not any(found.values()):
        files = [file for file in sorted(inner.iterdir()) if extension(file) == ".json" and is_data_file(file)]
        found = _split_files([file for file in files if file.name.startswith("instances")] or files)
        found = {split: of_split for split, of_split in found.items() if canonical(split)}
    return {split: partial(_open_files, folder, split, files) for split, files in found.items() if files}


def _may_be_coco(file: Path) -> bool:
    name = file.name.lower()
    named = any(word in name for word in ("coco", "instances", "annotations"))
    return named and extension(file) == ".json" and open_file(file, Options()).fields == FIELDS


def _media_splits(folder: Path, entries: Sequence[Path], naming: Naming) -> dict[str, Opener]:
    """Images or sounds without labels, in folders named after splits or in the folder itself (then it is all training
    data)."""
    splits = {entry.name: entry for entry in entries if entry.is_dir() and canonical(entry.name)} or {"train": folder}
    for kind in SUFFIXES:
        found: dict[str, _Labelled] = {
            split: (str(kind), [(file, None) for file in sorted(place.iterdir()) if _is_of(kind, file)])
            for split, place in splits.items()
        }
        found = {split: pair for split, pair in found.items() if pair[1]}
        if found:
            return {
                split: partial(_open_media, folder, split, kind, [file for file, _ in files])
                for split, (_, files) in _test_apart(found, folder, naming).items()
            }
    return {}


def _open_media(folder: Path, split: str, kind: Kind, files: Sequence[Path], options: Options) -> list[Reader]:
    shown = tuple(path.relative_to(folder).as_posix() for path in files)
    return [open_media(kind, files, f"{folder.name}/{split}", shown)]


def _text_record(path: Path, name: str, number: int, label: str, options: Options) -> Raw:
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        text = "".join(lines)
        if lines.fault:
            return Raw(number, None, f"line {lines.fault[0]} {lines.fault[1]}")
    return Raw(number, {"text": text.rstrip("\r\n"), "label": label})
