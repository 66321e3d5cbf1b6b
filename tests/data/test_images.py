"""Images as data: where they come from, what is wrong with some, and that rows hold no pixels."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ftcli.contract import Data
from ftcli.data.images import decode, image_fault
from ftcli.data.load import load
from ftcli.data.media import FileColumn
from ftcli.data.pixels import IMAGE
from ftcli.data.records import records
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.classification import LABEL
from tests.tiny import write_csv, write_jsonl, write_parquet


def picture(shade: int = 0, size: tuple[int, int] = (5, 4), mode: str = "L") -> Image.Image:
    """A small image, no two shades alike."""
    return Image.fromarray(np.full((size[1], size[0]), shade, np.uint8)).convert(mode)


def as_bytes(image: Image.Image, kind: str = "png") -> bytes:
    held = io.BytesIO()
    image.save(held, kind)
    return held.getvalue()


def save(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def read(path: Path | str, *splits: str, **keys: Any) -> Data:
    recipe = DataRecipe(name=str(path), **keys)
    return load(recipe, (IMAGE, LABEL), seed=1, splits=splits or ("train",))


def shade_of(value: str | bytes) -> int:
    return int(np.asarray(decode(value, "L"))[0, 0])


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """train/ and test/ with a folder for each of two classes."""
    for number in range(6):
        name = ("dark", "light")[number % 2]
        split = "train" if number < 4 else "test"
        save(tmp_path / "data" / split / name / f"{number}.{('png', 'jpg')[number % 2]}", picture(40 * number))
    return tmp_path / "data"


def test_digits_are_whole_and_split_alike_every_time() -> None:
    data = read("builtin:digits", "train", "validation", "test")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 1197, "validation": 200, "test": 400}
    assert data.label_names == tuple("0123456789")
    values = [value for rows in data.splits.values() for value in rows.column("image")]
    assert max(Counter(values).values()) <= 2, "splits share no image"
    pixels = np.asarray(decode(values[0], "L"))
    assert pixels.shape == (8, 8)
    assert {shade for value in values for shade in np.asarray(decode(value, "L")).flat} == {
        round(shade * 255 / 16) for shade in range(17)
    }
    for split, rows in data.splits.items():
        assert min(Counter(rows.column("label")).values()) > 0.07 * len(rows), split
    # The same on every machine: a change here is a change of everybody's results.
    assert data.fingerprints["test"].startswith("b3042b1268ca")


def test_class_folders(classes: Path) -> None:
    data = read(classes, "train", "test")
    assert data.columns == {"image": "image", "label": "label"}
    assert data.label_names == ("dark", "light")
    rows = data.splits["train"]
    assert [rows.place(i) for i in range(len(rows))] == [
        "train/dark/0.png", "train/dark/2.png", "train/light/1.jpg", "train/light/3.jpg",
    ]  # fmt: skip
    assert [row["label"] for row in rows] == ["dark", "dark", "light", "light"]
    assert [shade_of(row["image"]) for row in rows] == pytest.approx([0, 80, 40, 120], abs=2)
    assert all(isinstance(row["image"], str) for row in rows), "paths, not pixels"


def test_the_same_images_elsewhere_are_the_same_data(classes: Path, tmp_path: Path) -> None:
    before = read(classes).fingerprints["train"]
    moved = classes.rename(tmp_path / "elsewhere")
    assert read(moved).fingerprints["train"] == before
    save(moved / "train" / "dark" / "0.png", picture(7))
    assert read(moved).fingerprints["train"] != before


def test_folders_of_images_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "flat" / f"{number}.png", picture(number))
        save(tmp_path / "split" / ("train", "train", "test")[number] / f"{number}.png", picture(number))
    for folder, count in (("flat", 3), ("split", 2)):
        data = load(DataRecipe(name=str(tmp_path / folder)), (IMAGE,), seed=1, splits=("train",))
        assert data.columns == {"image": "image"}
        assert [shade_of(v) for v in data.splits["train"].column("image")] == list(range(count))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_lists_of_paths_start_from_their_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for number in range(4):
        save(tmp_path / "pictures" / f"{number}.png", picture(number))
    rows = [{"photo": f"pictures/{number}.png", "kind": "ab"[number % 2]} for number in range(4)]
    file = (write_csv if kind == "csv" else write_jsonl)(rows, tmp_path / f"train.{kind}")
    monkeypatch.chdir("/")
    data = read(file)
    assert data.columns == {"image": "photo", "label": "kind"}
    assert [shade_of(v) for v in data.splits["train"].column("image")] == [0, 1, 2, 3]


def test_parquet_of_the_datasets_library(tmp_path: Path) -> None:
    structs = [{"bytes": as_bytes(picture(n), kind), "path": None} for n, kind in enumerate(("png", "gif", "bmp"))]
    rows = [{"img": struct, "label": n % 2} for n, struct in enumerate(structs)]
    data = read(write_parquet(rows, tmp_path / "train.parquet"))
    assert data.columns == {"image": "img", "label": "label"}
    assert [shade_of(v) for v in data.splits["train"].column("image")] == [0, 1, 2]


BROKEN = {
    "cut off": (as_bytes(picture(3, (64, 64)).rotate(1), "jpeg")[:-200], "cannot be decoded"),
    "not an image": (b"hello", "not an image of a known kind"),
    "empty": (b"", "not an image of a known kind"),
    "32 bits": (as_bytes(Image.new("F", (2, 2)), "tiff"), "pixels of 32 bits"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_bad_image_is_a_bad_row_with_its_place(classes: Path, what: str) -> None:
    content, message = BROKEN[what]
    (classes / "train" / "dark" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match="1 row cannot be used") as caught:
        read(classes)
    assert "train/dark/1.png: image" in caught.value.message
    assert message in caught.value.message
    data = read(classes, on_bad_row="skip")
    assert len(data.splits["train"]) == 4
    assert [problem.place for problem in data.skipped] == ["train/dark/1.png"]


def test_images_that_are_none() -> None:
    cases = {None: "null", "": "empty", "x.png": "no file", "https://a.b/c.png": "download it first", 3: "a number"}
    for value, message in cases.items():
        assert message in str(image_fault(value))


def test_bright_sixteen_bits_do_not_all_become_white() -> None:
    deep = Image.fromarray(np.array([[0, 20_000, 40_000, 65_535]], np.uint16))
    assert np.asarray(decode(as_bytes(deep), "L")).tolist() == [[0, 78, 156, 255]]


def test_images_lie_as_the_camera_was_held() -> None:
    image, held = Image.fromarray(np.array([[10, 200]], np.uint8)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(held, "png", exif=exif)
    assert np.asarray(decode(held.getvalue(), "L")).tolist() == [[10], [200]]


@given(
    st.lists(st.binary(min_size=1) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=20),
    st.randoms(),
)
def test_a_column_gives_back_what_was_put_in(values: list[Any], random: Any) -> None:
    column = FileColumn()
    for value in values:
        column.add(value)
    kept = column.finish()
    order = random.sample(range(len(values)), len(values))
    assert len(kept) == len(values)
    assert kept.many(np.array(order, dtype=int)) == [values[i] for i in order]


def test_what_is_predicted_on(tmp_path: Path, classes: Path) -> None:
    image = save(tmp_path / "one.png", picture(9))
    listed = tmp_path / "list.txt"
    listed.write_text(f"{image}\none.png\nnothing.png\n\n", encoding="utf-8")
    lines = write_jsonl([{"id": 7, "image": "one.png"}], tmp_path / "list.jsonl")
    parquet = write_parquet([{"image": {"bytes": as_bytes(picture(9)), "path": "a.png"}}], tmp_path / "x.parquet")

    def of(source: Path) -> list[Any]:
        return list(records(str(source), DataRecipe(), (IMAGE, LABEL)))

    assert [shade_of(r.row["image"]) for r in of(image)] == [9]
    found = of(listed)
    assert [shade_of(r.row["image"]) if r.row else r.error for r in found] == [
        9, 9, f"image: there is no file '{Path.cwd() / 'nothing.png'}'", "image is empty",
    ]  # fmt: skip
    assert [r.values for r in of(lines)] == [{"id": 7, "image": "one.png"}]
    assert [json.dumps(r.values) for r in of(parquet)] == ['{"image": "a.png"}'], "no bytes in answers"
    assert [r.row["image"] for r in of(classes)] == [str(p) for p in sorted(classes.glob("test/*/*"))]
