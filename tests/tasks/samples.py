"""A data set for each task that a tiny model learns in seconds: what the shared contract suite is run on.

A new task is one entry of `SAMPLES`.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.shapes import shapes
from tests.sounds import glides, spelt
from tests.tiny import BAD, GOOD, NEUTRAL, tiny_reviews, write_jsonl, write_parquet

JsonRow = dict[str, Any]
LEARNS = ("--epochs", "30", "--lr", "4e-3", "--batch-size", "8", "--set", "regularize.dropout=0", "--set",
          "eval.every=45")  # fmt: skip
NAMES = {"PER": ["anna", "tom", "li"], "LOC": ["rome", "paris", "berlin"]}


@dataclass(frozen=True)
class Sample:
    """Rows of a task and what is to be expected of it."""

    rows: Callable[[int, int], list[JsonRow]]
    """Of a number and a seed."""
    metric: str
    least: float
    """Of the metric, on the training rows, after training on them."""
    answer: str
    """The column to be told."""
    bad: Sequence[tuple[Mapping[str, Any], str]]
    """What may be wrong with a row: changed columns, and a word of what is said."""
    unicode: Mapping[str, Any]
    """Inputs in other scripts, to be predicted."""
    lines: Sequence[str] = ()
    """Inputs as plain lines."""
    keys: Sequence[str] = ("prediction",)
    """What an answer has."""
    absent: Callable[[JsonRow], bool] | None = None
    """Rows of one class, to be left out of validation; None where there are no classes."""
    model: str = "bert"
    """Of `tests.tiny.KINDS`, or vit for the preset of images."""
    options: Sequence[str] = LEARNS
    write: Callable[[Sequence[JsonRow], Path], Path] = field(default=write_jsonl)
    suffix: str = ".jsonl"
    adaptable: bool = True
    """Whether LoRA and its like apply."""
    student: Sequence[str] = ("--set", "student.layers=1", "--set", "distill.hidden=1")
    """A small student, and what it has in common with its teacher beside answers."""

    def data(self, folder: Path, **splits: Sequence[JsonRow]) -> Path:
        """A folder of split files."""
        folder.mkdir()
        for name, rows in splits.items():
            self.write(rows, folder / f"{name}{self.suffix}")
        return folder


def words(chance: random.Random, most: int = 6) -> list[str]:
    return chance.choices(NEUTRAL, k=chance.randint(1, most))


def pairs(count: int, seed: int) -> list[JsonRow]:
    """Both texts of one mood, or of two."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        first = chance.choice([GOOD, BAD])
        second = first if i % 2 else (BAD if first is GOOD else GOOD)
        texts = [" ".join([*words(chance, 2), *[chance.choice(kind[:2])] * 3]) for kind in (first, second)]
        rows.append({"premise": texts[0], "hypothesis": texts[1], "label": ("against", "same")[i % 2]})
    return rows


def scores(count: int, seed: int) -> list[JsonRow]:
    """The more good words the higher."""
    chance, rows = random.Random(seed), []
    for _ in range(count):
        good = chance.randint(0, 4)
        text = [*words(chance), *chance.choices(GOOD, k=good), *chance.choices(BAD, k=4 - good)]
        rows.append({"text": " ".join(text), "score": 100 + 7.5 * good})
    return rows


def topics(count: int, seed: int) -> list[JsonRow]:
    """A label for each kind of word there is."""
    chance, rows = random.Random(seed), []
    kinds = {"food": BAD[:1], "travel": BAD[3:4], "mood": GOOD[:2]}
    for i in range(count):
        chosen = [name for bit, name in enumerate(kinds) if (i + 1) >> bit & 1]
        text = [*words(chance), *(chance.choice(kinds[name]) for name in chosen)]
        rows.append({"text": " ".join(chance.sample(text, len(text))), "labels": chosen})
    return rows


