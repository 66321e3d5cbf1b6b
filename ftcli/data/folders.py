"""Folders as data: files named after splits, class folders with a text or an image per file, or images alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ftcli.data.files import extension, is_data_file, open_file, open_images
from ftcli.data.images import is_image_file
from ftcli.data.lines import explained, open_lines
from ftcli.data.packed import without_packing
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.split import canonical
from ftcli.errors import DataError

Opener = Callable[[Options], list[Reader]]

UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
_SIDECARS = ("dataset_info", "dataset_infos", "dataset_dict", "state", "config", "metadata")
_SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")
_WORD = re.compile(r"[a-zA-Z]+")


def open_folder(folder: Path) -> tuple[dict[str, Opener], list[str]]:
    """The splits a folder holds, each to be opened when wanted, and notes on what was left out."""
    with explained(str(folder)):
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        files = _split_files(entries)
        # The aclImdb folder has text files beside its class folders; a file named after a split is another matter.
        if any(canonical(split) for split in files):
            return _file_splits(folder, files), []
        classes, notes = _class_splits(folder, entries)
        if classes:
            return classes, notes
        for inner in (folder / "data", *entries):
            if inner.is_dir() and (inner.name == "data" or canonical(inner.name)):
                files = files or _nested(entries)
                if inner.name == "data" and not files:
                    files = _split_files(sorted(inner.iterdir()))
        if files:
            return _file_splits(folder, files), []
        images = _image_splits(folder, entries)
        if images:
            return images, []
    found = ", ".join(entry.name + ("/" if entry.is_dir() else "") for entry in entries[:8]) or "nothing"
    raise DataError(
        f"{folder}: no data in this folder (it holds {found}{', ...' if len(entries) > 8 else ''})",
        hint="files named train.*, validation.*, test.* or a folder of .txt files, or of images, for each class",
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
    stem = _stem(path)
    if canonical(stem):
        return stem
    words = [word for word in _WORD.findall(stem) if canonical(word)]
    return words[0] if len(words) == 1 else stem


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


def _class_splits(folder: Path, entries: Sequence[Path]) -> tuple[dict[str, Opener], list[str]]:
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
    opened: dict[str, Opener] = {
        split: partial(_open_classes, folder, split, classes, names) for split, classes in splits.items()
    }
    return opened, notes


def _class_folders(folder: Path, notes: list[str], root: Path) -> list[Path]:
    inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classes = [entry for entry in inner if entry.name.lower() not in UNLABELLED]
    inside = [file for entry in classes for file in entry.iterdir()]
    # Folders without any text or image are not classes at all; an empty one beside others is a class that lost its
    # files. Those named after splits hold the images of a split without labels.
    if not any(map(_is_text, inside)):
        unlabelled = folder == root and all(canonical(entry.name) for entry in classes)
        if unlabelled or not any(map(is_image_file, inside)):
            return []
    notes.extend(f"{entry.relative_to(root)}: left out (no labels)" for entry in inner if entry not in classes)
    return classes


def _is_text(path: Path) -> bool:
    return extension(path) == ".txt" and not path.name.startswith(".")


def _open_classes(
    folder: Path, split: str, classes: Sequence[Path], names: tuple[str, ...], options: Options
) -> list[Reader]:
    files: list[tuple[Path, str | None]] = []
    with explained(str(folder)):
        inside = {entry: sorted(entry.iterdir()) for entry in classes}
    role = "text" if any(_is_text(file) for found in inside.values() for file in found) else "image"
    fits, what = (_is_text, ".txt files") if role == "text" else (is_image_file, "images")
    for entry, found in inside.items():
        fitting = [file for file in found if fits(file)]
        files.extend((file, entry.name) for file in fitting)
        if not fitting:
            files.append((entry, None))
    shown = tuple(path.relative_to(folder).as_posix() for path, _ in files)

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        for number, (path, label) in enumerate(files):
            if label is None:
                yield Raw(number, None, f"this class folder holds no {what}")
            elif role == "image":
                yield Raw(number, {"image": str(path), "label": label})
            else:
                yield _text_record(path, shown[number], number, label, options)

    places = Places(f"{folder.name}/{split}", files=shown)
    return [Reader(places, (role, "label"), read, class_names={"label": names})]


def _image_splits(folder: Path, entries: Sequence[Path]) -> dict[str, Opener]:
    """Images without labels, in folders named after splits or in the folder itself (then it is all training data)."""
    splits = {entry.name: entry for entry in entries if entry.is_dir() and canonical(entry.name)} or {"train": folder}
    found = {split: sorted(filter(is_image_file, place.iterdir())) for split, place in splits.items()}
    return {split: partial(_open_images, folder, split, files) for split, files in found.items() if files}


def _open_images(folder: Path, split: str, files: Sequence[Path], options: Options) -> list[Reader]:
    shown = tuple(path.relative_to(folder).as_posix() for path in files)
    return [open_images(files, f"{folder.name}/{split}", shown)]


def _text_record(path: Path, name: str, number: int, label: str, options: Options) -> Raw:
    with open_lines(path, name, options.encoding, strict=options.strict) as lines:
        text = "".join(lines)
        if lines.fault:
            return Raw(number, None, f"line {lines.fault[0]} {lines.fault[1]}")
    return Raw(number, {"text": text.rstrip("\r\n"), "label": label})
