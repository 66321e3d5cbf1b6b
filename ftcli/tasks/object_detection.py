"""Boxes around the objects of an image, each with what is in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForObjectDetection

from ftcli.contract import Batch, Claim, Column, Evaluation, Example, Outputs, Prediction, Problem, Row, Rows, Table
from ftcli.data.boxes import OBJECTS, Box, read_objects
from ftcli.data.canvases import Canvases, pixels_of, shares
from ftcli.data.pixels import IMAGE
from ftcli.data.values import Unusable
from ftcli.errors import DataError, UsageError
from ftcli.losses.detection import Costs, set_loss
from ftcli.models.adapted import input_names
from ftcli.models.backbone import outside_backbone
from ftcli.models.fresh import start_over
from ftcli.models.load import Source, load_weights
from ftcli.models.transfer import generic, label_names
from ftcli.recipe.schema import Recipe
from ftcli.tasks.task import BaseTask

_KINDS = ("yolos", "detr", "table-transformer")
"""Architectures whose answers are a set with a class for nothing among them."""
_MOST = 100
"""Answers of an image that are kept, best first."""
_UNITS = 1000
"""The weight of answers that are to be nothing is a fraction, and counts are whole numbers: in thousandths."""


class ObjectDetection(BaseTask):
    """Answers matched to the true boxes as a set, as DETR and YOLOS are trained."""

    name = "object-detection"
    columns: tuple[Column, ...] = (IMAGE, OBJECTS)
    main_metric = "map"
    auto_class = AutoModelForObjectDetection
    pad_to_multiple = 1

    def __init__(self, processor: Any, max_length: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.processor = processor
        self.labels: list[str] = []
        self._ids: dict[Any, int] = {}
        self._canvases: Canvases | None = None
        self._costs, self._nothing, self._answers = Costs(), 0.1, 1

    @staticmethod
    def row_fault(row: Row) -> str | None:
        """What is wrong with a row's boxes."""
        if row.get("objects") is None:
            return None
        try:
            read_objects(row["objects"])
        except Unusable as error:
            return f"objects {error}"
        return None

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """A column of images and one of boxes."""
        images, objects = table.looking("image"), table.named(OBJECTS.names, ("object", "list", "lists"))
        for field in objects if images else ():
            values = table.values(field)[:20]
            if values and all(_are_objects(value) for value in values):
                return Claim(3, f"'{images[0]}' holds images and '{field}' boxes")
        return None

    # Labels ---------------------------------------------------------------------------------------------------

    def fit_labels(self, rows: Rows, names: Sequence[str] | None) -> None:
        """What the boxes of the training split hold: the source's own names in their order, or what occurs."""
        found = {box.label for objects in rows.column("objects") for box in read_objects(objects)}
        if not found:
            raise DataError("no image of the training split has a box", hint="is --columns objects= right?")
        if names is not None:
            beyond = sorted(label for label in found if isinstance(label, int) and not 0 <= label < len(names))
            if beyond:
                raise DataError(f"labels {beyond[:10]} have no name; {len(names)} names are given")
            self._set_labels(list(names))
        else:
            self._set_labels([str(label) for label in sorted(found, key=lambda label: (isinstance(label, str), label))])
            self._ids.update({label: self._ids[str(label)] for label in found})

    def adopt(self, config: Any) -> None:
        by_id = {int(i): str(n) for i, n in (config.id2label or {}).items()}
        self._set_labels([by_id[i] for i in sorted(by_id)])

    def _set_labels(self, names: list[str]) -> None:
        self.labels = names
        numbered = any(name.lstrip("-").isdigit() for name in names)
        by_place = {} if numbered else {place: place for place in range(len(names))}
        self._ids = {**by_place, **{name: place for place, name in enumerate(names)}}

    def _id(self, label: Any) -> int | None:
        return self._ids.get(label, self._ids.get(str(label)))

    def check_rows(self, rows: Rows) -> list[Problem]:
        """Rows with a box of what the training split does not have."""
        known = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        problems = []
        for number, objects in enumerate(rows.column("objects")):
            strange = next((box.label for box in read_objects(objects) if self._id(box.label) is None), None)
            if strange is not None:
                problems.append(Problem(rows.place(number), f"label '{strange}' is none of the known ones: {known}"))
        return problems

    # Model ----------------------------------------------------------------------------------------------------

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The model with answers for these labels, and the parameters that start fresh."""
        self._check(source)
        config = source.config
        before = label_names(config)
        config.num_labels, config.id2label = len(self.labels), dict(enumerate(self.labels))
        config.label2id = {name: place for place, name in enumerate(self.labels)}
        config.ftcli = {"task": self.name}
        model, fresh = load_weights(source, self.auto_class, config)
        if not source.from_scratch and not fresh and before != self.labels and not generic(before):
            # What tells labels starts over; what tells places is as good for other objects.
            fresh = [name for name in outside_backbone(model) if "class" in name]
            start_over(model, fresh)
        self.prepare(model)
        return model, fresh

    def load_model(self, source: Source) -> nn.Module:
        self._check(source)
        return super().load_model(source)

    def _check(self, source: Source) -> None:
        if source.config.model_type not in _KINDS:
            raise UsageError(
                f"{source.name} ({source.config.model_type}) is no model for {self.name}; {', '.join(_KINDS)} are",
                hint="--model hustvl/yolos-tiny, or preset:yolos-shapes from scratch",
            )

    def prepare(self, model: nn.Module) -> None:
        config: Any = model.config
        masks = "pixel_mask" in input_names(model)
        self._canvases = Canvases(self.processor, config, masks=masks)
        self._costs = Costs(config.class_cost, config.bbox_cost, config.giou_cost)
        self._weights = (float(config.bbox_loss_coefficient), float(config.giou_loss_coefficient))
        self._nothing = float(config.eos_coefficient)
        self._answers = int(getattr(config, "num_detection_tokens", None) or config.num_queries)

    @property
    def canvases(self) -> Canvases:
        """Rows to pixels and pixels to values, as this model takes them."""
        assert self._canvases is not None, "the model comes first"
        return self._canvases

    # Rows -> batches ------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """Beside the pixels ``boxes``: int32 bits of (objects * 4,) shares of the image; ``classes``: (objects,)."""
        examples = self.canvases.encode(rows)
        for row, example in zip(rows, examples, strict=True):
            if row.get("objects") is not None:
                boxes = [box for box in read_objects(row["objects"]) if not box.crowd]
                told = shares(boxes, example["own_width"], example["own_height"])
                example["boxes"] = told.reshape(-1).view(np.int32)
                example["classes"] = np.array([self._id(box.label) for box in boxes], dtype=np.int32)
        return examples

    def encoding(self) -> Mapping[str, Any] | None:
        """None: pixels take many times the room of the files they come from, and are not kept for another run."""
        return None

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Beside the pixels ``labels`` (all objects,), ``boxes`` (all objects, 4), and ``objects`` of each row."""
        batch: Batch = self.canvases.collate(examples)
        if "classes" in examples[0]:
            batch["labels"] = torch.from_numpy(np.concatenate([example["classes"] for example in examples])).long()
            told = [np.ascontiguousarray(e["boxes"], dtype=np.int32).view(np.float32) for e in examples]
            objects = [len(example["classes"]) for example in examples]
            scale = torch.repeat_interleave(batch["scale"], torch.tensor(objects), dim=0)
            batch["boxes"] = torch.from_numpy(np.concatenate(told)).view(-1, 4) * scale
            batch["objects"] = objects
        return batch

    def forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(rows, answers, labels and nothing) and (rows, answers, 4) centres and sizes in shares of the batch."""
        given = {name: batch[name] for name in ("pixel_values", "pixel_mask") if name in batch}
        outputs = model(**given)
        return outputs.logits, outputs.pred_boxes

    # Batches -> answers ---------------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, int]:
        """Weights of the answers, in thousandths, and true boxes that have an answer."""
        matched = sum(min(number, self._answers) for number in batch["objects"])
        others = len(batch["objects"]) * self._answers - matched
        return {"label": round(_UNITS * (matched + self._nothing * others)), "box": matched, "overlap": matched}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        logits, boxes = outputs
        found = set_loss(logits, boxes, batch["labels"], batch["boxes"], batch["objects"], self._costs, self._nothing)
        far, apart = self._weights
        return {"label": _UNITS * found.label, "box": far * found.distance, "overlap": apart * found.overlap}

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """All answers of each image, best first; `shown` leaves those that people see."""
        logits, boxes = (values.to(torch.float32) for values in outputs)
        scores, classes = logits.softmax(-1)[..., :-1].max(-1)
        corners = pixels_of(boxes / batch["scale"][:, None], batch["own"][:, None])
        found: list[Prediction] = []
        for row in range(len(scores)):
            order = torch.argsort(-scores[row], stable=True)[:_MOST]
            sides = (scores[row, order].tolist(), classes[row, order].tolist(), corners[row, order].tolist())
            found.append({
                "prediction": [
                    {"label": self.labels[place], "score": score, "box": [round(side, 2) for side in box]}
                    for score, place, box in zip(*sides, strict=True)
                ]
            })  # fmt: skip
        return found

    def shown(self, prediction: Prediction) -> Prediction:
        """The boxes that are surely enough there."""
        least = self.recipe.detection.threshold
        return {**prediction, "prediction": [box for box in prediction["prediction"] if box["score"] >= least]}

    def all_labels(self) -> Sequence[str]:
        return self.labels

    def labels_in(self, prediction: Prediction) -> Collection[str]:
        return {box["label"] for box in prediction["prediction"]}

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """Average precision as COCO has it."""
        from ftcli.metrics.detection import detection

        true = [[self._meant(box) for box in read_objects(objects)] for objects in rows.column("objects")]
        answers = [prediction["prediction"] for prediction in predictions]
        least = self.recipe.detection.threshold
        return Evaluation(**detection(answers, true, self.labels, threshold=least, bootstrap=bootstrap, seed=seed))

    def _meant(self, box: Box) -> dict[str, Any]:
        place = self._id(box.label)
        assert place is not None, "`check_rows` comes first"
        return {"label": self.labels[place], "box": box.corners, "crowd": box.crowd}

    def metric_names(self) -> list[str]:
        return ["loss", "map", "map_50", "map_75", "precision", "recall", "f1"]


def _are_objects(value: Any) -> bool:
    try:
        read_objects(value)
    except Unusable:
        return False
    return True
