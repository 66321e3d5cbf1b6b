"""Images: where a value names one, whether it can be decoded, and how a split keeps many of them.

A row holds an image as the path of its file or as the bytes of one, never as pixels: those are made where a task
encodes the row.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftcli.data.reader import Raw
from ftcli.data.spool import Numbers, Spool
from ftcli.data.text_files import json_kind
from ftcli.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm")
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is opened, by content: of the library's other formats some run a program of their own."""

# Said of images that are decoded all the same (odd metadata, palettes), once per process and to nobody's use.
warnings.filterwarnings("ignore", module=r"PIL\.")


def is_image_file(path: Path) -> bool:
    """True for a name that ends like an image's."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def are_images(values: Sequence[Any]) -> bool:
    """True where the values of a column look like images: bytes, names of image files, or structs of the two."""
    present = [value for value in values if value is not None]
    return bool(present) and all(_looks_like_image(value) for value in present)


def _looks_like_image(value: Any) -> bool:
    if isinstance(value, dict):
        return {"bytes", "path"} >= set(value) and any(map(_looks_like_image, value.values()))
    return isinstance(value, bytes) or (isinstance(value, str) and value.lower().endswith(SUFFIXES))


def located(raw: Raw, fields: Sequence[str], folder: Path | None) -> Raw:
    """The record with the images in `fields` as whole paths or as bytes; what is neither stays as it is.

    A path starts from `folder`, that of the file it stands in, or from where the command runs.
    """
    if raw.values is None or not fields:
        return raw
    found = {field: _located(raw.values[field], folder) for field in fields if field in raw.values}
    return raw._replace(values={**raw.values, **found})


def _located(value: Any, folder: Path | None) -> Any:
    if isinstance(value, dict) and {"bytes", "path"} >= set(value):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if not isinstance(value, str) or not value.strip() or "://" in value:
        return value
    path = os.path.expanduser(value)
    beside = os.path.join(folder, path) if folder is not None else path
    return os.path.abspath(beside if os.path.lexists(beside) else path)


def image_fault(value: Any, role: str = "image") -> str | None:
    """What makes a value unusable as an image; None where it can be decoded to its end."""
    if value is None:
        return f"{role} is null"
    if isinstance(value, str):
        if not value.strip():
            return f"{role} is empty"
        if "://" in value:
            return f"{role} is an address ({value[:80]}), not a file; download it first"
        if not os.path.isfile(value):
            return f"{role}: there is no file '{value}'"
    elif not isinstance(value, bytes):
        return f"{role} is {json_kind(value)}, not an image"
    try:
        with _opened(value) as image:
            image.draft(
                "L", (image.width // 8 or 1, image.height // 8 or 1)
            )  # JPEG: all bytes are read, few pixels made
            image.load()
            unknown = image.mode in ("I", "F")
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken file makes the decoders say
        return f"{role}{_name(value)} cannot be decoded: {_reason(error)}"
    return f"{role}{_name(value)} has pixels of 32 bits, whose range is not known" if unknown else None


def decode(value: str | bytes, mode: str) -> Any:
    """The image of a row as a PIL image of `mode` (``RGB`` or ``L``), the way up its camera says; the first frame.

    Raises DataError where it cannot be decoded (any more).
    """
    from PIL import Image, ImageOps

    try:
        with _opened(value) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # to 8 bits; the library itself would cut off what is bright
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"image{_name(value)} cannot be decoded: {_reason(error)}") from None


def _opened(value: str | bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(value) if isinstance(value, bytes) else value, formats=_FORMATS)


def _name(value: str | bytes) -> str:
    return f" '{value}'" if isinstance(value, str) else ""


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image of a known kind, or damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Images:
    """Images of a column: paths and bytes, one after the other."""

    def __init__(self, ends: Any, paths: Any, data: Spool) -> None:
        self._ends, self._paths, self._data = ends, paths, data

    def __len__(self) -> int:
        return len(self._ends)

    def many(self, rows: Any) -> list[str | bytes]:
        """The images of these rows: `str` is a path."""
        found: list[str | bytes] = []
        for row in np.asarray(rows).tolist():
            start = int(self._ends[row - 1]) if row else 0
            value = self._data.read(start, int(self._ends[row]) - start)
            found.append(value.decode("utf-8", "surrogateescape") if self._paths[row] else value)
        return found

    def prints(self, rows: Any) -> list[str]:
        """Hashes of the files' content: the same images elsewhere, or under other names, are the same data."""
        return [hashlib.sha256(_content(value)).hexdigest() for value in self.many(rows)]


def _content(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return Path(value).read_bytes()
    except OSError as error:
        raise DataError(f"image '{value}' cannot be read: {error.strerror or error}") from None


class ImageColumn:
    """Images gathered as they come."""

    def __init__(self) -> None:
        self._data, self._ends, self._paths = Spool(), Numbers(), Numbers()

    def add(self, value: Any) -> None:
        """Another image: a path or bytes."""
        is_path = isinstance(value, str)
        self._data.write(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
        self._ends.extend([self._data.size])
        self._paths.extend([int(is_path)])

    def finish(self) -> Images:
        """The column."""
        self._data.finish()
        return Images(self._ends.array(), self._paths.array(), self._data)
