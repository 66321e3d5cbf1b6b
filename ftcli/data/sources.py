"""What a name of data means: builtin:NAME, a file, a folder, or a data set of the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from ftcli.bundled import PREFIX
from ftcli.data import hub
from ftcli.data.bundled import open_bundled
from ftcli.data.file_names import Naming
from ftcli.data.files import FORMATS, extension, open_file
from ftcli.data.folders import Opener, open_folder
from ftcli.data.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from ftcli.data.packed import PACKED
from ftcli.data.reader import Options, Reader
from ftcli.data.split import canonical, match
from ftcli.errors import DataError, FtcliError, UsageError, did_you_mean
from ftcli.recipe.schema import DataRecipe
from ftcli.text import several, visible


@dataclass(frozen=True)
class Source:
    """Data found under a name: its splits, each opened only when wanted."""

    name: str
    splits: Mapping[str, Opener]
    single: bool
    """One file: whichever split is asked for."""
    notes: tuple[str, ...] = ()


def open_source(recipe: DataRecipe, *, stream: bool = False) -> Source:
    """The data a recipe names; a `stream` of the Hub is read from there, never stored."""
    name = recipe.name
    if not name:
        raise UsageError("no data given", hint="--data NAME, e.g. --data reviews.csv or --data builtin:reviews")
    if name.startswith(PREFIX):
        splits, notes = open_bundled(name.removeprefix(PREFIX))
        return Source(name, splits, False, tuple(notes))
    path = Path(os.path.expanduser(name))
    if os.path.lexists(path):
        return _local(name, path, Naming(recipe.label_pattern, recipe.test_files))
    if looks_like_path(name):
        raise missing_path(path, "data")
    if stream:
        parts = hub.stream_hub(name, recipe.revision)
        return Source(name, {split: partial(_parts, opened) for split, opened in parts.items()}, False)
    readers, more = hub.open_hub(name, recipe.revision)
    return Source(name, {split: partial(_given, reader) for split, reader in readers.items()}, False, tuple(more))


def _local(name: str, path: Path, naming: Naming) -> Source:
    notes = local_notes(name, path)
    if not path.is_dir():
        return Source(name, {"train": partial(_one_file, path)}, True, tuple(notes))
    splits, more = open_folder(path, naming)
    # A folder around one file that is named after no split: that file.
    single = len(splits) == 1 and canonical(next(iter(splits))) is None
    return Source(name, splits, single, (*notes, *more))


def local_notes(name: str, path: Path) -> list[str]:
    """What to say of a name that was found on this machine; DataError for a broken link."""
    if not path.exists():
        raise DataError(f"{name}: a broken link (to {os.readlink(path)})")
    kind = "folder" if path.is_dir() else "file"
    return [f"'{name}' is the local {kind}, not the Hub's data set of that name"] if hub.is_alias(name) else []


def has_split(recipe: DataRecipe, split: str) -> bool:
    """True where the data a recipe names has a split of this name or meaning, and not the same rows for any."""
    source = open_source(recipe)
    return not source.single and match(split, source.splits) is not None


def no_split(source: Source, name: str) -> FtcliError:
    """The error for a split that a source lacks: UsageError for a name somebody made up, else DataError."""
    available = list(source.splits)
    hint = did_you_mean(name, available) if canonical(name) is None else None
    if canonical(name) and available:
        hint = f"--set data.{canonical(name)}_split={available[0]}"
    kind = UsageError if canonical(name) is None else DataError
    return kind(f"{source.name}: no split '{name}'; there is {', '.join(available)}", hint=hint)


def _one_file(path: Path, options: Options) -> list[Reader]:
    return [open_file(path, options)]


def _given(reader: Reader, options: Options) -> list[Reader]:
    return [reader]


def _parts(opened: Callable[[], list[Reader]], options: Options) -> list[Reader]:
    return opened()


def looks_like_path(name: str) -> bool:
    """True for what can only be a path: it starts like one, is deeper than a Hub name, or ends like a data file."""
    if name.startswith(("./", "../", "/", "~")) or name.endswith("/") or name.count("/") > 1:
        return True
    if hub.is_alias(name):
        return False
    return extension(Path(name)) in (*FORMATS, *IMAGE_SUFFIXES, *AUDIO_SUFFIXES) or name.lower().endswith(PACKED)


def missing_path(path: Path, what: str) -> UsageError:
    """A UsageError for a path that does not exist, naming what is near it."""
    folder = path.parent
    if not os.path.isdir(folder):
        nearest = next(parent for parent in folder.resolve().parents if parent.is_dir())
        return UsageError(
            f"{what} '{path}' does not exist: there is no folder '{folder}'", hint=_holds(nearest, folder.name)
        )
    return UsageError(f"{what} '{path}' does not exist", hint=_holds(folder.resolve(), path.name))


def _holds(folder: Path, wanted: str) -> str:
    """What a folder holds: what is spelt like `wanted`, or else its first names."""
    try:
        names = sorted(visible(name) for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return f"{folder} cannot be read"
    near = get_close_matches(wanted, names, n=3, cutoff=0.5)
    return f"in {folder} there is {', '.join(near) or several(names, 5) or 'nothing'}"