def sentences(count: int, seed: int) -> list[JsonRow]:
    """Persons and places, some of two words."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        tokens, tags = words(chance), []
        tags = ["O"] * len(tokens)
        for kind in ("PER", "LOC") if i % 3 else ("PER",):
            name = [chance.choice(NAMES[kind]), *(["smith"] if kind == "PER" and chance.random() < 0.4 else [])]
            tokens += [*name, *words(chance, 2)]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)] + ["O"] * (len(tokens) - len(tags) - len(name))
        rows.append({"tokens": tokens, "tags": tags})
    return rows


def questions(count: int, seed: int) -> list[JsonRow]:
    """What a text has of the kind of word that is asked for, which may be nothing."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        kinds = {"good": GOOD[4:6], "bad": BAD[4:6]}
        asked = chance.choice(list(kinds))
        has = [kind for kind in kinds if i % 4 or kind != asked]
        context, answers = " ".join(words(chance, 9)), []
        for kind in chance.sample(has, len(has)):
            found = chance.choice(kinds[kind])
            answers += [{"text": found, "answer_start": len(context) + 1}] if kind == asked else []
            context = " ".join([context, found, *words(chance, 3)])
        rows.append({"question": f"{asked} {asked}", "context": context, "answers": answers})
    return rows


def exams(count: int, seed: int) -> list[JsonRow]:
    """Two to four choices, one of which is of the mood of the question."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        right, wrong = (GOOD[:2], BAD[:2]) if i % 2 else (BAD[:2], GOOD[:2])
        kinds = [wrong] * chance.randint(1, 3)
        label = chance.randint(0, len(kinds))
        kinds.insert(label, right)
        choices = [" ".join([*words(chance, 2), *[chance.choice(kind)] * 2]) for kind in kinds]
        rows.append({"question": " ".join([*words(chance, 3), chance.choice(right)]), "choices": choices,
                     "label": "ABCD"[label]})  # fmt: skip
    return rows


def queries(count: int, seed: int) -> list[JsonRow]:
    """Three candidates a query, a row each, of which one is of its mood and one half so."""
    chance, rows = random.Random(seed), []
    while len(rows) < count:
        mood, other = (GOOD[:2], BAD[:2]) if chance.random() < 0.5 else (BAD[:2], GOOD[:2])
        query = " ".join([*words(chance, 4), chance.choice(mood)])
        for grade, kinds in ((2, (mood, mood)), (1, (mood, other)), (0, (other, other))):
            candidate = " ".join([*words(chance, 2), *(chance.choice(kind) for kind in kinds)])
            rows.append({"query": query, "candidates": candidate, "label": grade})
    return rows[:count]


def replies(count: int, seed: int, asked: str, answer: str) -> list[JsonRow]:
    """Of a thing, a mood and a word of praise or blame: which, in another order."""
    chance, rows = random.Random(seed), []
    things = ["film", "plot", "soup", "hotel", "phone", "book"]
    for i in range(count):
        thing, mood = things[i % 6], (GOOD if i // 6 % 2 else BAD)[i // 3 % 4]
        rows.append({asked: f"{' '.join(words(chance, 2))} {mood} {thing}", answer: f"the {thing} was {mood}"})
    return rows


def stripes(count: int, seed: int) -> list[JsonRow]:
    """Images of stripes that lie or stand, as a Hub's table has them."""
    chance, rows = np.random.default_rng(seed), []
    for i in range(count):
        pixels = np.tile([40, 40, 200, 200], 3)[:, None] + chance.normal(0, 20, (12, 12))
        pixels = np.roll(pixels, chance.integers(4), axis=0)
        file = io.BytesIO()
        Image.fromarray((pixels if i % 2 else pixels.T).clip(0, 255).astype(np.uint8)).save(file, format="png")
        rows.append({"image": file.getvalue(), "label": ("standing", "lying")[i % 2]})
    return rows


def reviews(count: int, seed: int) -> list[JsonRow]:
    return [dict(row) for row in tiny_reviews(count, seed)]


