"""Parallel texts: a file for each language, or for source and target, whose lines belong together.

``train.de.gz`` and ``train.en.gz`` are the split train with the columns ``de`` and ``en``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import zip_longest
from pathlib import Path

from ftcli.data.lines import open_lines
from ftcli.data.packed import without_packing
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.split import canonical, split_of_name
from ftcli.errors import DataError

LANGUAGES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu", "it", "ja",
    "ka", "ko", "lt", "lv", "nb", "nl", "nn", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "sw", "ta", "th", "tr",
    "uk", "ur", "vi", "zh", "en",
)  # fmt: skip
"""Codes of languages that texts are mostly to be had in; English last, since most is translated into it. None that is
a word in its own right (id, no, is)."""
SIDES = ("source", "target", "src", "tgt", "article", "document", "summary")
"""Endings, beside codes of languages, that tell the files of a split apart."""
_LANGUAGE = re.compile(rf"({'|'.join(LANGUAGES)})([-_][A-Za-z]{{2,4}})?|[a-z]{{3}}_[A-Z][a-z]{{3}}")


def parallel_files(entries: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Stem -> side -> file, of files that differ in their ending alone; empty where a folder holds none, or where one
    stem has other sides than the next."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for entry in entries:
        stem, _, side = without_packing(entry.name).removesuffix(".txt").rpartition(".")
        if stem and is_side(side) and entry.is_file():
            found[stem][side] = entry
    found = {stem: files for stem, files in found.items() if len(files) > 1}
    return dict(found) if len({frozenset(files) for files in found.values()}) == 1 else {}


def is_side(ending: str) -> bool:
    """True for a language's code (de, zh-CN, eng_Latn), or a side's name."""
    return ending in SIDES or _LANGUAGE.fullmatch(ending) is not None


def parallel_splits(
    folder: Path, pairs: Mapping[str, Mapping[str, Path]]
) -> dict[str, Callable[[Options], list[Reader]]]:
    """Parallel files by the split in their common name; all of them training data where there is but one name."""
    named: dict[str, list[str]] = defaultdict(list)
    for stem in pairs:
        named[split_of_name(stem)].append(stem)
    if len(pairs) == 1 and not any(map(canonical, named)):
        named = defaultdict(list, train=list(pairs))
    return {split: partial(_open_sides, folder, split, [pairs[s] for s in stems]) for split, stems in named.items()}


def _open_sides(folder: Path, split: str, pairs: Sequence[Mapping[str, Path]], options: Options) -> list[Reader]:
    if len(pairs) > 1:
        names = ", ".join(path.name for files in pairs for path in files.values())
        raise DataError(
            f"{folder}: more than one set of parallel files for the {split} split: {names}",
            hint="move the others into a folder of their own",
        )
    [files] = pairs
    shown = {side: path.relative_to(folder).as_posix() for side, path in files.items()}
    return [open_parallel(files, " | ".join(shown[side] for side in sorted(shown)), shown, options)]


def open_parallel(files: Mapping[str, Path], name: str, shown: Mapping[str, str], options: Options) -> Reader:
    """The lines of several files side by side, a column each; `shown` is how messages call them."""
    sides = tuple(sorted(files))

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        with ExitStack() as stack:
            opened = {
                side: stack.enter_context(
                    open_lines(files[side], shown[side], options.encoding, strict=options.strict)
                )
                for side in sides
            }  # fmt: skip
            for number, texts in enumerate(zip_longest(*opened.values()), 1):
                if None in texts:
                    raise DataError(_uneven(dict(zip(sides, texts, strict=True)), shown, number))
                faults = [
                    f"{shown[side]} {lines.fault[1]}"
                    for side, lines in opened.items()
                    if lines.fault and lines.fault[0] == lines.number
                ]
                if faults:
                    yield Raw(number, None, "; ".join(faults))
                else:
                    yield Raw(number, {s: text.rstrip("\r\n") for s, text in zip(sides, texts, strict=True)})

    if next(read(None), None) is None:
        raise DataError(f"{name}: the files are empty")
    return Reader(Places(name), sides, read, typed=False)


def _uneven(texts: Mapping[str, str | None], shown: Mapping[str, str], number: int) -> str:
    ended = next(shown[side] for side, text in texts.items() if text is None)
    goes_on = next(shown[side] for side, text in texts.items() if text is not None)
    return f"{ended} ends after line {number - 1}, {goes_on} goes on: lines of parallel files belong together"
