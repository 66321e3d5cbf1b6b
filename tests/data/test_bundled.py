"""`builtin:reviews` and `builtin:headlines`: enough of them, balanced, in splits, and no two alike."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

from ftcli.data.bundled import bundled_folder

SPLITS = ("train", "validation", "test")


def rows(split: str, name: str = "reviews") -> list[dict[str, str]]:
    lines = (Path(bundled_folder(name)) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def grams(text: str) -> set[tuple[str, ...]]:
    """The 3-grams of words."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_enough_and_balanced() -> None:
    assert sum(len(rows(split)) for split in SPLITS) >= 1500
    for split in SPLITS:
        counts = Counter(row["label"] for row in rows(split))
        assert set(counts) == {"negative", "positive"}
        assert max(counts.values()) <= 1.1 * min(counts.values())


def test_lengths_vary() -> None:
    lengths = sorted(len(row["text"].split()) for split in SPLITS for row in rows(split))
    assert lengths[0] <= 6
    assert lengths[9 * len(lengths) // 10] >= 2 * lengths[len(lengths) // 10]


def test_no_two_share_more_than_half_their_3_grams() -> None:
    found = [grams(row["text"]) for split in SPLITS for row in rows(split)]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, own in enumerate(found):
        for gram in own:
            holders[gram].append(index)
    shared = Counter(pair for indices in holders.values() for pair in combinations(indices, 2))
    assert shared, "some 3-grams are common to any two texts"
    for (first, second), count in shared.items():
        assert count <= min(len(found[first]), len(found[second])) / 2


def test_headlines_are_balanced_over_topics_and_sentiments() -> None:
    found = {split: rows(split, "headlines") for split in SPLITS}
    for split in SPLITS:
        counts = Counter((row["topic"], row["sentiment"]) for row in found[split])
        assert len(counts) == 15
        assert len(set(counts.values())) == 1, "as many of each topic and sentiment together"
        assert any("\u4e00" <= row["text"][0] <= "\u9fff" for row in found[split]), "Chinese ones, too"
    texts = [row["text"] for split in SPLITS for row in found[split]]
    assert len(texts) == len(set(texts)) == 360