_NO_TEXT = ({"text": ""}, "empty")
SAMPLES: dict[str, Sample] = {
    "text-classification": Sample(
        reviews, "accuracy", 0.95, "label", [_NO_TEXT, ({"label": None}, "missing")],
        {"text": "电影很好看 فيلم जीवन 🎬"}, ["a good film", "a rude plot"], ("prediction", "score", "scores"),
        lambda row: row["label"] == "positive",
    ),
    "pair": Sample(
        pairs, "accuracy", 0.9, "label", [({"hypothesis": None}, "null"), ({"premise": 3}, "number")],
        {"premise": "电影很好", "hypothesis": "जीवन 🎬"}, ["a good film\ta rude plot", "a film\ta plot"],
        ("prediction", "score", "scores"), lambda row: row["label"] == "same",
    ),
    "regression": Sample(
        scores, "pearson", 0.95, "score", [_NO_TEXT, ({"score": "many"}, "many"), ({"score": True}, "true/false")],
        {"text": "电影很好看 🎬"}, ["a good film", "a rude plot"],
    ),
    "multi-label": Sample(
        topics, "f1_micro", 0.9, "labels", [_NO_TEXT, ({"labels": [["food"]]}, "list"), ({"labels": None}, "null")],
        {"text": "电影很好看 🎬"}, ["a good soup", "the bad hotel"], ("prediction", "scores"),
        lambda row: "food" in row["labels"], options=(*LEARNS, "--epochs", "60"),
    ),
    "token-classification": Sample(
        sentences, "f1", 0.95, "tags",
        [({"tokens": []}, "empty"), ({"tags": ["O"]}, "tags"), ({"tokens": ["a", "b"], "tags": ["B-PER", "X"]}, "X")],
        {"tokens": ["电影", "जीवन", "\u200b", "🎬"]}, ["anna smith in rome, today", "we met"],
        ("prediction", "entities"), lambda row: "B-LOC" in row["tags"],
    ),
    "extractive-qa": Sample(
        questions, "f1", 0.9, "answers",
        [({"context": ""}, "empty"), ({"answers": [{"text": "nowhere", "answer_start": 3}]}, "does not occur"),
         ({"answers": {"text": ["a"]}, "context": "It is not here", "question": 3}, "number"),
         ({"answers": "nowhere"}, "nowhere")],
        {"question": "什么?", "context": "电影很好看 🎬 जीवन"}, ["good\tthe film was warm", "bad\tit was cold"],
        ("prediction", "score", "start", "end", "no_answer"), options=(*LEARNS, "--epochs", "80"),
    ),
    "multiple-choice": Sample(
        exams, "accuracy", 0.95, "label",
        [({"choices": ["one"]}, "at least two"), ({"label": "F"}, "none of the"), ({"question": None}, "null"),
         ({"choices": "a film"}, "list")],
        {"question": "电影?", "choices": ["很好看", "जीवन 🎬"]}, ['a good film\t["good", "bad", "cold"]'],
        ("prediction", "index", "score", "scores"), options=(*LEARNS, "--epochs", "60"),
    ),
    "ranking": Sample(
        queries, "ndcg@10", 0.97, "label",
        [({"candidates": ""}, "empty"), ({"label": -1}, "relevance"), ({"query": None}, "null"),
         ({"candidates": ["a", "b"], "label": 2}, "none of the 2")],
        {"query": "电影", "candidates": ["很好看", "जीवन 🎬"]}, ["a good film\tgood", "a rude plot\tbad"],
        ("prediction", "score", "ranking"), options=(*LEARNS, "--batch-size", "4"),
    ),
    "seq2seq": Sample(
        partial(replies, asked="de", answer="en"), "chrf", 90, "en", [({"de": ""}, "empty"), ({"en": 3}, "number")],
        {"de": "电影很好看 🎬"}, ["a good film", "a rude plot"], model="t5",
        options=(*LEARNS, "--epochs", "120", "--set", "eval.every=120", "--set", "seq2seq.max_target_length=12"),
        student=("--student", "preset:t5-tiny", "--set",
                 "model.config={d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_decoder_layers: 1}",
                 "--set", "seq2seq.max_target_length=12"),
    ),
    "causal-lm": Sample(
        partial(replies, asked="prompt", answer="response"), "token_accuracy", 0.95, "response",
        [({"prompt": None}, "null"), ({"response": " "}, "empty")],
        {"prompt": "电影很好看 🎬"}, ["a good film", "a rude plot"], model="gpt2",
        options=(*LEARNS, "--epochs", "150", "--set", "eval.every=150", "--set", "generation.max_new_tokens=8"),
    ),
    "image-classification": Sample(
        stripes, "accuracy", 0.9, "label", [({"image": b"no image"}, "decoded"), ({"label": None}, "missing")],
        {}, (), ("prediction", "score", "scores"), lambda row: row["label"] == "lying", "vit-digits",
        ("--epochs", "20", "--lr", "3e-3", "--batch-size", "8", "--set", "eval.every=30",
         "--set", "model.config.num_hidden_layers=2",
         "--set", "model.config.hidden_size=32"),
        write_parquet, ".parquet", adaptable=False,
    ),
    "audio-classification": Sample(
        glides, "accuracy", 0.9, "label", [({"audio": b"no sound"}, "decoded"), ({"label": None}, "missing")],
        {}, (), ("prediction", "score", "scores"), lambda row: row["label"] == "falling", "whisper-digits",
        ("--epochs", "20", "--lr", "3e-3", "--batch-size", "8", "--set", "eval.every=30",
         "--set", "audio.augment=false", "--set", "model.config={encoder_layers: 1, d_model: 32, encoder_ffn_dim: 64}"),
        write_parquet, ".parquet", adaptable=False,
        student=("--student", "preset:whisper-digits", "--set",
                 "model.config={encoder_layers: 1, d_model: 16, encoder_ffn_dim: 32}"),
    ),
    "object-detection": Sample(
        shapes, "map_50", 0.6, "objects",
        [({"image": b"no image"}, "decoded"), ({"objects": {"bbox": [[1.0, 2.0]], "category": ["disc"]}}, "four")],
        {}, (), ("prediction",), None, "yolos-shapes",
        ("--epochs", "80", "--lr", "2e-3", "--batch-size", "8", "--set", "eval.every=120",
         "--set", "model.config={image_size: [32, 32], num_hidden_layers: 2, hidden_size: 64, num_detection_tokens: 4}",
         "--set", "model.config.initializer_range=0.1"),
        write_parquet, ".parquet", adaptable=False,
    ),
    "seq2seq-asr": Sample(
        spelt, "exact", 0.9, "transcript", [({"audio": b"no sound"}, "decoded"), ({"transcript": ""}, "empty")],
        {}, (), ("prediction",), None, "whisper-digits",
        ("--epochs", "60", "--lr", "4e-3", "--batch-size", "8", "--set", "eval.every=90",
         "--set", "audio.augment=false",
         "--set", "model.config={encoder_layers: 1, decoder_layers: 1, d_model: 64, encoder_ffn_dim: 64}",
         "--set", "model.config.decoder_ffn_dim=64", "--set", "generation.max_new_tokens=8"),
        write_parquet, ".parquet", adaptable=False,
    ),
    "ctc-asr": Sample(
        spelt, "exact", 0.9, "transcript", [({"audio": b"no sound"}, "decoded"), ({"transcript": ""}, "empty")],
        {}, (), ("prediction",), None, "wav2vec2-tiny",
        ("--epochs", "60", "--lr", "3e-3", "--batch-size", "8", "--set", "eval.every=60",
         "--set", "audio.augment=false", "--set", "model.config={num_hidden_layers: 2, hidden_size: 32}",
         "--set", "model.config.conv_dim=[32,32,32,32,32]", "--set", "regularize.dropout=0"),
        write_parquet, ".parquet", adaptable=False,
    ),
}  # fmt: skip


def as_json(row: Mapping[str, Any]) -> JsonRow:
    """A row as a line of JSON can hold it."""
    return {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in row.items()}
