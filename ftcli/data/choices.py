"""Questions with several answers to choose from, in the forms that data sets have them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ftcli.contract import Column
from ftcli.data.text_files import json_kind
from ftcli.data.values import text_fault

QUESTION = Column(
    "question",
    "text",
    ("question", "stem", "question_stem", "sent1", "ctx", "goal", "premise", "prompt", "sentence", "startphrase",
     "query", "text"),
)  # fmt: skip
BEFORE = Column(
    "context",
    "text",
    ("context", "article", "passage", "story", "paragraph", "premise", "dialogue"),
    required=False,
)
BEGIN = Column("begin", "text", ("begin", "sent2"), required=False)
"""What every choice begins with (SWAG's second sentence)."""
CHOICES = Column(
    "choices", "json", ("choices", "options", "endings", "choice", "option", "ending", "sol", "mc_answers")
)
LABEL = Column(
    "label",
    "label",
    ("label", "answerkey", "answer_key", "answer_index", "answer_idx", "gold", "correct", "target", "answer",
     "correct_answer"),
    required=False,
    answer=True,
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def choices_of(value: Any) -> tuple[list[str], list[str] | None]:
    """The texts to choose from, and what they are called where the data says so.

    Forms: a list of texts, ``{"text": [...], "label": [...]}`` (ARC, CommonsenseQA), a list of ``{"text", "label"}``,
    each also as JSON in a cell; of columns of one choice each, the last ones may be empty. ValueError, in words that go
    on after "choices", for anything else.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("is text, not a list of choices") from None
    names = None
    if isinstance(value, dict):
        names, value = value.get("label"), value.get("text")
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {json_kind(value)}, not a list of choices")
    entries = list(value)
    while entries and entries[-1] in (None, ""):
        entries.pop()
    if entries and all(isinstance(entry, dict) for entry in entries):
        names = [entry.get("label") for entry in entries]
        entries = [entry.get("text") for entry in entries]
        names = None if None in names else names
    texts = [str(e) if isinstance(e, int | float) and not isinstance(e, bool) else e for e in entries]
    for place, text in enumerate(texts, 1):
        if fault := text_fault(text, f"choice {place}"):
            raise ValueError(f"is unusable: {fault}")
    if len(texts) < 2:
        raise ValueError(f"has {len(texts)} entr{'y' if len(texts) == 1 else 'ies'}, where at least two are needed")
    if names is not None and (not isinstance(names, list | tuple) or len(names) != len(texts)):
        raise ValueError("has not as many labels as texts")
    return texts, None if names is None else [str(name).strip() for name in names]


def place_of(label: Any, texts: Sequence[str], names: Sequence[str] | None, first: int = 0) -> int | None:
    """Which of the choices `label` names, from 0; None for none of them.

    Whole numbers count from `first`; else it is the name of a choice, a letter (A is the first) or its words.
    """
    if isinstance(label, bool) or label is None:
        return None
    text = str(label).strip()
    if names is not None and text in names:
        return names.index(text)
    if isinstance(label, int) or re.fullmatch(r"\d+", text):
        place = int(text) - first
    elif len(text) == 1 and text.lower() in _LETTERS:
        place = _LETTERS.index(text.lower())
    elif text in texts:
        return texts.index(text)
    else:
        return None
    return place if 0 <= place < len(texts) else None
