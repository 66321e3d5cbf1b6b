"""The loss of boxes as a set: by hand, and as the transformers library computes it."""

from __future__ import annotations

import pytest
import torch
from transformers import YolosConfig
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

from ftcli.losses.detection import Costs, corners, generalised_overlap, match, set_loss


def test_overlap_by_hand() -> None:
    first = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    second = torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    assert generalised_overlap(first, second).tolist() == pytest.approx([2 / 6, -1 / 3])
    assert corners(torch.tensor([0.5, 0.5, 1.0, 0.5])).tolist() == [0.0, 0.25, 1.0, 0.75]


def test_each_box_has_the_answer_that_is_best_for_all() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.1, 0.1]])
    answers, targets = match(logits, boxes, torch.tensor([1, 0]), boxes[[1, 0]], Costs())
    assert dict(zip(answers.tolist(), targets.tolist(), strict=True)) == {0: 1, 1: 0}


def test_as_transformers_computes_it() -> None:
    torch.manual_seed(3)
    config = YolosConfig(num_labels=4)
    objects, rows, answers = [2, 0, 3], 3, 7
    logits, boxes = torch.randn(rows, answers, 5), torch.rand(rows, answers, 4) * 0.4 + 0.2
    labels, true = torch.randint(0, 4, (5,)), torch.rand(5, 4) * 0.4 + 0.2
    found = set_loss(logits, boxes, labels, true, objects, Costs(), config.eos_coefficient)
    per_row = [
        {"class_labels": part, "boxes": its}
        for part, its in zip(labels.split(objects), true.split(objects), strict=True)
    ]
    _, expected, _ = ForObjectDetectionLoss(logits, per_row, torch.device("cpu"), boxes, config)
    nothing = rows * answers - 5
    assert float(found.label) / (5 + 0.1 * nothing) == pytest.approx(float(expected["loss_ce"]), rel=1e-5)
    assert float(found.distance) / 5 == pytest.approx(float(expected["loss_bbox"]), rel=1e-5)
    assert float(found.overlap) / 5 == pytest.approx(float(expected["loss_giou"]), rel=1e-5)


def test_no_boxes_at_all() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    boxes = torch.rand(2, 3, 4)
    found = set_loss(logits, boxes, torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), [0, 0], Costs(), 0.1)
    found.label.backward()
    assert float(found.distance) == float(found.overlap) == 0
    assert float(found.label) > 0
