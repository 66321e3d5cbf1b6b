"""zstd files: frames of any number and window, and damage that is told instead of read as an early end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.packed import _PIECE, open_bytes, without_packing
from ftcli.errors import DataError
from tests.data.conftest import Loader
from tests.tiny import write_csv

SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
NOISE = random.Random(0).randbytes(3 * _PIECE)


def table(path: Path) -> bytes:
    rows = [{"text": f"text {n} {NOISE[n * 99 : n * 99 + 99].hex()}", "label": "ab"[n % 2]} for n in range(400)]
    return zstandard.ZstdCompressor(write_checksum=True).compress(write_csv(rows, path).read_bytes())


def test_frames_follow_one_another(tmp_path: Path) -> None:
    long = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    ).compress(b"a\n" * 9)
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(NOISE) + SKIPPABLE + zstandard.compress(b"") + long)
    with open_bytes(path) as stream:
        assert stream.read(7) == NOISE[:7]
        assert stream.read() == NOISE[7:] + b"a\n" * 9
    assert stream.closed


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 50))
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], size: int) -> None:
    path = tmp_path_factory.mktemp("packed") / "a.ZST"
    path.write_bytes(b"".join(map(zstandard.compress, pieces)))
    with open_bytes(path) as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == b"".join(pieces)


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.99999])
def test_a_file_that_is_cut_off(share: float, tmp_path: Path, read: Loader) -> None:
    packed = table(tmp_path / "a.csv")
    (tmp_path / "a.csv.zst").write_bytes(packed[: max(1, int(len(packed) * share))])
    with pytest.raises(DataError, match=r"a\.csv\.zst: the zstd file is cut off"):
        read(tmp_path / "a.csv.zst")


def test_a_file_that_is_damaged(tmp_path: Path, read: Loader) -> None:
    packed = bytearray(table(tmp_path / "a.csv"))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "a.csv.zst").write_bytes(packed)
    with pytest.raises(DataError, match=r"a\.csv\.zst: not a valid zstd file \("):
        read(tmp_path / "a.csv.zst")
    (tmp_path / "a.csv.zst").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match=r"not a valid zstd file \(Unknown frame descriptor\)"):
        read(tmp_path / "a.csv.zst")


def test_the_parquet_file_in_a_damaged_one(tmp_path: Path, read: Loader) -> None:
    (tmp_path / "a.parquet.zst").write_bytes(zstandard.compress(NOISE)[:-9])
    with pytest.raises(DataError, match=r"a\.parquet\.zst: the zstd file is cut off"):
        read(tmp_path / "a.parquet.zst")


def test_names_without_their_packing() -> None:
    assert [without_packing(name) for name in ("a.txt.gz", "a.txt.ZST", "a.txt", "zst")] == [
        "a.txt", "a.txt", "a.txt", "zst",
    ]  # fmt: skip
