"""Conversations: turns of system, user and assistant, in the forms data sets have them, and as text by a chat template.

What is learnt of one are the assistant's turns, each with the token that ends it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftcli.contract import Column, Row
from ftcli.errors import DataError, UsageError

MESSAGES = Column(
    "messages",
    "turns",
    ("messages", "conversations", "conversation", "chat", "dialog", "dialogue", "turns"),
    required=False,
)
PROMPT = Column(
    "prompt",
    "text",
    ("instruction", "prompt", "question", "query", "user", "input", "text"),
    unless="messages",
)
INPUT = Column("input", "text", ("input", "context", "inputs"), required=False, blank=True)
SYSTEM = Column("system", "text", ("system", "system_prompt"), required=False, blank=True)
RESPONSE = Column(
    "response",
    "text",
    ("response", "output", "completion", "answer", "reply", "assistant", "target", "chosen", "outputs"),
    answer=True,
    unless="messages",
)

ROLES = {
    "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant",
    "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "prompter": "user", "ai": "assistant",
}  # fmt: skip
"""What data sets call the ones who speak, and what templates do."""
_WHO, _WHAT = ("role", "from", "speaker"), ("content", "value", "text")

PLAIN = """\
{{- bos_token if bos_token is defined and bos_token else '' -}}
{%- for message in messages -%}
{{- '' if loop.first else '\\n\\n' -}}
{%- if message.role == 'assistant' -%}
{{- '### Response:\\n' + message.content + eos_token -}}
{%- elif message.role == 'user' -%}
{{- '### Instruction:\\n' + message.content -}}
{%- else -%}
{{- message.content -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- ('\\n\\n' if messages else '') + '### Response:\\n' -}}
{%- endif -%}
"""
"""For tokenizers without a template of their own: headings after those of Alpaca (Taori et al. 2023), no new tokens."""

Turn = dict[str, str]


class NoConversation(ValueError):
    """What is wrong with a value that should be a conversation."""


def read(value: Any, *, predicting: bool = False) -> list[Turn]:
    """``role`` and ``content`` of each turn of a list of messages, as far as there is something to learn: to the last
    turn of the assistant; when `predicting`, to the last one of somebody else.

    Contents in parts are joined where all are text. Raises NoConversation for another form, and where no such turn is.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list | tuple) or not value:
        raise NoConversation("is no list of messages")
    turns = [_turn(message, number) for number, message in enumerate(value, 1)]
    while turns and (turns[-1]["role"] == "assistant") == predicting:
        turns.pop()
    if not any(turn["role"] == ("user" if predicting else "assistant") for turn in turns):
        raise NoConversation(f"has no turn of the {'user' if predicting else 'assistant'}")
    return turns


def _turn(message: Any, number: int) -> Turn:
    if not isinstance(message, Mapping):
        raise NoConversation(f"has something else than a message in place {number}")
    who = next((message[key] for key in _WHO if key in message), None)
    what = next((message[key] for key in _WHAT if key in message), None)
    if isinstance(what, list) and what and all(isinstance(p, Mapping) and p.get("type") == "text" for p in what):
        what = "".join(str(part.get("text", "")) for part in what)
    role = ROLES.get(str(who).lower())
    if role is None:
        raise NoConversation(f"has a message of '{who}' in place {number}; expected {', '.join(sorted(ROLES))}")
    if not isinstance(what, str) or not what.strip():
        raise NoConversation(f"has a message without text in place {number}")
    return {"role": role, "content": what}


def turns_of(row: Row, system: str | None) -> list[Turn]:
    """A row as a conversation: its own turns (as `read` gives them), or its prompt, with what it is about, and, where
    there is one, the response. `system` begins conversations that have no such message."""
    if row.get("messages") is not None:
        turns = [dict(turn) for turn in row["messages"]]
    else:
        about = row.get("input")
        turns = [{"role": "user", "content": f"{row['prompt']}\n\n{about}" if about else row["prompt"]}]
        if row.get("response") is not None:
            turns.append({"role": "assistant", "content": row["response"]})
    own = row.get("system") or system
    if own and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": own})
    return turns


# Templates --------------------------------------------------------------------------------------------------------


def set_template(tokenizer: Any, file: str | None) -> str | None:
    """Give the tokenizer, which is saved with the model, a chat template: that in `file`, its own, or a plain one; a
    note where it had none."""
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise UsageError(f"chat.template: '{file}' cannot be read ({error})") from None
        return None
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN
        return "the tokenizer has no chat template; it is given a plain one, with headings"
    return None


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and where in it the assistant's turns begin and end (characters)."""

    text: str
    answers: list[tuple[int, int]]


def rendered(tokenizer: Any, turns: Sequence[Turn]) -> Rendered:
    """The text of a whole conversation. DataError where the template cannot hold it, UsageError where what it makes of
    a conversation's beginning is not the beginning of what it makes of the whole, so that turns cannot be told apart.
    """
    text = _applied(tokenizer, turns)
    answers = []
    for place, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before, after = asked(tokenizer, turns[:place]), _applied(tokenizer, turns[: place + 1])
        if not (after.startswith(before) and text.startswith(after)):
            raise UsageError(
                "the chat template writes the beginning of a conversation in another way once it goes on, so that "
                "answers cannot be told apart",
                hint="--set chat.template=FILE names another template",
            )
        answers.append((len(before), len(after)))
    return Rendered(text, answers)


def asked(tokenizer: Any, turns: Sequence[Turn]) -> str:
    """The text after which the assistant's next turn begins."""
    return _applied(tokenizer, turns, add_generation_prompt=True)


def _applied(tokenizer: Any, turns: Sequence[Turn], **options: Any) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(turns), tokenize=False, **options))
    except TemplateError as error:
        said = " / ".join(turn["content"][:40] for turn in turns[:2])
        raise DataError(
            f"the chat template refuses a conversation: {error} ({said})",
            hint="--set chat.template=FILE names another template",
        ) from None


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids of texts that hold their special tokens already, and the character each begins at."""
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"a {type(tokenizer).__name__} cannot say which token stands for which letters",
            hint="a --model with a tokenizer.json",
        )
    encoded = tokenizer(
        list(texts), add_special_tokens=False, truncation=False, padding=False, return_offsets_mapping=True,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    )  # fmt: skip
    return [
        (np.array(ids, dtype=np.int32), np.array([start for start, _ in places], dtype=np.int64))
        for ids, places in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def answered(starts: np.ndarray, answers: Sequence[tuple[int, int]]) -> np.ndarray:
    """(tokens,) true for those that begin within one of the answers."""
    told = np.zeros(len(starts), dtype=bool)
    for begin, end in answers:
        told |= (starts >= begin) & (starts < end)
    return told


def stops(tokenizer: Any) -> list[int]:
    """The tokens that end the assistant's turn: the special ones that follow what it says, and the end of a text."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        whole = rendered(tokenizer, turns)
    except (DataError, UsageError):
        return [int(tokenizer.eos_token_id)]
    begin, _ = whole.answers[0]
    [(ids, starts)] = tokens_of(tokenizer, [whole.text])
    after = ids[starts > whole.text.index("b", begin)]
    special = set(tokenizer.all_special_ids)
    found = [int(token) for token in after[:1] if int(token) in special]
    return list(dict.fromkeys([*found, int(tokenizer.eos_token_id)]))
