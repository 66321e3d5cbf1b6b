"""Readers for parquet and Arrow files, and for anything that comes as Arrow batches."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftcli.data.lines import explained
from ftcli.data.packed import PACKED, open_bytes
from ftcli.data.reader import Places, Raw, Reader
from ftcli.errors import DataError

_ROWS = 1000
"""Rows turned into Python values at a time, ..."""
_BATCH_BYTES = 16 << 20
"""... if they are no more than so many bytes."""
_BUFFER = 1 << 20
"""Bytes of a parquet column read at a time; a row group may be as large as the file."""

Batches = Callable[[Sequence[str] | None], Iterator[Any]]


def open_parquet(path: Path, name: str) -> Reader:
    """A parquet file; only the columns asked for are read."""
    import pyarrow.parquet as pq

    with _explained(name, "parquet"):
        schema = pq.ParquetFile(_source(path, name)).schema_arrow
        fields = list(schema.names)

    def batches(columns: Sequence[str] | None) -> Iterator[Any]:
        with _explained(name, "parquet"), pq.ParquetFile(_source(path, name), buffer_size=_BUFFER) as file:
            yield from file.iter_batches(_ROWS, columns=None if columns is None else list(columns))

    return arrow_reader(name, fields, _features(schema), batches)


def open_arrow(path: Path, name: str) -> Reader:
    """An Arrow file, of the file or of the stream kind."""
    with _explained(name, "Arrow"):
        schema = _open_ipc(path, name)[0]
        fields = list(schema.names)

    def batches(columns: Sequence[str] | None) -> Iterator[Any]:
        with _explained(name, "Arrow"):
            for batch in _open_ipc(path, name)[1]:
                batch.validate(full=True)  # reading one that lies about its sizes would crash
                yield batch if columns is None else batch.select(list(columns))

    return arrow_reader(name, fields, _features(schema), batches)


def arrow_reader(name: str, fields: Sequence[str], features: Mapping[str, Any], batches: Batches) -> Reader:
    """A reader over Arrow batches (or tables); `features` is what the datasets library says of columns, as JSON."""
    double = sorted({field for field in fields if list(fields).count(field) > 1})
    if double:
        raise DataError(f"{name}: the schema has {', '.join(double)} more than once")

    def read(columns: Sequence[str] | None) -> Iterator[Raw]:
        row = 0
        for batch in batches(columns):
            # Rows of images are large: fewer of them at a time.
            rows = max(1, min(_ROWS, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes)))
            for start in range(0, batch.num_rows, rows):
                for values in _python_rows(batch.slice(start, rows), name, row):
                    row += 1
                    yield Raw(row, values)

    names, languages = names_of_labels(features), languages_of(features)
    return Reader(Places(name, "row"), tuple(fields), read, class_names=names, languages=languages)


def _python_rows(batch: Any, name: str, row: int) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        raise DataError(f"{name}: text in rows {row + 1} to {row + batch.num_rows} is not valid UTF-8") from None
    return rows


def _open_ipc(path: Path, name: str) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    source = _source(path, name)
    opened = pa.OSFile(source) if isinstance(source, str) else source
    try:
        file = pa.ipc.open_file(opened)
    except pa.ArrowInvalid:
        opened.seek(0)
        stream = pa.ipc.open_stream(opened)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(n) for n in range(file.num_record_batches))


def _source(path: Path, name: str) -> Any:
    """The path, or the unpacked content of a packed file: these formats need random access."""
    with explained(name):
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{name}: the file is empty")
        if path.suffix.lower() not in PACKED:
            return str(path)
        unpacked = tempfile.TemporaryFile(prefix="ftcli-")  # noqa: SIM115 (the reader keeps it)
        with open_bytes(path) as packed:
            shutil.copyfileobj(packed, unpacked)
        unpacked.seek(0)
        return unpacked


@contextmanager
def _explained(name: str, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{name}: not a readable {kind} file ({reason})") from None


def _features(schema: Any) -> dict[str, Any]:
    """What the datasets library keeps of the columns in the schema (names of integer labels, languages)."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names_of_labels(features)
        languages_of(features)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        return {}
    return dict(features)


def names_of_labels(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Column -> names of its integer labels, or of those in its lists and objects; `features` is what the datasets
    library says of columns, as JSON."""
    found = {column: _label_names(feature) for column, feature in features.items()}
    for column, feature in features.items():  # of labels in a column of objects also by their path
        if isinstance(feature, Mapping) and not isinstance(feature.get("_type"), str):
            found |= {f"{column}.{path}": names for path, names in names_of_labels(feature).items()}
    return {column: names for column, names in found.items() if names}


def languages_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Column -> its languages in the order the source says, of those that hold a text in each."""
    return {
        column: tuple(map(str, feature.get("languages") or ()))
        for column, feature in features.items()
        if isinstance(feature, Mapping) and feature.get("_type") == "Translation"
    }


def _label_names(feature: Any) -> tuple[str, ...]:
    if isinstance(feature, list):
        return _label_names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    kind = feature.get("_type")
    if kind == "ClassLabel":
        return tuple(str(name) for name in feature.get("names") or ())
    if kind in ("List", "LargeList", "Sequence"):
        return _label_names(feature.get("feature"))
    if isinstance(kind, str):
        return ()
    inside = [names for names in map(_label_names, feature.values()) if names]  # boxes, each with a category
    return inside[0] if len(inside) == 1 else ()
