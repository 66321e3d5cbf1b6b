"""Finished stages kept under what went into them: the same again is taken from here and not trained.

An entry is a folder named by the hash of the stage's recipe, the fingerprints of its data, the weights and the
configuration it started from and how it read its rows; not of where any of these lie. It holds what a run folder does
but for checkpoints and log, under a manifest of checksums that is written last: what is not whole is not taken. Copies
go in and out, so that nothing done to a run changes an entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ftcli
from ftcli.data.streamed import Streamed
from ftcli.data.token_cache import key_of, user_folder
from ftcli.recipe.load import flatten, to_tree, to_yaml
from ftcli.recipe.schema import Recipe
from ftcli.runs.environment import model_fingerprint
from ftcli.runs.folder import LOCK, RunFolder
from ftcli.runs.parts import Parts
from ftcli.runs.resume import FREE
from ftcli.text import without_secrets

LARGEST = 20 << 30
"""Bytes of all entries together; the least recently used go first."""
MANIFEST = "manifest.json"
LAST = ("recipe.yaml", "report.json")
"""Files of a run folder that say how far it is: they come last."""
_LEFT_OUT = ("checkpoints", "log.txt", LOCK, MANIFEST)
_PARTIAL = ".partial-"
_STALE = 24 * 3600.0


def write_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """recipe.yaml: without secrets, and without the folder's own name, so that a repeat gets a new one."""
    folder.write("recipe.yaml", to_yaml(replace(recipe, out=None), without_secrets))


def open_shelf(recipe: Recipe) -> Shelf | None:
    """The shelf a recipe asks for."""
    if recipe.stage_cache == "none":
        return None
    return Shelf(Path(recipe.stage_cache).expanduser() if recipe.stage_cache else user_folder() / "stages")


class Shelf:
    """A folder of entries, shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, command: str, parts: Parts) -> Entry | None:
        """The entry, there or not, of a run about to begin; None for one whose model says where its base lies, and
        where it cannot be told how rows are read, or that all of a stream is what it was."""
        if parts.method.keeps_base or isinstance(parts.data, Streamed):
            return None
        images = parts.source.images
        reading = images.to_dict() if images is not None else parts.task.encoding()
        if reading is None:
            return None
        settings = {k: v for k, v in flatten(to_tree(parts.recipe), "recipe").items() if not k.startswith(FREE)}
        config = {k: v for k, v in parts.source.config.to_dict().items() if k not in _OF_FILE}
        facts = {
            "ftcli": ftcli.__version__,
            "command": command,
            "recipe": settings,
            "model": model_fingerprint(parts.model),
            "config": _plain(config),
            "data": dict(parts.data.fingerprints),
            "reading": _plain(reading),
            "precision": parts.precision.name,
        }
        return Entry(self, self.folder / key_of(facts))

    def make_room(self, keep: Path) -> None:
        """Remove what was left half written, and the entries used longest ago while all are too many."""
        found = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.name.startswith(_PARTIAL):
                    if time.time() - path.stat().st_mtime > _STALE:
                        shutil.rmtree(path, ignore_errors=True)
                    continue
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                found.append(((path / MANIFEST).stat().st_mtime, size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= LARGEST:
                break
            if path != keep:
                shutil.rmtree(path, ignore_errors=True)
                total -= size


_OF_FILE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""Of a configuration: where it came from, which changes nothing that is computed."""


@dataclass(frozen=True)
class Entry:
    """A place on the shelf."""

    shelf: Shelf
    path: Path

    def take(self, folder: RunFolder, recipe: Recipe) -> bool:
        """Copy the entry into a run folder, with `recipe` as this run has it; False where there is none that is whole.

        What says that the run is finished comes last.
        """
        try:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            files = {file.relative_to(self.path).as_posix(): _checksum(file) for file in _files(self.path)}
            if files != manifest["files"] or not set(LAST) <= set(files):
                raise ValueError("not an entry")
        except FileNotFoundError:
            return False
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shutil.rmtree(self.path, ignore_errors=True)
            return False
        for name in files:
            if name not in LAST:
                (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.path / name, folder.path / name)
        write_recipe(folder, recipe)
        folder.write("report.json", (self.path / "report.json").read_text(encoding="utf-8"))
        with suppress(OSError):
            os.utime(self.path / MANIFEST)  # used now
        return True

    def put(self, folder: RunFolder) -> bool:
        """Keep a finished run; False where that cannot be done (a full disk), which costs a later run its time."""
        try:
            self.shelf.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.shelf.folder))
            try:
                files = {}
                for file in _files(folder.path):
                    name = file.relative_to(folder.path).as_posix()
                    (beside / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, beside / name)
                    files[name] = _checksum(beside / name)
                (beside / MANIFEST).write_text(json.dumps({"files": files}, indent=2), encoding="utf-8")
                shutil.rmtree(self.path, ignore_errors=True)
                beside.rename(self.path)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            self.shelf.make_room(self.path)
        except OSError:
            return False
        return True


def _files(folder: Path) -> Iterator[Path]:
    """What of a run folder is kept."""
    for path in sorted(folder.iterdir()):
        if path.name not in _LEFT_OUT:
            yield from (file for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    """`value` as JSON holds it; what it has no form for in words."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))
