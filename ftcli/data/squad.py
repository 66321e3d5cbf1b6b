"""Questions about texts with their answers marked, as SQuAD is published: articles of paragraphs of questions.

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv:1606.05250); with questions
that have no answer, Rajpurkar et al. 2018 (arXiv:1806.03822).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ftcli.contract import Column
from ftcli.data.text_files import json_kind

QUESTION = Column("question", "text", ("question", "query", "q"))
CONTEXT = Column("context", "text", ("context", "passage", "paragraph", "document", "article", "text"))
ANSWERS = Column("answers", "json", ("answers", "answer", "answer_text"), required=False, answer=True)
SHOWN = 40
"""Characters of an answer that a message repeats."""


class Answer(NamedTuple):
    """An answer: its words and where in the context they begin."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def questions_of(article: Any) -> Iterator[Any]:
    """A row for each question of an article, with its paragraph as ``context``; anything else as it is."""
    if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
        yield article
        return
    for paragraph in article["paragraphs"]:
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list):
            yield {"title": article.get("title"), "context": None}  # a row that says what it lacks
            continue
        for question in questions:
            outside = {"title": article.get("title"), "context": paragraph.get("context")}
            yield {**outside, **question} if isinstance(question, dict) else question


def answers_of(value: Any, context: str) -> list[Answer]:
    """The answers that a row has, each checked to be in the context; none where there is nothing to answer.

    Forms: ``{"text": [...], "answer_start": [...]}``, a list of ``{"text", "answer_start"}``, either as JSON in a cell,
    or words alone, which are looked for. ValueError, in words that go on after "answers", for one that is not there.
    """
    if isinstance(value, str):
        value = _from_cell(value)
    if isinstance(value, dict):
        return _from_columns(value, context)
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {json_kind(value)}, where answers are needed")
    found = []
    for entry in value:
        if isinstance(entry, str):
            found += _located(entry, None, context)
        elif isinstance(entry, dict):
            found += _from_columns(entry, context)
        else:
            raise ValueError(f"holds {json_kind(entry)}, where an answer is needed")
    return found


def _from_cell(text: str) -> Any:
    if not text.strip():
        raise ValueError("is empty; a question without an answer has []")
    if text.lstrip()[0] in "[{":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return [text]


def _from_columns(value: dict[str, Any], context: str) -> list[Answer]:
    texts, starts = value.get("text"), value.get("answer_start", value.get("start"))
    if not isinstance(texts, list | tuple):
        texts, starts = [texts], None if starts is None else [starts]
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list | tuple) or len(starts) != len(texts):
        raise ValueError("has not as many places (answer_start) as texts")
    return [one for text, start in zip(texts, starts, strict=True) for one in _located(text, start, context)]


def _located(text: Any, start: Any, context: str) -> list[Answer]:
    """The answer, in a list; none for a text without words, which some data has where there is no answer."""
    if not isinstance(text, str):
        raise ValueError(f"has {json_kind(text)} as the text of an answer")
    if not text.strip():
        return []
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    at = context.find(text)
    if start is None:
        if at < 0:
            raise ValueError(f"has '{shown}', which does not occur in the context")
        return [Answer(text, at)]
    if isinstance(start, bool) or not isinstance(start, int | float) or start != int(start):
        raise ValueError(f"has {json_kind(start)} as the place of an answer, where a whole number is needed")
    if start < 0 or context[int(start) : int(start) + len(text)] != text:
        where = f"it is at {at}" if at >= 0 else "it does not occur in it"
        raise ValueError(f"has '{shown}' at character {int(start)}, which is not what the context has there; {where}")
    return [Answer(text, int(start))]
