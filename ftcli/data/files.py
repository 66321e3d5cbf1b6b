"""Any local file as a reader, by its extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ftcli.contract import Kind
from ftcli.data.arrow_files import open_arrow, open_parquet
from ftcli.data.conll_files import open_conll
from ftcli.data.json_files import open_json
from ftcli.data.media import kind_of_file
from ftcli.data.packed import PACKED, without_packing
from ftcli.data.reader import Options, Places, Raw, Reader
from ftcli.data.text_files import open_csv, open_json_lines, open_separated_text, open_text
from ftcli.errors import DataError

FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".txt", ".conll")


def extension(path: Path) -> str:
    """The extension that tells the format: lower case, without ``.gz`` or ``.zst``."""
    return Path(without_packing(path.name.lower())).suffix


def is_data_file(path: Path) -> bool:
    """True for a name with a known extension."""
    return extension(path) in FORMATS and not path.name.startswith(".")


def open_file(path: Path, options: Options, name: str | None = None) -> Reader:
    """A reader for one file; `name` is how messages call it."""
    kind = kind_of_file(path)
    if kind is not None:
        return open_media(kind, [path], name or path.name, (name or path.name,))
    return replace(_open_table(path, options, name), folder=path.parent)


def open_media(kind: Kind, paths: Sequence[Path], name: str, shown: tuple[str, ...]) -> Reader:
    """Images or sounds without labels, a record each; `shown` are their names in messages."""

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        return (Raw(number, {str(kind): str(path)}) for number, path in enumerate(paths))

    return Reader(Places(name, files=shown), (str(kind),), read)


def _open_table(path: Path, options: Options, name: str | None) -> Reader:
    name = name or path.name
    kind = extension(path)
    if kind in (".csv", ".tsv"):
        return open_csv(path, name, options, "\t" if kind == ".tsv" else ",")
    if kind == ".json":
        return open_json(path, name, options)
    if kind in (".jsonl", ".ndjson"):
        return open_json_lines(path, name, options)
    if kind == ".parquet":
        return open_parquet(path, name)
    if kind == ".arrow":
        return open_arrow(path, name)
    if kind == ".txt":
        if options.width:
            return open_separated_text(path, name, options)
        return open_csv(path, name, options, " ") if options.delimiter else open_text(path, name, options)
    if kind == ".conll":
        return open_conll(path, name, options)
    shown = f"the extension '{kind}' is not one" if kind else "a file without an extension is not one"
    raise DataError(
        f"{name}: {shown} that can be read", hint=f"one of {' '.join(FORMATS)} (each also {' or '.join(PACKED)})"
    )
