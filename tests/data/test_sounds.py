"""Sounds as data: where they come from, what is wrong with some, at which rate they are heard, what their names say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.contract import Data
from ftcli.data.file_names import Naming
from ftcli.data.load import load
from ftcli.data.media import are_files
from ftcli.data.records import records
from ftcli.data.sounds import AUDIO, audio_fault, decode, resampled
from ftcli.errors import DataError, UsageError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.classification import LABEL
from tests.data.test_images import picture
from tests.data.test_images import save as save_image
from tests.sounds import as_bytes, save, tones
from tests.tiny import run_cli, write_csv, write_jsonl, write_parquet


def read(path: Path | str, *splits: str, **keys: Any) -> Data:
    recipe = DataRecipe(name=str(path), **keys)
    return load(recipe, (AUDIO, LABEL), seed=1, splits=splits or ("train",))


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """Sounds named after a label, a speaker and a number."""
    for number in range(24):
        name = f"{number % 3}_{('ann', 'bob')[number % 2]}_{number}.wav"
        save(tmp_path / "takes" / "deeper" / name, tones([300 + number]))
    return tmp_path / "takes"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats(kind: str) -> None:
    sound = tones([440.0] * 4)
    content = as_bytes(sound, kind=kind)
    assert audio_fault(content) is None
    samples, cut = decode(content, 8000)
    assert not cut
    assert len(samples) == pytest.approx(len(sound), abs=1200)  # mp3 fills up its frames
    strongest = np.abs(np.fft.rfft(samples)).argmax() * 8000 / len(samples)
    assert strongest == pytest.approx(440, abs=8)
    assert are_files([content, None], "audio")
    assert not are_files([content], "image")


def test_any_rate_and_channels_come_out_as_asked() -> None:
    time = np.arange(22_050) / 22_050
    sides = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1)
    samples, _ = decode(as_bytes(sides, 22_050), 16_000)
    assert samples.shape == (16_000,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(samples - expected)[100:-100].max() < 0.01
    half, cut = decode(as_bytes(sides, 22_050), 16_000, 0.5)
    assert (len(half), cut) == (8_000, True)
    assert not decode(as_bytes(sides, 22_050), 16_000, 1.0)[1]


@given(st.integers(400, 4000), st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]))
def test_resampling_keeps_the_length_in_time(count: int, rate: int) -> None:
    found = resampled(np.ones(count, np.float32), rate, 16_000)
    assert abs(len(found) - count * 16_000 / rate) <= 1


BROKEN = {
    "cut off": (as_bytes(tones([300]))[:-500], "is cut off"),
    "a cut mp3": (as_bytes(tones([300] * 30), kind="mp3")[:5000], "is cut off"),
    "a cut flac": (as_bytes(tones([300] * 9), kind="flac")[:2000], "cannot be decoded"),
    "not a sound": (b"hello", "not a sound of a known kind"),
    "nothing": (b"", "cannot be decoded"),
    "no samples": (as_bytes(np.zeros(0, np.float32)), "holds no sound"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_bad_sound_is_a_bad_row_with_its_place(tmp_path: Path, what: str) -> None:
    content, message = BROKEN[what]
    for number in range(4):
        save(tmp_path / "data" / "train" / "ab"[number % 2] / f"{number}.wav", tones([300]))
    (tmp_path / "data" / "train" / "a" / "9.wav").write_bytes(content)
    with pytest.raises(DataError, match="1 row cannot be used") as caught:
        read(tmp_path / "data")
    assert "train/a/9.wav: audio" in caught.value.message
    assert message in caught.value.message
    data = read(tmp_path / "data", on_bad_row="skip")
    assert [problem.place for problem in data.skipped] == ["train/a/9.wav"]
    assert data.label_names == ("a", "b")


def test_a_header_written_before_the_size_was_known_is_fine() -> None:
    content = bytearray(as_bytes(tones([300])))
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    assert audio_fault(bytes(content)) is None


def test_sounds_that_are_none() -> None:
    cases = {None: "null", "": "empty", "x.wav": "no file", "https://a.b/c.wav": "download it first", 3: "a number"}
    for value, message in cases.items():
        assert message in str(audio_fault(value))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_of_paths_and_of_the_datasets_library(tmp_path: Path, kind: str) -> None:
    for number in range(4):
        save(tmp_path / "wavs" / f"{number}.flac", tones([300 + number]))
    paths = [str(tmp_path / f"wavs/{n}.flac") if kind == "parquet" else f"wavs/{n}.flac" for n in range(4)]
    values: list[Any] = paths
    if kind == "parquet":
        values = [{"bytes": Path(path).read_bytes(), "path": path} for path in paths]
    rows = [{"clip": value, "said": "ab"[number % 2]} for number, value in enumerate(values)]
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[kind]
    data = read(write(rows, tmp_path / f"train.{kind}"))
    assert data.columns == {"audio": "clip", "label": "said"}
    assert len(decode(data.splits["train"][3]["audio"], 8000)[0]) > 1000


def test_a_list_named_metadata_is_the_data(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(3):
            save(tmp_path / split / "wavs" / f"{number}.wav", tones([300]))
        rows = [{"file_name": f"wavs/{number}.wav", "label": "ab"[number % 2]} for number in range(3)]
        write_csv(rows, tmp_path / split / "metadata.csv")
    data = read(tmp_path, "train", "test")
    assert data.columns == {"audio": "file_name", "label": "label"}
    assert data.splits["test"].column("label") == ["a", "b", "a"]


def test_names_of_files_hold_labels(takes: Path) -> None:
    data = read(takes, label_pattern="{label}_{speaker}_{take}")
    assert data.label_names == ("0", "1", "2")
    assert data.splits["train"].column("label") == [str(n) for n in (0, 1, 2) for _ in range(8)]
    save(takes / "odd.wav", tones([300]))
    with pytest.raises(DataError, match=r"odd\.wav: its name does not fit data\.label_pattern"):
        read(takes, label_pattern="{label}_{speaker}_{take}")
    with pytest.raises(UsageError, match="where the label stands"):
        read(takes, label_pattern="{speaker}_*")


@pytest.mark.parametrize(
    ("pattern", "name", "label"),
    [
        ("{label}_{speaker}_{take}", "7_george_0.wav", "7"),
        ("*-{label}", "a-b-c.png", "c"),
        ("{speaker}-{label}", "a-b-c.png", "c"),
        ("{label}.*.wav", "yes.3.wav", "yes"),
        ("{label}/{take}", "deep/yes/3.wav", None),
        ("{}/{label}/{take}", "deep/yes/3.wav", "yes"),
        ("{label}_x", "a.wav", None),
        ("({label})", "(a+b).wav", "a+b"),
    ],
)
def test_patterns(pattern: str, name: str, label: str | None) -> None:
    assert Naming(pattern).label(Path("root") / name, Path("root")) == label


def test_a_test_split_by_name_and_by_share(takes: Path) -> None:
    pattern = "{label}_{speaker}_{take}"
    data = read(takes, "train", "validation", "test", label_pattern=pattern, test_files="*_ann_*")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 11, "validation": 1, "test": 12}
    assert all("_ann_" in path for path in data.splits["test"].column("audio"))
    assert not any("_ann_" in path for split in ("train", "validation") for path in data.splits[split].column("audio"))
    with pytest.raises(UsageError, match="fits none"):
        read(takes, "train", "test", label_pattern=pattern, test_files="*_carl_*")

    def parted(seed: int, *splits: str) -> dict[str, list[str]]:
        recipe = DataRecipe(name=str(takes), label_pattern=pattern, test_fraction=0.25)
        found = load(recipe, (AUDIO, LABEL), seed=seed, splits=splits)
        return {split: rows.column("audio") for split, rows in found.splits.items()}

    first, second = (parted(seed, "train", "validation", "test") for seed in (1, 2))
    assert {split: len(rows) for split, rows in first.items()} == {"train": 16, "validation": 2, "test": 6}
    assert first["test"] == second["test"] == parted(3, "test")["test"], "whatever the seed, and asked for alone"
    assert first["validation"] == parted(1, "validation")["validation"]
    assert not set(first["test"]) & {*first["train"], *first["validation"]}


def test_test_files_take_from_class_folders_and_tables_are_held_out(tmp_path: Path) -> None:
    for number in range(6):
        save_image(tmp_path / "images" / "ab"[number % 2] / f"{number}.png", picture(number))
    from ftcli.data.pixels import IMAGE

    recipe = DataRecipe(name=str(tmp_path / "images"), test_files="[01].png")
    data = load(recipe, (IMAGE, LABEL), seed=1, splits=("train", "test"))
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 4, "test": 2}
    rows = [{"audio": str(save(tmp_path / f"{n}.wav", tones([300]))), "label": "ab"[n % 2]} for n in range(8)]
    table = read(write_csv(rows, tmp_path / "all.csv"), "train", "test", test_fraction=0.25)
    assert {split: len(rows) for split, rows in table.splits.items()} == {"train": 6, "test": 2}


def test_who_has_nothing_but_files_is_told_where_labels_may_be(takes: Path) -> None:
    done = run_cli("finetune", "--model", "preset:whisper-digits", "--data", str(takes / "deeper"), "--dry-run")
    assert done.code == 3
    assert "has no label column to train on" in done.stderr
    assert "--set 'data.label_pattern={label}_*'" in done.stderr
    named = run_cli("finetune", "--model", "preset:whisper-digits", "--data", str(takes / "deeper"), "--dry-run",
                    "--set", "data.label_pattern={label}_*")  # fmt: skip
    assert named.code == 0, named.stderr


def test_what_is_predicted_on(tmp_path: Path, takes: Path) -> None:
    sound = save(tmp_path / "one.wav", tones([500]))
    (tmp_path / "list.txt").write_text(f"{sound}\none.wav\nnothing.wav\n", encoding="utf-8")
    lines = write_jsonl([{"id": 7, "path": "one.wav"}], tmp_path / "list.jsonl")

    def of(source: Path) -> list[Any]:
        return list(records(str(source), DataRecipe(), (AUDIO, LABEL)))

    assert [r.row["audio"] for r in of(sound)] == [str(sound)]
    found = of(tmp_path / "list.txt")
    assert [r.row["audio"] if r.row else r.error for r in found] == [
        str(sound), str(sound), f"audio: there is no file '{Path.cwd() / 'nothing.wav'}'",
    ]  # fmt: skip
    assert [r.values for r in of(lines)] == [{"id": 7, "path": "one.wav"}]
    assert json.dumps(of(lines)[0].values)
    assert len(of(takes / "deeper")) == 24
