"""Images: whether one can be decoded, and its pixels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from ftcli.data.media import file_fault, name_of
from ftcli.errors import DataError

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is opened, by content: of the library's other formats some run a program of their own."""

# Said of images that are decoded all the same (odd metadata, palettes), once per process and to nobody's use.
warnings.filterwarnings("ignore", module=r"PIL\.")


def image_fault(value: Any, role: str = "image") -> str | None:
    """What makes a value unusable as an image; None where it can be decoded to its end."""
    if fault := file_fault(value, role, "an image"):
        return fault
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
        return f"{role}{name_of(value)} cannot be decoded: {_reason(error)}"
    return f"{role}{name_of(value)} has pixels of 32 bits, whose range is not known" if unknown else None


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
        raise DataError(f"image{name_of(value)} cannot be decoded: {_reason(error)}") from None


def _opened(value: str | bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(value) if isinstance(value, bytes) else value, formats=_FORMATS)


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image of a known kind, or damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]
