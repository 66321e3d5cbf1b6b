"""Boxes: the forms they come in, places kept through every size, answers that transformers give too, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig, pipeline

from ftcli.contract import Data
from ftcli.data.boxes import OBJECTS, Box, read_objects
from ftcli.data.canvases import pixels_of, shares
from ftcli.data.load import load
from ftcli.data.pixels import IMAGE
from ftcli.data.values import Unusable
from ftcli.errors import DataError
from ftcli.recipe.schema import DataRecipe
from ftcli.tasks.object_detection import ObjectDetection
from tests.shapes import as_png, drawn, shapes, write_coco
from tests.tiny import run_cli, write_jsonl

TINY = ("--set", "model.config={image_size: [32, 32], num_hidden_layers: 2, hidden_size: 64, num_detection_tokens: 4}",
        "--set", "model.config.initializer_range=0.1")  # fmt: skip


def read(path: Path, *splits: str, **keys: Any) -> Data:
    recipe = DataRecipe(name=str(path), **keys)
    return load(recipe, (IMAGE, OBJECTS), seed=1, splits=splits or ("train",), row_fault=ObjectDetection.row_fault)


def test_forms_of_boxes() -> None:
    expected = [Box("disc", (1, 2, 4, 6)), Box("square", (0, 0, 5, 5), True)]
    forms: list[Any] = [
        {"bbox": [[1, 2, 3, 4], [0, 0, 5, 5]], "category": ["disc", "square"], "iscrowd": [0, 1], "area": [12, 25]},
        [{"bbox": [1, 2, 3, 4], "category": "disc"}, {"bbox": [0, 0, 5, 5], "category": "square", "iscrowd": 1}],
        [
            {"box": [1, 2, 4, 6], "label": "disc", "score": 0.5},
            {"box": [0, 0, 5, 5], "label": "square", "iscrowd": True},
        ],
        {"boxes": [[1, 2, 4, 6], [0, 0, 5, 5]], "labels": ["disc", "square"], "iscrowd": [False, True]},
    ]
    for form in forms:
        assert read_objects(form) == expected
    assert read_objects([]) == read_objects({"bbox": [], "category": []}) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no", "not a list of boxes"),
        ([{"bbox": [1, 2, 3]}], "no label"),
        ([{"bbox": [1, 2, 3], "label": 1}], "box 1 is no list of four numbers"),
        ([{"bbox": [1, 2, float("nan"), 3], "label": 1}], "four numbers"),
        ([{"box": [5, 2, 3, 4], "label": 1}], "ends before it begins"),
        ([{"bbox": [5, 2, -3, 4], "label": 1}], "bbox is x, y, width, height"),
        ({"bbox": [[1, 2, 3, 4]], "category": []}, "1 boxes and 0 labels"),
        ([{"bbox": [1, 2, 3, 4], "label": None}], "label of box 1"),
        ([7], "entry 1 is a number"),
    ],
)
def test_boxes_that_are_none(value: Any, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        read_objects(value)


def test_places_survive_the_way_through_shares() -> None:
    boxes = [Box("disc", (10, 20, 30, 80)), Box("disc", (-5, 0, 400, 90))]
    told = torch.from_numpy(shares(boxes, 200, 100))
    found = pixels_of(told, torch.tensor([[200.0, 100.0, 200.0, 100.0]]))
    assert torch.allclose(found, torch.tensor([[10.0, 20, 30, 80], [0.0, 0, 200, 90]]), atol=1e-4)


@pytest.mark.parametrize("layout", ["beside", "annotations", "images", "file"])
def test_coco_files_wherever_the_images_lie(tmp_path: Path, layout: str) -> None:
    images = drawn(4, 1)
    file = write_coco(tmp_path / "data" / "train", images)
    data = tmp_path / "data"
    if layout == "annotations":
        (data / "annotations").mkdir()
        file.rename(data / "annotations" / "instances_train2017.json")
        (data / "train").rename(data / "train2017")
    elif layout == "images":
        (data / "train" / "images").mkdir()
        for image in (data / "train").glob("*.png"):
            image.rename(data / "train" / "images" / image.name)
    elif layout == "file":
        document = json.loads(file.read_text())
        data = file.rename(data / "train" / "mine.json")
        data.write_text(json.dumps(document))  # on one line
    found = read(data)
    rows = found.splits["train"]
    assert len(rows) == 4
    assert found.label_names == ("disc", "square")
    for row, (_, objects) in zip(rows, images, strict=True):
        assert Path(row["image"]).is_file()
        assert [(box.label, box.corners[:2]) for box in read_objects(row["objects"])] == [
            (one["category"], tuple(one["bbox"][:2])) for one in objects
        ]


@pytest.mark.parametrize("form", ["objects", "columns"])
def test_tables_of_the_datasets_library_name_their_labels(tmp_path: Path, form: str) -> None:
    """Categories are numbers with names in the schema, in a list of objects or an object of lists."""
    import datasets

    category = datasets.ClassLabel(names=["disc", "square"])
    box = datasets.List(datasets.Value("float32"), length=4)
    whole = {"bbox": box, "category": category}
    lists = {name: datasets.List(kind) for name, kind in whole.items()}
    objects = datasets.List(whole) if form == "objects" else lists
    features = datasets.Features({"image": datasets.Image(), "objects": objects})
    rows = []
    for image, its in drawn(3, 1):
        told = [{"bbox": one["bbox"], "category": one["category"]} for one in its]
        told = told if form == "objects" else {name: [one[name] for one in told] for name in whole}  # type: ignore[assignment]
        rows.append({"image": {"bytes": as_png(image), "path": None}, "objects": told})
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train.parquet")
    data = read(tmp_path / "train.parquet")
    assert data.label_names == ("disc", "square")
    assert {box.label for value in data.splits["train"].column("objects") for box in read_objects(value)} <= {0, 1}
    task = ObjectDetection(None, 32)
    task.fit_labels(data.splits["train"], data.label_names)
    assert task.labels == ["disc", "square"]
    assert task.check_rows(data.splits["train"]) == []


def test_a_coco_file_that_contradicts_itself(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "train", drawn(3, 1))
    document = json.loads(file.read_text())
    document["annotations"][0]["category_id"] = 99
    file.write_text(json.dumps(document, indent=1))
    with pytest.raises(DataError, match="annotation 1 is of category 99"):
        read(tmp_path)
    document["annotations"][0].update(category_id=7, image_id=55)
    file.write_text(json.dumps(document, indent=1))
    with pytest.raises(DataError, match="annotation 1 is of no image"):
        read(tmp_path)
    document["annotations"][0].update(image_id=0, bbox=[1, 2])
    file.write_text(json.dumps(document, indent=1))
    with pytest.raises(DataError, match=r"image 1: objects is unusable: box 1 is no list of four numbers"):
        read(tmp_path)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a COCO folder, recognised as what it is."""
    folder = tmp_path_factory.mktemp("found")
    for split, seed in (("train", 0), ("test", 1)):
        write_coco(folder / "data" / split, drawn(24, seed))
    done = run_cli("finetune", "--model", "preset:yolos-shapes", "--data", str(folder / "data"), "--out",
                   str(folder / "run"), *TINY, "--epochs", "40", "--lr", "3e-3", "--batch-size", "8",
                   "--set", "eval.every=60", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "task object-detection, since" in done.stderr
    report = json.loads(done.stdout)
    assert set(report["details"]["average_precision"]) == {"disc", "square"}
    assert {"map", "map_50", "map_75", "f1"} <= set(report["metrics"])
    assert sum(line["support"] for line in report["classes"]) == 36
    return folder


def test_predict_writes_boxes_and_draws_them(found: Path, tmp_path: Path) -> None:
    images = sorted((found / "data" / "train").glob("*.png"))[:3]
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in images), encoding="utf-8")
    arguments = ["predict", str(found / "run"), str(tmp_path / "list.txt"), "-q", "--set", "detection.threshold=0.1"]
    done = run_cli(*arguments, "--draw", str(tmp_path / "drawn"))
    assert done.code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(file) for file in images]
    boxes = [box for answer in answers for box in answer["prediction"]]
    assert boxes
    for box in boxes:
        assert set(box) == {"label", "score", "box"}
        x0, y0, x1, y1 = box["box"]
        assert 0 <= x0 <= x1 <= 32
        assert 0 <= y0 <= y1 <= 32
        assert box["score"] >= 0.1
    pictures = sorted((tmp_path / "drawn").iterdir())
    assert [picture.name for picture in pictures] == [f"{n:05}-{file.stem}.png" for n, file in enumerate(images, 1)]
    pixels = np.asarray(Image.open(pictures[0]))
    plain = np.asarray(Image.open(images[0]).resize(pixels.shape[1::-1], Image.Resampling.NEAREST))
    assert (pixels != plain).any(axis=-1).mean() > 0.01, "something is drawn"
    detect = pipeline("object-detection", model=str(found / "run" / "model"))
    for file, answer in zip(images, answers, strict=True):
        expected = {(one["label"], round(one["score"], 3)) for one in detect(str(file), threshold=0.1)}
        assert {(box["label"], round(box["score"], 3)) for box in answer["prediction"]} == expected


