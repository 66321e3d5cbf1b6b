"""What names of files say: the label of each, and which are for the test."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from ftcli.errors import UsageError

_FIELD = re.compile(r"\{(\w*)\}|\*")


@dataclass(frozen=True)
class Naming:
    """How a recipe reads the names of files (``data.label_pattern``, ``data.test_files``)."""

    label_pattern: str | None = None
    """``{label}_{speaker}_{take}``: a file's name, without its extension where the pattern has none. What stands for
    {label} is the label, the shortest that fits; other fields, and ``*``, stand for anything."""
    test_files: str | None = None
    """``*_george_*``: shell-like; the files whose names, or paths in the folder, fit make up the test split."""

    def label(self, path: Path, root: Path) -> str | None:
        """The label in a file's name; None where it does not fit the pattern."""
        found = self._pattern.fullmatch(self._name(path, root))
        return None if found is None else found["label"]

    def is_test(self, path: Path, root: Path) -> bool:
        """True for a file that the test split is to have."""
        wanted = self.test_files or ""
        inside = path.relative_to(root).as_posix()
        return fnmatchcase(path.name, wanted) or fnmatchcase(inside, wanted)

    def _name(self, path: Path, root: Path) -> str:
        pattern = self.label_pattern or ""
        inside = path.relative_to(root).as_posix() if "/" in pattern else path.name
        return inside if "." in pattern.rpartition("/")[2] else inside[: len(inside) - len(path.suffix)]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern = self.label_pattern or ""
        fields = [match[1] for match in _FIELD.finditer(pattern)]
        if fields.count("label") != 1:
            raise UsageError(
                f"data.label_pattern '{pattern}' says nowhere, or twice, where the label stands",
                hint="--set 'data.label_pattern={label}_{speaker}_{take}' reads 7_george_0.wav as label 7",
            )
        pieces: list[str] = []
        end = 0
        for match in _FIELD.finditer(pattern):
            pieces += [re.escape(pattern[end : match.start()]), "(?P<label>[^/]+?)" if match[1] == "label" else "[^/]*"]
            end = match.end()
        return re.compile("".join([*pieces, re.escape(pattern[end:])]), re.DOTALL)


NOTHING = Naming()
"""Names that say nothing."""
