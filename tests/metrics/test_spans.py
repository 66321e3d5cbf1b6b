"""Entities and their scores are those of seqeval, which are those of the shared tasks' own scorer."""

from __future__ import annotations

import random
import warnings

import pytest
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from ftcli.metrics.spans import entities
from ftcli.metrics.tags import Span, spans
from ftcli.tasks.schemes import breaks, detect, tag_fault, written

MARKS = {"bio": "BI", "iob1": "BI", "bioes": "BIES"}
STRICT = {"bio": IOB2, "iob1": IOB1, "bioes": IOBES}


def random_tags(chance: random.Random, scheme: str) -> list[str]:
    """Any tags of a scheme, in any order, mostly in orders that it does not allow."""
    kinds = ["PER", "LOC", "a-b", "_"][: chance.randint(1, 4)]
    pool = ["O", *(f"{mark}-{kind}" for mark in MARKS[scheme] for kind in kinds)]
    return [chance.choice(pool) for _ in range(chance.randint(0, 12))]


def valid_tags(chance: random.Random, scheme: str) -> list[str]:
    """Tags for entities that do not overlap."""
    found, place = [], 0
    length = chance.randint(1, 12)
    while place < length:
        end = chance.randint(place + 1, length)
        if chance.random() < 0.6:
            found.append(Span(chance.choice(["PER", "LOC"]), place, end))
        place = end
    return written(found, length, scheme)


@pytest.mark.parametrize("scheme", MARKS)
def test_spans_are_seqeval_s(scheme: str) -> None:
    chance = random.Random(3)
    tried = broken = 0
    for _ in range(4000):
        tags = random_tags(chance, scheme)
        assert [(s.type, s.start, s.end - 1) for s in spans(tags)] == get_entities(tags)
        tried, broken = tried + bool(tags), broken + breaks(tags, scheme)
    assert tried > 3000
    assert broken > 1000, "most orders have to be odd ones"


@pytest.mark.parametrize("scheme", MARKS)
def test_scores_are_seqeval_s(scheme: str) -> None:
    chance = random.Random(4)
    warnings.simplefilter("ignore")
    for _ in range(400):
        true = [random_tags(chance, scheme) for _ in range(chance.randint(1, 6))]
        given = [
            [tag if chance.random() < 0.7 else chance.choice(["O", "B-PER", "I-LOC"]) for tag in tags] for tags in true
        ]
        if not any(map(spans, true + given)):
            continue
        expected = classification_report(true, given, output_dict=True, zero_division=0)
        found = entities(given, true, bootstrap=0, seed=0)
        for average, end in (("micro", ""), ("macro", "_macro"), ("weighted", "_weighted")):
            for name, own in (("precision", "precision"), ("recall", "recall"), ("f1-score", "f1")):
                assert found["metrics"][own + end] == pytest.approx(expected[f"{average} avg"][name])
        for line in found["classes"]:
            assert line["f1"] == pytest.approx(expected[line["label"]]["f1-score"])
            assert line["support"] == expected[line["label"]]["support"]


@pytest.mark.parametrize("scheme", MARKS)
def test_what_keeps_to_its_scheme_is_read_the_same_strictly(scheme: str) -> None:
    """Tags and entities go into each other, and a strict reader of the scheme sees the same."""
    chance = random.Random(5)
    for _ in range(300):
        tags = valid_tags(chance, scheme)
        assert not breaks(tags, scheme)
        assert written(spans(tags), len(tags), scheme) == tags
        strict = Entities([tags], STRICT[scheme]).entities[0]
        assert [(e.tag, e.start, e.end) for e in strict] == [(s.type, s.start, s.end) for s in spans(tags)]


def test_schemes_are_told_apart() -> None:
    assert detect([["B-x", "I-x", "O", "B-x"]]) == "bio"
    assert detect([["I-x", "I-x", "B-x", "O"], ["O", "I-y"]]) == "iob1"
    assert detect([["B-x", "E-x", "S-y"]]) == "bioes"
    assert detect([["U-x", "B-x", "L-x"]]) == "bioes"
    assert detect([["DET", "NOUN"]]) == "plain"
    assert detect([["B", "I", "O"]]) == "bio"
    assert spans(["B", "I", "O"]) == [Span("_", 0, 2)]
    assert tag_fault(["O", "B-x", "DET"]) == "tag 3 is 'DET', neither O nor a mark with a type (B-..., I-...)"
    assert tag_fault(["DET", "NOUN"]) is None
    assert tag_fault(["O", "B-"]) is None  # nothing marks it as one of entities


def test_intervals_and_a_hand_worked_case() -> None:
    true = [["B-a", "I-a", "O"], ["B-b", "O", "O"], ["O", "B-a", "O"]]
    given = [["B-a", "I-a", "O"], ["B-a", "O", "O"], ["O", "B-a", "I-a"]]
    found = entities(given, true, bootstrap=200, seed=1)
    assert found["metrics"]["precision"] == pytest.approx(1 / 3)
    assert found["metrics"]["recall"] == pytest.approx(1 / 3)
    assert found["metrics"]["accuracy"] == pytest.approx(7 / 9)
    low, high = found["intervals"]["f1"]
    assert 0 <= low < 1 / 3 < high <= 1
    assert found == entities(given, true, bootstrap=200, seed=1)
