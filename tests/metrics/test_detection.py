"""Average precision: hand-worked cases, and the same numbers as the evaluation that COCO comes with."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from ftcli.metrics.detection import detection, overlap

LABELS = ["disc", "square"]


def box(label: str, *corners: float, score: float = 1.0, crowd: bool = False) -> dict[str, Any]:
    return {"label": label, "box": list(corners), "score": score, "crowd": crowd}


def scored(predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
    chosen = {"threshold": 0.5, "bootstrap": 0, "seed": 1, **options}
    found: dict[str, Any] = detection(predictions, references, LABELS, **chosen)
    return found


def test_overlap_of_boxes_and_crowds() -> None:
    found = overlap([box("disc", 0, 0, 10, 10)], [box("disc", 5, 0, 15, 10), box("disc", 5, 0, 15, 10, crowd=True)])
    assert found.tolist() == [[pytest.approx(50 / 150), pytest.approx(0.5)]]


def test_by_hand() -> None:
    # Disc: right at 0.9, wrong at 0.8, right at 0.7. Precision 1 up to a recall of 1/2, then 2/3: 51 and 50 recalls.
    # Overlap 0.8 of the second one: right at the thresholds up to 0.8, seven of ten; beyond, 1 up to a recall of 1/2.
    references = [[box("disc", 0, 0, 10, 10)], [box("disc", 0, 0, 10, 10)]]
    predictions = [
        [box("disc", 0, 0, 10, 10, score=0.9), box("disc", 50, 50, 60, 60, score=0.8)],
        [box("disc", 0, 0, 10, 8, score=0.7)],
    ]
    found = scored(predictions, references)
    at_first = (51 + 50 * 2 / 3) / 101
    assert found["metrics"]["map_50"] == pytest.approx(at_first)
    assert found["metrics"]["map_75"] == pytest.approx(at_first)
    assert found["metrics"]["map"] == pytest.approx((7 * at_first + 3 * 51 / 101) / 10)
    assert found["metrics"]["precision"] == pytest.approx(2 / 3)
    assert found["metrics"]["recall"] == 1
    assert found["classes"][1] == {"label": "square", "precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert list(found["details"]["average_precision"]) == ["disc"], "a class that does not occur is in no mean"
    assert scored(predictions, references, threshold=0.75)["metrics"]["recall"] == 0.5


def test_nothing_found_and_nothing_there() -> None:
    assert scored([[]], [[box("disc", 0, 0, 1, 1)]])["metrics"]["map"] == 0
    assert np.isnan(scored([[box("disc", 0, 0, 1, 1)]], [[]])["metrics"]["map"])


def random_boxes(random: np.random.Generator, count: int, *, crowds: bool) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        x, y = random.uniform(0, 60, 2)
        width, height = random.uniform(5, 40, 2)
        kind = LABELS[int(random.integers(2))]
        crowd = crowds and random.random() < 0.15
        found.append(box(kind, x, y, x + width, y + height, score=round(random.uniform(), 2), crowd=crowd))
    return found


def near(random: np.random.Generator, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers close to the true boxes, and some that are not."""
    moved = []
    for one in objects:
        corners = (np.array(one["box"]) + random.normal(0, 2.5, 4)).tolist()
        kind = one["label"] if random.random() < 0.9 else LABELS[int(random.integers(2))]
        x0, y0, x1, y1 = corners
        moved.append(box(kind, x0, y0, max(x0, x1), max(y0, y1), score=round(random.uniform(), 2)))
    return [*moved, *random_boxes(random, int(random.integers(0, 4)), crowds=False)]


@pytest.mark.parametrize("seed", range(6))
def test_as_the_evaluation_of_coco(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(seed)
    references = [random_boxes(random, int(random.integers(0, 7)), crowds=True) for _ in range(25)]
    predictions = [near(random, objects) for objects in references]

    def listed(side: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        return [
            {"id": 1000 * image + place + 1, "image_id": image + 1, "category_id": LABELS.index(one["label"]) + 1,
             "bbox": [one["box"][0], one["box"][1], one["box"][2] - one["box"][0], one["box"][3] - one["box"][1]],
             "iscrowd": int(one["crowd"]), "score": one["score"],
             "area": (one["box"][2] - one["box"][0]) * (one["box"][3] - one["box"][1])}
            for image, objects in enumerate(side) for place, one in enumerate(objects)
        ]  # fmt: skip

    truth = coco.COCO()
    truth.dataset = {"images": [{"id": image + 1} for image in range(25)], "annotations": listed(references),
                     "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(listed(predictions)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = scored(predictions, references)["metrics"]
    expected = dict(zip(("map", "map_50", "map_75"), evaluation.stats[:3].tolist(), strict=True))
    assert 0.1 < expected["map"] < 0.95
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_intervals_hold_the_value_and_are_the_same_every_time() -> None:
    random = np.random.default_rng(0)
    references = [random_boxes(random, 3, crowds=False) for _ in range(20)]
    predictions = [near(random, objects) for objects in references]
    found = scored(predictions, references, bootstrap=100)
    for name in ("map", "map_50", "f1"):
        low, high = found["intervals"][name]
        assert low <= found["metrics"][name] <= high
        assert low < high
    assert found["intervals"] == scored(predictions, references, bootstrap=100)["intervals"]
