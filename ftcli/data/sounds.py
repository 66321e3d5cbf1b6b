"""Sounds: whether one can be decoded, and its samples at any rate."""

from __future__ import annotations

import io
import re
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ftcli.contract import Column
from ftcli.data.media import file_fault, name_of
from ftcli.errors import DataError

AUDIO = Column(
    "audio",
    "audio",
    ("audio", "sound", "speech", "recording", "wav", "clip", "audio_path", "path", "file_name", "filename", "file"),
)
_BLOCK = 1 << 18
"""Samples decoded at a time where they are only looked at."""
_CUT_OFF = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = (0, 2**32 - 1, 2**31 - 1)
"""Sizes that programs write into a header before they know the right one."""

Samples = npt.NDArray[np.float32]


def audio_fault(value: Any, role: str = "audio") -> str | None:
    """What makes a value unusable as a sound; None where it can be decoded to its end."""
    if fault := file_fault(value, role, "a sound"):
        return fault
    try:
        with _opened(value) as sound:
            found = sum(iter(lambda: len(sound.read(_BLOCK, dtype="float32", always_2d=True)), 0))
            if not found:
                return f"{role}{name_of(value)} holds no sound"
            cut = _CUT_OFF.search(sound.extra_info)
            if found < sound.frames or (cut and int(cut[1]) > int(cut[2]) and int(cut[1]) not in _STREAMED):
                return f"{role}{name_of(value)} is cut off"
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken file makes the decoders say
        return f"{role}{name_of(value)} cannot be decoded: {_reason(error)}"
    return None


def decode(value: str | bytes, rate: int, longest: float | None = None) -> tuple[Samples, bool]:
    """(samples,) from -1 to 1 at `rate` a second, channels mixed into one; and whether they were cut at `longest`
    seconds.

    Raises DataError where they cannot be decoded (any more).
    """
    try:
        with _opened(value) as sound:
            most = -1 if longest is None else max(1, round(longest * sound.samplerate))
            samples = sound.read(most, dtype="float32", always_2d=True)
            cut = 0 <= most < sound.frames
            own = int(sound.samplerate)
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"audio{name_of(value)} cannot be decoded: {_reason(error)}") from None
    return resampled(np.nan_to_num(samples.mean(axis=1, dtype=np.float32)), own, rate), cut


def resampled(samples: Samples, own: int, rate: int) -> Samples:
    """The sound at another rate: a polyphase filter, which lets through what both rates can hold."""
    if own == rate or not len(samples):
        return samples
    from scipy.signal import resample_poly

    shared = gcd(own, rate)
    found: Samples = resample_poly(samples, rate // shared, own // shared).astype(np.float32)
    return found


def _opened(value: str | bytes) -> Any:
    import soundfile

    return soundfile.SoundFile(io.BytesIO(value if isinstance(value, bytes) else Path(value).read_bytes()))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rpartition(">: ")[2]
    if "unimplemented format" in said or "does not exist" in said or "not recognised" in said:
        return "not a sound of a known kind, or damaged"
    return said.removeprefix("Error : ").rstrip(".")
