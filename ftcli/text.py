"""Making foreign text safe to show, and foreign numbers safe to write as JSON."""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_JOINERS = "\u200c\u200d"
"""Format characters that real words (Persian) and emoji need; they cannot reorder or hide anything."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}"
    r"|AKIA[A-Z0-9]{12,})"
    r"|(?<=://)[^/@\s]+(?=@)"  # user and password of a URL
    r"|(?i:(?<=bearer )[\w.~+/=-]{8,})"
    r"|(?i:(?<=[?&])((?:[\w.-]*[_-])?(?:token|key|secret|password|signature|sig)=))[^&\s'\"#]+"
)
_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|(?:API|ACCESS|SECRET|PRIVATE)_?KEY)$"
)
"""Names of environment variables that hold one: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, ..."""
_SHORTEST_SECRET = 8
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object, *, keep: str = "") -> str:
    """`text` with every character that could drive a terminal or break a line written as an escape.

    Covers control characters, bidirectional overrides, line separators and lone surrogates; `keep` names exceptions.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(character if character in keep else _shown(character) for character in shown)


def json_line(value: object) -> str:
    """`value` as strict JSON on one line, readable in any script, with nothing in it that could drive a terminal."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:  # a number that JSON has no word for
        written = json.dumps(jsonable(value, otherwise=str), ensure_ascii=False, allow_nan=False)
    if written.isascii() and written.isprintable():
        return written
    return "".join(_json_escape(c) if _hidden(c) else c for c in written)


def _json_escape(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def several(items: Sequence[str], most: int) -> str:
    """``a, b, c and 5 more``."""
    said = ", ".join(items[:most])
    return f"{said} and {len(items) - most:,} more" if len(items) > most else said


def amount(size: float) -> str:
    """Bytes in words: ``12 MiB``, ``3.41 GiB``."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.3g} MiB"


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _shown(character: str) -> str:
    if not _hidden(character):
        return character
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def without_secrets(text: str) -> str:
    """`text` with access tokens, and the values of environment variables named for one, replaced by ``***``."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and value in text and _SECRET_VARIABLE.search(name.upper()):
            text = text.replace(value, "***")
    return _SECRET.sub(lambda found: f"{found[1] or ''}***", text)


def jsonable(value: Any, otherwise: Callable[[Any], Any] | None = None) -> Any:
    """`value` in what strict JSON can hold: NaN and infinities become null, number-like objects plain numbers.

    What JSON has no form for is made one by `otherwise`; TypeError where there is none.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry, otherwise) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [jsonable(entry, otherwise) for entry in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return jsonable(value.tolist(), otherwise)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if otherwise is not None:
        return otherwise(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