def test_other_labels_leave_what_tells_places(found: Path, tmp_path: Path) -> None:
    images = [(image, [{**one, "category": "disc"} for one in objects]) for image, objects in drawn(8, 2)]
    file = write_coco(tmp_path / "data" / "train", images)
    document = json.loads(file.read_text())
    document["categories"][0]["name"] = "coin"
    document["annotations"].append({**document["annotations"][0], "category_id": 8})
    file.write_text(json.dumps(document, indent=1))
    done = run_cli("finetune", "--model", str(found / "run"), "--data", str(tmp_path / "data"), "--out",
                   str(tmp_path / "run"), "--max-steps", "1", "--lr", "1e-9", "--method", "lora")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "starts fresh: class_labels_classifier" in done.stderr
    assert "bbox_predictor" not in done.stderr


def test_drawing_is_for_boxes(tmp_path: Path, trained_run: Path) -> None:
    done = run_cli("predict", str(trained_run), "--draw", str(tmp_path / "drawn"), stdin="a film\n")
    assert done.code == 2
    assert "--draw shows boxes, and text-classification tells none" in done.stderr


def test_boxes_do_not_depend_on_what_a_batch_is_filled_up_to() -> None:
    """The same places in shares of its own image, whatever the shapes beside it."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    config = YolosConfig(image_size=[32, 32], patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=64, num_detection_tokens=3, num_labels=2,
                         use_mid_position_embeddings=False)  # fmt: skip
    config.id2label = {0: "disc", 1: "square"}
    task = ObjectDetection(YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}), 32)
    task.adopt(config)
    task.prepare(YolosForObjectDetection(config))
    rows = [
        {"image": as_png(Image.new("RGB", size)), "objects": [{"box": [0, 0, 10, 10], "label": "disc"}]}
        for size in ((32, 32), (64, 32))
    ]
    batch = task.collate(task.encode(rows))
    high, wide = batch["pixel_values"].shape[2:]
    true = pixels_of(batch["boxes"], torch.tensor([[wide, high, wide, high]], dtype=torch.float32))
    assert torch.allclose(true[:, :2], torch.zeros(2, 2), atol=1e-4)
    assert torch.allclose(true[:, 2:] / 10, true[:1, 2:] / 10, atol=0.02), "ten pixels of either image"
    logits = torch.zeros(2, 3, 3)
    told = task.decode((logits, batch["boxes"][:, None].expand(-1, 3, -1)), batch)
    for answer in told:
        assert answer["prediction"][0]["box"] == pytest.approx([0, 0, 10, 10], abs=0.05)


def test_detr_is_shown_what_is_image(tmp_path: Path) -> None:
    """A DETR over a small ResNet: other shapes beside an image change nothing, and it trains."""
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    config = DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone,
                        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
                        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=5)  # fmt: skip
    torch.manual_seed(0)
    DetrForObjectDetection(config).save_pretrained(tmp_path / "detr")
    DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(tmp_path / "detr")
    images = [*drawn(6, 0), *[(image.resize((64, 32)), objects) for image, objects in drawn(4, 1)]]
    write_coco(tmp_path / "data" / "train", images)
    run = tmp_path / "run"
    done = run_cli("finetune", "--model", str(tmp_path / "detr"), "--data", str(tmp_path / "data"), "--out", str(run),
                   "--max-steps", "3", "--batch-size", "5", "--json", "-q")  # fmt: skip
    assert done.code == 0, done.stderr
    losses = [json.loads(done.stdout)["metrics"]["loss"]]
    for size in ("1", "10"):
        again = run_cli("evaluate", str(run), "--data", str(tmp_path / "data"), "--split", "train", "--batch-size",
                        size, "--json", "-q")  # fmt: skip
        assert again.code == 0, again.stderr
        losses.append(json.loads(again.stdout)["metrics"]["loss"])
    assert losses[1] == pytest.approx(losses[2], rel=2e-3)


def test_other_detectors_and_unknown_labels_are_refused(found: Path, tmp_path: Path) -> None:
    rows = shapes(4, 3)
    lines = [{"image": f"{n}.png", "objects": [{"bbox": [1, 1, 3, 3], "label": "star"}]} for n in range(4)]
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.png").write_bytes(row["image"])
    done = run_cli("evaluate", str(found / "run"), "--data", str(write_jsonl(lines, tmp_path / "test.jsonl")))
    assert done.code == 3
    assert "label 'star' is none of the known ones: disc, square" in done.stderr
    done = run_cli("finetune", "--model", "preset:vit-digits", "--task", "object-detection", "--data",
                   str(found / "data"), "--dry-run")  # fmt: skip
    assert done.code == 2
    assert "is no model for object-detection; yolos, detr" in done.stderr
