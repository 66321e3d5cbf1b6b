"""The terms of a distillation: which there are, what each looks at in both models, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ftcli.distillation.layer_map import layer_map
from ftcli.distillation.ramp import Ramp, ramp
from ftcli.errors import UsageError
from ftcli.losses import distill as losses
from ftcli.models.states import Real
from ftcli.recipe.distill_schema import DistillRecipe

NAMES = (
    "labels", "soft", "hidden", "attention", "relations", "cosine", "contrastive", "relational_distance",
    "relational_angle",
)  # fmt: skip
INSIDE = NAMES[2:]
"""Terms that look into the models, not only at their answers."""
MEETING = NAMES[6:]
"""Terms that compare the rows of a forward pass with each other."""
RELATIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "value": (("value", "value"),),
    "minilm": (("query", "key"), ("value", "value")),
    "minilmv2": (("query", "query"), ("key", "key"), ("value", "value")),
}
Pair = tuple[str, str]
"""A state of the student and the state of the teacher that it is to be like."""


@dataclass(frozen=True)
class Shape:
    """What of a model decides how its states can be compared."""

    name: str
    kind: str
    depth: int
    width: int
    heads: int
    kv_width: int
    plain_attention: bool


class Terms:
    """The terms with a weight, their states and their projections.

    `same_tokens` says whether both models see the same tokens, so that states can be compared token by token.
    """

    def __init__(self, recipe: DistillRecipe, student: Shape, teacher: Shape | None, *, same_tokens: bool) -> None:
        self.recipe, self.student, self.teacher, self.same_tokens = recipe, student, teacher, same_tokens
        given = {name: ramp(name, getattr(recipe, name)) for name in NAMES}
        self.weights: dict[str, Ramp] = {name: weight for name, weight in given.items() if weight.used}
        self.temperature = ramp("temperature", recipe.temperature, above_zero=True)
        if not self.weights:
            raise UsageError("every weight of distill.* is 0: nothing is left to learn", hint="--set distill.soft=1")
        self.pairs = {name: self._pairs(name) for name in self.inside}
        self.notes = self._notes()

    @property
    def inside(self) -> list[str]:
        """Terms that look into the models."""
        return [name for name in INSIDE if name in self.weights]

    @property
    def of_student(self) -> set[str]:
        """States taken of the student."""
        return {pair[0] for pairs in self.pairs.values() for pair in pairs}

    @property
    def of_teacher(self) -> set[str]:
        """States taken of the teacher."""
        return {pair[1] for pairs in self.pairs.values() for pair in pairs}

    def _pairs(self, name: str) -> list[Pair]:
        if self.teacher is None:
            raise UsageError(
                f"distill.{name} compares the student with another model, and teacher.name is self",
                hint="--teacher RUN, or distill.soft alone",
            )
        recipe, depth = self.recipe, self.student.depth
        if name in MEETING:
            return [(f"first.{depth}", f"first.{self.teacher.depth}")]
        if name == "cosine":
            kind = "hidden" if self.same_tokens else "first"
            return [(f"{kind}.{depth}", f"{kind}.{self.teacher.depth}")]
        layers = [
            (own + 1, other + 1) for own, other in enumerate(layer_map(recipe.layer_map, depth, self.teacher.depth))
        ]
        if name == "hidden" and recipe.hidden_style == "patient":
            # The last layer learns from the teacher's answers.
            return [(f"first.{own}", f"first.{other}") for own, other in layers[: max(1, depth - 1)]]
        self._ask_same_tokens(name)
        if name == "hidden":
            return [(f"hidden.{own}", f"hidden.{other}") for own, other in [(0, 0), *layers]]
        if name == "attention":
            self._ask_plain(name)
            return [(f"{part}.{own}", f"{part}.{other}") for own, other in layers for part in ("query", "key")]
        return self._relation_pairs(depth, self.teacher)

    def _relation_pairs(self, depth: int, teacher: Shape) -> list[Pair]:
        if self.recipe.relations_of == "minilm":
            self._ask_plain("relations")
        asked = self.recipe.relations_layer
        if asked is not None and asked >= teacher.depth:
            raise UsageError(f"distill.relations_layer is {asked}; {teacher.name} has layers 0 to {teacher.depth - 1}")
        other = teacher.depth if asked is None else asked + 1
        kinds = dict.fromkeys(kind for pair in RELATIONS[self.recipe.relations_of] for kind in pair)
        return [(f"{kind}.{depth}", f"{kind}.{other}") for kind in kinds]

    def _ask_same_tokens(self, name: str) -> None:
        if not self.same_tokens:
            raise UsageError(
                f"distill.{name} compares states token by token, and the student's tokens are not the teacher's",
                hint="distill.soft, hidden with hidden_style=patient, cosine, contrastive and relational_* do not mind",
            )

    def _ask_plain(self, name: str) -> None:
        for shape in (self.student, self.teacher):
            if shape is not None and not shape.plain_attention:
                raise UsageError(
                    f"distill.{name} cannot follow the attention of {shape.name} ({shape.kind})",
                    hint="--set distill.relations_of=value needs values alone"
                    if name == "relations"
                    else "leave it out",
                )

    def heads(self, name: str) -> int:
        """Heads that attention or relations of both models are compared by."""
        student, teacher = self.student, self.teacher
        assert teacher is not None
        if name == "attention":
            return math.gcd(student.heads, teacher.heads)
        widths = {student.width, teacher.width, student.kv_width, teacher.kv_width}
        asked = self.recipe.relation_heads
        if asked is not None and any(width % asked for width in widths):
            raise UsageError(
                f"distill.relation_heads is {asked}, which does not divide the widths {sorted(widths)}",
                hint=f"--set distill.relation_heads={math.gcd(student.heads, teacher.heads)}",
            )
        fits = asked or (teacher.heads if all(width % teacher.heads == 0 for width in widths) else None)
        return fits or math.gcd(*widths, student.heads, teacher.heads)

    def _notes(self) -> list[str]:
        found = []
        if "cosine" in self.weights and not self.same_tokens:
            found.append("distill.cosine compares first tokens: the student's tokens are not the teacher's")
        if "attention" in self.weights and self.teacher is not None and self.student.heads != self.teacher.heads:
            found.append(
                f"distill.attention compares {self.heads('attention')} groups of heads: the student has "
                f"{self.student.heads}, the teacher {self.teacher.heads}"
            )
        if "relations" in self.weights:
            found.append(f"distill.relations are compared by {self.heads('relations')} relation heads")
        return found

    def projections(self) -> nn.ModuleDict:
        """What is learnt beside the student to compare states of another width with the teacher's."""
        found = nn.ModuleDict()
        if self.teacher is None or self.student.width == self.teacher.width:
            return found
        for name in ("hidden", "cosine", "contrastive"):
            if name in self.weights:
                found[name] = nn.Linear(self.student.width, self.teacher.width)
        if "hidden" in self.weights and self.recipe.hidden_style == "tinybert":
            found["embeddings"] = nn.Linear(self.student.width, self.teacher.width)
        return found

    def counts(self, rows: int, labelled: int, real: Real | None) -> dict[str, int]:
        """What each term's sum is divided by; rows are tokens where a language model is distilled."""
        found = {"labels": labelled, "soft": rows}
        if real is not None:
            texts, tokens = len(real.lengths), sum(real.lengths)
            by_row = "hidden" in self.weights and self.recipe.hidden_style == "patient"
            found |= {
                "hidden": texts * len(self.pairs["hidden"]) if by_row else tokens,
                "attention": sum(length * length for length in real.lengths),
                "relations": tokens,
                "cosine": tokens if self.same_tokens else texts,
                "contrastive": texts,
                "relational_distance": texts * (texts - 1),
                "relational_angle": texts * (texts - 1) * (texts - 2),
            }
        return {name: found[name] for name in self.weights}

    def losses(
        self, own: Mapping[str, Tensor], other: Mapping[str, Tensor], real: Real, projections: nn.ModuleDict
    ) -> dict[str, Tensor]:
        """The sum of each term that looks inside, from the student's states and the teacher's."""
        return {name: self._loss(name, own, other, real, projections) for name in self.inside}

    def _loss(
        self, name: str, own: Mapping[str, Tensor], other: Mapping[str, Tensor], real: Real, projections: nn.ModuleDict
    ) -> Tensor:
        pairs = self.pairs[name]
        first = own[pairs[0][0]]
        if name == "attention":
            total = first.new_zeros(())
            for (query, of_query), (key, of_key) in zip(pairs[::2], pairs[1::2], strict=True):
                states = (own[query], own[key]), (other[of_query], other[of_key])
                total = total + losses.attention_mse(*states, real.lengths, self.heads(name))
            return total
        if name == "relations":
            by_kind = {pair[0].split(".")[0]: pair for pair in pairs}
            total = first.new_zeros(())
            for one, two in RELATIONS[self.recipe.relations_of]:
                (a, a_teacher), (b, b_teacher) = by_kind[one], by_kind[two]
                states = (own[a], own[b]), (other[a_teacher], other[b_teacher])
                total = total + losses.relation_kl(*states, real.lengths, self.heads(name))
            return total
        if name == "relational_distance":
            return losses.relational_distance(first, other[pairs[0][1]])
        if name == "relational_angle":
            return losses.relational_angle(first, other[pairs[0][1]])
        mapped = [(_projected(name, pair[0], own[pair[0]], projections), other[pair[1]]) for pair in pairs]
        if name == "contrastive":
            return losses.info_nce(*mapped[0], self.recipe.contrastive_temperature)
        how = losses.cosine
        if name == "hidden":
            how = losses.hidden_mse if self.recipe.hidden_style == "tinybert" else losses.patient
        return sum((how(*pair) for pair in mapped), first.new_zeros(()))


def _projected(name: str, state: str, x: Tensor, projections: nn.ModuleDict) -> Tensor:
    key = "embeddings" if name == "hidden" and state == "hidden.0" else name
    return projections[key](x) if key in projections else x
