"""Conversations in the forms they come in; what the template makes of them; which tokens are answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from ftcli.data.conversations import (
    PLAIN,
    NoConversation,
    answered,
    asked,
    read,
    rendered,
    set_template,
    stops,
    tokens_of,
    turns_of,
)
from ftcli.errors import DataError, UsageError
from ftcli.models.tokenizers import train_tokenizer
from ftcli.recipe.schema import TokenizerRecipe

TEXTS = ["what is the sum of two and three", "it is five", "### Instruction:", "### Response:", "你好"]
CHATML = (
    "{% for m in messages %}{{ '<s>' + m.role + '\n' + m.content + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "two and three"},
    {"role": "assistant", "content": "five"},
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": "it is five"},
]


@pytest.fixture(params=["gpt2", "llama"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, TokenizerRecipe(vocab_size=300), request.param, 512)


@pytest.mark.parametrize(
    "value",
    [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"},
         {"role": "user", "content": "not answered"}],
        json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
    ],
)  # fmt: skip
def test_forms(value: Any) -> None:
    assert read(value) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert read(value, predicting=True)[0] == {"role": "user", "content": "a"}
    assert read(value, predicting=True)[-1]["role"] == "user"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hello", "no list"), ([], "no list"), (["a"], "place 1"), ([{"role": "cat", "content": "a"}], "'cat'"),
        ([{"role": "user", "content": " "}], "without text"), ([{"role": "user", "content": "a"}], "the assistant"),
    ],
)  # fmt: skip
def test_what_is_none(value: Any, said: str) -> None:
    with pytest.raises(NoConversation, match=said):
        read(value)


def test_prompts_are_conversations() -> None:
    row = {"prompt": "add", "input": "2 3", "response": "5", "messages": None}
    assert turns_of(row, "be brief") == [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "add\n\n2 3"},
        {"role": "assistant", "content": "5"},
    ]  # fmt: skip
    assert len(turns_of({"prompt": "add", "input": None, "system": "own"}, None)) == 2


def test_answers_are_all_turns_of_the_assistant_and_their_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    assert set_template(tokenizer, None) is not None
    whole = rendered(tokenizer, TALK)
    end = str(tokenizer.eos_token)
    assert [whole.text[start:stop] for start, stop in whole.answers] == [f"five{end}", f"it is five{end}"]
    [(ids, starts)] = tokens_of(tokenizer, [whole.text])
    told = ids[answered(starts, whole.answers)]
    assert tokenizer.decode(told) == f"five{end}it is five{end}"
    # What is asked before each answer is what the model reads when it is to give it.
    for place in (2, 4):
        before = asked(tokenizer, TALK[:place])
        assert whole.text.startswith(before)
        assert (
            ids[: len(tokens_of(tokenizer, [before])[0][0])].tolist() == tokens_of(tokenizer, [before])[0][0].tolist()
        )
    assert stops(tokenizer) == [tokenizer.eos_token_id]


def test_a_template_of_its_own_stays(tokenizer: PreTrainedTokenizerBase, tmp_path: Any) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(CHATML, encoding="utf-8")
    assert set_template(tokenizer, str(file)) is None
    assert set_template(tokenizer, None) is None
    assert tokenizer.chat_template == CHATML != PLAIN
    whole = rendered(tokenizer, TALK)
    assert [whole.text[start:stop] for start, stop in whole.answers] == ["five</s>\n", "it is five</s>\n"]
    with pytest.raises(UsageError, match="cannot be read"):
        set_template(tokenizer, str(tmp_path / "none.jinja"))


def test_templates_that_hide_or_refuse(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if loop.last or m.role != 'assistant' %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    with pytest.raises(UsageError, match="cannot be told apart"):
        rendered(tokenizer, TALK)
    tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(DataError, match="no system turns"):
        rendered(tokenizer, TALK)
