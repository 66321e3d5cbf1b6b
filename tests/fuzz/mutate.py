"""Broken bytes made from good ones: flips, cuts, repeats, splices, and words that parsers trip over."""

from __future__ import annotations

import random
from collections.abc import Sequence

WORDS = [
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\r", b"\x85", b"\xe2\x80\xa8", b'"', b"'",
    b",", b"\t",
    b"{", b"}", b"[", b"]", b":", b"null", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 40,
    b"true", b"\\u0000", b"\\ud800",
    b"&a", b"*a", b"!!python/object:os.system", b"<<: ", b"---", b"${env:HOME}", b"${env:", b"extends: ",
    b"text", b"label",
    b"\x1b[31m", b"../../", b"=1+1", b"%s", b"[" * 300, b"{" * 300, b"\xf0\x9f\x98\x80", b"\xcc\x81" * 20,
]  # fmt: skip


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One of `seeds` with between one and six edits."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(content))
        stop = min(len(content), start + chance.choice((1, 1, 2, 5, 40)))
        edit = chance.randrange(6)
        if edit == 0 and content:
            content[min(start, len(content) - 1)] ^= 1 << chance.randrange(8)
        elif edit == 1:
            del content[start:stop]
        elif edit == 2:
            content[start:start] = chance.choice(WORDS)
        elif edit == 3:
            content[start:stop] = chance.choice(WORDS)
        elif edit == 4:
            content[start:start] = content[start:stop] * chance.choice((1, 2, 20))
        else:
            other = chance.choice(seeds)
            cut = chance.randint(0, len(other))
            content[start:] = other[cut:]
    return bytes(content)
