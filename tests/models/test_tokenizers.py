"""The tokenizers trained for models that have none."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    T5Tokenizer,
    pipeline,
)

from ftcli.errors import UsageError
from ftcli.models.families import FAMILIES
from ftcli.models.load import Source
from ftcli.models.tokenizers import KINDS, begins_word, token_bytes, train_tokenizer, train_wordpiece
from ftcli.recipe.schema import TokenizerRecipe
from tests.models import every_tokenizer
from tests.models.every_tokenizer import TEXTS, save_all, train
from tests.tiny import SMALL, tiny_reviews

KIND_NAMES = list(KINDS)
MODEL_TYPES = ["bert", "electra", "albert", "distilbert", "modernbert", "roberta", "bart", "gpt2", "llama", "t5"]


# WordPiece, as it was before there were other kinds --------------------------------------------------------------


@given(st.lists(st.text("abcäé中 .,-!'", min_size=1, max_size=30), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_same_texts_give_the_same_vocabulary(texts: list[str]) -> None:
    first, second = (train_wordpiece(texts, TokenizerRecipe(vocab_size=60), 64).get_vocab() for _ in range(2))
    assert first == second
    assert sorted(first.values()) == list(range(len(first)))


def test_words_seen_in_training_are_known_and_the_size_is_kept() -> None:
    texts = [row["text"] for row in tiny_reviews(100)]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=120), 64)
    assert len(tokenizer) <= 120
    for text in texts:
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_bert_vocabulary_stays_what_it_was() -> None:
    """A digest of the files that came out before there were other kinds."""
    vocabulary = train(size=300).get_vocab()
    listed = "\n".join(sorted(vocabulary, key=vocabulary.__getitem__))
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == "e9d63982533b2940"


# What comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "first", "single", "pair"),
    [
        ("bert", "[PAD] [UNK] [CLS] [SEP] [MASK]", "[CLS] a [SEP]", "[CLS] a [SEP] a [SEP]"),
        ("distilbert", "[PAD] [UNK] [CLS] [SEP] [MASK]", "[CLS] a [SEP]", "[CLS] a [SEP] a [SEP]"),
        ("modernbert", "[PAD] [UNK] [CLS] [SEP] [MASK]", "[CLS] a [SEP]", "[CLS] a [SEP] a [SEP]"),
        ("roberta", "<s> <pad> </s> <unk> <mask>", "<s> a </s>", "<s> a </s> </s> a </s>"),
        ("bart", "<s> <pad> </s> <unk> <mask>", "<s> a </s>", "<s> a </s> </s> a </s>"),
        ("gpt2", "<|endoftext|> <|pad|>", "a", "a a"),
        ("llama", "<s> </s> <pad>", "<s> a", "<s> a <s> a"),
        ("t5", "<pad> </s> <unk>", "a </s>", "a </s> a </s>"),
    ],
)
def test_special_tokens_of_the_family(model_type: str, first: str, single: str, pair: str) -> None:
    tokenizer = train(model_type=model_type)
    names = first.split()
    assert tokenizer.convert_ids_to_tokens(list(range(len(names)))) == names
    assert set(names) <= set(tokenizer.all_special_tokens)
    assert tokenizer.pad_token in names

    def spelled(encoding: Any) -> str:
        tokens = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
        return " ".join(token.removeprefix("▁") for token in tokens if token != "▁")

    assert spelled(tokenizer("a")) == single
    assert spelled(tokenizer("a", "a")) == pair
    segments = tokenizer("a", "a").get("token_type_ids")
    assert segments == ([0, 0, 0, 1, 1] if model_type == "bert" else None)


def test_sentinels_count_downwards_at_the_end() -> None:
    tokenizer = train(model_type="t5")
    assert len(tokenizer) <= 480
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert tokenizer.convert_tokens_to_ids("<extra_id_99>") == len(tokenizer) - 100
    assert tokenizer.extra_special_tokens == [f"<extra_id_{i}>" for i in range(100)]
    ids = tokenizer("the <extra_id_7> man", add_special_tokens=False)["input_ids"]
    assert len(tokenizer) - 8 in ids
    assert [i for i in ids if i != len(tokenizer) - 8] == tokenizer("the man", add_special_tokens=False)["input_ids"]


def test_t5s_own_class_reads_the_files(tmp_path: Path) -> None:
    tokenizer = train(model_type="t5")
    tokenizer.save_pretrained(tmp_path)
    text = "The running man <extra_id_3> 世界"
    assert T5Tokenizer.from_pretrained(tmp_path)(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_auto_tokenizer_reads_back_the_same(kind: str, model_type: str, tmp_path: Path) -> None:
    tokenizer = train(kind, model_type, special_tokens="[URL], [NAME]")
    tokenizer.save_pretrained(tmp_path)
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "a[URL]b the <mask> [MASK] <extra_id_3> [NAME]", "unseen Ω letters", ""]:
        one, other = tokenizer(text, TEXTS[0]), again(text, TEXTS[0])
        assert dict(one) == dict(other)
        assert tokenizer.decode(one["input_ids"]) == again.decode(other["input_ids"])
    assert again.all_special_tokens == tokenizer.all_special_tokens
    assert again.model_max_length == 64
    for role in ("pad", "unk", "bos", "eos", "cls", "sep", "mask"):
        assert getattr(again, f"{role}_token_id") == getattr(tokenizer, f"{role}_token_id")
    assert (token_bytes(again) == token_bytes(tokenizer)).all()
    assert (begins_word(again) == begins_word(tokenizer)).all()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_further_special_tokens_are_never_split(kind: str) -> None:
    tokenizer = train(kind, special_tokens="[URL], <n>")
    ids = tokenizer("a[URL]b <n>")["input_ids"]
    for token in ("[URL]", "<n>"):
        place = tokenizer.convert_tokens_to_ids(token)
        assert place in ids
        assert place in tokenizer.all_special_ids
        assert token_bytes(tokenizer)[place] == 0


def test_an_empty_special_token_is_refused() -> None:
    with pytest.raises(UsageError, match="special_tokens"):
        train(special_tokens="[URL],,")


def test_a_model_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(UsageError, match="vit"):
        train(model_type="vit")
    assert set(MODEL_TYPES) <= set(FAMILIES)


# Nothing is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["none", "nfc", "nfkc"])
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_letters_of_the_texts_are_known_and_come_back(kind: str, form: str) -> None:
    tokenizer = train(kind, "roberta", normalizer=form, lowercase=False)
    normalizer = tokenizer.backend_tokenizer.normalizer
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        back, meant = tokenizer.decode(ids), normalizer.normalize_str(text) if normalizer else text
        if kind == "wordpiece":  # spaces about signs and Chinese characters are not kept
            back, meant = ("".join(x.split()) for x in (back, meant))
        assert back == meant


BYTE_LEVEL = train("byte-bpe", "gpt2")
SPACES_MARKED = [train(kind, "t5") for kind in ("bpe", "unigram")]
LETTERS = sorted({letter for text in TEXTS for letter in text})


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_bytes_write_every_text_and_exactly(text: str) -> None:
    assume("<|" not in text)
    ids = BYTE_LEVEL(text)["input_ids"]
    assert BYTE_LEVEL.decode(ids) == text
    assert token_bytes(BYTE_LEVEL)[ids].sum() == len(text.encode())


@given(st.text(LETTERS))
@settings(max_examples=200, deadline=None)
def test_marked_spaces_bring_back_texts_of_known_letters(text: str) -> None:
    for tokenizer in SPACES_MARKED:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text.removeprefix(" ")
        # The first word has a space before it, whether the text does or not.
        assert token_bytes(tokenizer)[ids].sum() == len(text.removeprefix(" ").encode()) + bool(text)


def test_rare_letters_give_way_where_there_are_too_many() -> None:
    common = [chr(0x4E00 + i) for i in range(1100)]
    texts = ["".join(common)] * 20 + [chr(0x9000)]
    for kind in ("wordpiece", "bpe", "unigram"):
        known = train_tokenizer(texts, TokenizerRecipe(kind=kind, vocab_size=2000), "bert", 64).get_vocab()  # type: ignore[arg-type]
        assert set(common) <= set(known)
        assert chr(0x9000) not in known
        assert f"##{common[0]}" not in known  # no place for what never occurs
        assert len(known) <= 2000


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_words_begin_where_a_space_was(kind: str) -> None:
    tokenizer = train(kind, "roberta")
    begins = begins_word(tokenizer)
    ids = tokenizer(" xthe runnings manx mixed", add_special_tokens=False)["input_ids"]
    assert begins[ids].sum() == 4 < len(ids)
    # A text in a script without spaces is not one word.
    assert begins[tokenizer("彼歌", add_special_tokens=False)["input_ids"]].sum() >= 2


# The same every time ----------------------------------------------------------------------------------------------


def test_another_process_writes_the_same_files(tmp_path: Path) -> None:
    here = save_all(tmp_path / "here")
    assert len(here) == 2 * 2 * len(KIND_NAMES)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, every_tokenizer.__file__, str(tmp_path / "there")]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=root)
    for name, written in here.items():
        assert (tmp_path / "there" / name).read_bytes() == written, name


# In use -----------------------------------------------------------------------------------------------------------

USES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "bert": ("fill-mask", AutoModelForMaskedLM, SMALL),
    "distilbert": ("fill-mask", AutoModelForMaskedLM, {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}),
    "modernbert": ("fill-mask", AutoModelForMaskedLM, SMALL),
    "roberta": ("fill-mask", AutoModelForMaskedLM, SMALL),
    "gpt2": ("text-generation", AutoModelForCausalLM, {"n_embd": 32, "n_layer": 1, "n_head": 2}),
    "llama": ("text-generation", AutoModelForCausalLM, {**SMALL, "num_key_value_heads": 2}),
}


@pytest.mark.parametrize("model_type", USES)
def test_a_pipeline_takes_it(model_type: str, tmp_path: Path) -> None:
    task, auto_class, sizes = USES[model_type]
    source = Source(model_type, None, AutoConfig.for_model(model_type, **sizes), None)
    source = source.with_tokenizer(train(model_type=model_type))
    auto_class.from_config(source.config).save_pretrained(tmp_path)
    source.tokenizer.save_pretrained(tmp_path)
    use = pipeline(task, model=str(tmp_path), device="cpu")
    if task == "fill-mask":
        answers = use(f"the {use.tokenizer.mask_token} man")
        assert len(answers) == 5
        assert all(answer["sequence"].endswith("man") for answer in answers)
    else:
        (answer,) = use(TEXTS[0], max_new_tokens=3, do_sample=False)
        assert answer["generated_text"].startswith(TEXTS[0])


@pytest.mark.parametrize(("model_type", "start"), [("t5", "pad_token_id"), ("bart", "eos_token_id")])
def test_the_configuration_names_the_same_tokens(model_type: str, start: str) -> None:
    config = AutoConfig.for_model(model_type)
    tokenizer = train("wordpiece", model_type)
    Source(model_type, None, config, None).with_tokenizer(tokenizer)
    assert config.vocab_size == len(tokenizer)
    assert config.decoder_start_token_id == getattr(tokenizer, start)
    for role in ("pad_token_id", "eos_token_id"):
        assert getattr(config, role) == getattr(tokenizer, role)
