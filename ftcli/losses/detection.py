"""Loss of boxes told as a set: each true box is matched to the answer that costs least, all others are to be nothing.

Carion et al. 2020, "End-to-End Object Detection with Transformers" (arXiv:2005.12872). Sums, as in
`supervised`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Costs(NamedTuple):
    """What an answer costs a true box, and weighs in the loss."""

    label: float = 1.0
    distance: float = 5.0
    overlap: float = 2.0


class SetLoss(NamedTuple):
    """Sums over the rows of a batch (scalars, fp32), unweighted."""

    label: Tensor
    """Cross-entropy over all answers; of those that are to be nothing, times their weight."""
    distance: Tensor
    """Absolute differences of centre and size, over the true boxes."""
    overlap: Tensor
    """1 - generalised intersection over union, over the true boxes."""


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) x0, y0, x1, y1 of boxes given as centre, width and height."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """(...,) of boxes (..., 4) as corners: intersection over union, less the share of the smallest box around both that
    neither fills. Rezatofighi et al. 2019 (arXiv:1902.09630)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - inner
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    around = (high - low).clamp(min=0).prod(-1)
    tiny = torch.finfo(union.dtype).tiny
    return inner / union.clamp(min=tiny) - (around - union) / around.clamp(min=tiny)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, labels: Tensor, true: Tensor, costs: Costs) -> tuple[Tensor, Tensor]:
    """Which answers (n,) are matched to which true boxes (n,) of one image, at the least cost in all.

    `logits` (answers, classes + 1), `boxes` (answers, 4); `labels` (objects,), `true` (objects, 4), both as centre,
    width and height.
    """
    from scipy.optimize import linear_sum_assignment

    likely = logits.softmax(-1)[:, labels]
    far = torch.cdist(boxes, true, p=1)
    overlap = generalised_overlap(corners(boxes)[:, None], corners(true)[None])
    cost = -costs.label * likely + costs.distance * far - costs.overlap * overlap
    rows, columns = linear_sum_assignment(cost.double().nan_to_num(1e9, 1e9, -1e9).cpu().numpy())
    return tuple(torch.as_tensor(side, device=boxes.device) for side in (rows, columns))  # type: ignore[return-value]


def set_loss(
    logits: Tensor, boxes: Tensor, labels: Tensor, true: Tensor, objects: list[int], costs: Costs, nothing: float
) -> SetLoss:
    """The loss of a batch. `logits` (rows, answers, classes + 1), the last class for nothing, which weighs `nothing`;
    `boxes` (rows, answers, 4); `labels` (all objects,) and `true` (all objects, 4), of `objects` each row's number."""
    logits, boxes, true = (values.to(torch.float32) for values in (logits, boxes, true))
    classes = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], classes, device=logits.device)
    weights = torch.ones(classes + 1, device=logits.device)
    weights[-1] = nothing
    found, meant = [boxes.new_zeros(0, 4)], [boxes.new_zeros(0, 4)]
    start = 0
    for row, number in enumerate(objects):
        its, where = labels[start : start + number], true[start : start + number]
        start += number
        if number:
            answers, targets = match(logits[row], boxes[row], its, where, costs)
            wanted[row, answers] = its[targets]
            found.append(boxes[row, answers])
            meant.append(where[targets])
    told, right = torch.cat(found), torch.cat(meant)
    label = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weights, reduction="sum")
    overlap = generalised_overlap(corners(told), corners(right))
    return SetLoss(label, functional.l1_loss(told, right, reduction="sum"), (1 - overlap).sum())
