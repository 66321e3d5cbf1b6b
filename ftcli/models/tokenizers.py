"""A tokenizer learnt from the training texts, for models that bring none; a standard file set comes out.

The same texts give the same files, byte for byte.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ftcli.errors import UsageError
from ftcli.models.families import BERT, Family, family
from ftcli.models.unigram import learn_pieces
from ftcli.models.vocabulary import SPACE, begins_word, token_bytes
from ftcli.recipe.schema import TokenizerRecipe

__all__ = ["begins_word", "token_bytes", "train_tokenizer", "train_wordpiece"]

MIN_FREQUENCY = 2
"""Times that a piece of more than one letter has to be seen."""
FEW_LETTERS = 1000
"""Letters that all have a place in the vocabulary, however rare they are."""
RARE = 1e-4
"""Share of the text whose letters, the rarest, have none, where letters would take more than a quarter of it."""
STRETCHES = r"▁?(?:[\p{L}\p{M}]+|\p{N}+|[^\p{L}\p{M}\p{N}▁]+)|▁"
"""Letters, digits and signs apart, each with the space before it."""
CHUNK = 1 << 20


def train_tokenizer(
    texts: Iterable[str], recipe: TokenizerRecipe, model_type: str, max_length: int
) -> PreTrainedTokenizerBase:
    """A tokenizer with the special tokens that models of `model_type` expect, in the places they expect them.

    It has at most `recipe.vocab_size` entries, or as many as special tokens and single letters (bytes, in the
    byte-level kind) take by themselves. Letters of the texts are never unknown, but for the rarest where there are too
    many of them, see `RARE`.

    Args:
        texts: Gone through twice.
        recipe: The kind of vocabulary, its size and what is done to texts first.
        model_type: As in a model's configuration.
        max_length: Tokens per text that the model takes.

    Raises:
        UsageError: Nothing is known of `model_type`, or `recipe.special_tokens` has an empty name.
    """
    made_for = family(model_type)
    kind = made_for.kind if recipe.kind == "auto" else recipe.kind
    lowercase = kind == "wordpiece" if recipe.lowercase is None else recipe.lowercase
    roles = made_for.tokens(unknown=kind != "byte-bpe")
    # Where the space before a word is part of it, the one before a mask or a sentinel is part of what these hide.
    eats_space = {roles.get("mask_token"), *made_for.sentinels} if kind != "wordpiece" else set()

    def special_token(token: str) -> AddedToken:
        return AddedToken(token, special=True, normalized=False, lstrip=token in eats_space)

    special = [*map(special_token, dict.fromkeys([*roles.values(), *_names(recipe.special_tokens)]))]
    size = max(0, recipe.vocab_size - len(made_for.sentinels))
    core = KINDS[kind](_Order(texts, recipe.normalizer, lowercase, special, roles.get("unk_token"), size))
    core.add_special_tokens([*map(special_token, reversed(made_for.sentinels))])
    core.post_processor = _around(made_for, core, trim=kind == "byte-bpe")
    others = [token.content for token in special if token.content not in (*roles.values(), *made_for.sentinels)]
    others += made_for.sentinels
    options: dict[str, Any] = {"model_max_length": max_length}
    if others:
        options["extra_special_tokens"] = others
    if made_for.roles == BERT.roles and kind == "wordpiece" and recipe.normalizer == "none":
        if made_for.inputs != BERT.inputs:
            options["model_input_names"] = list(made_for.inputs)
        return BertTokenizerFast(vocab=core.get_vocab(), do_lower_case=lowercase, **options)
    options["model_input_names"] = list(made_for.inputs)
    by_name = {token.content: token for token in special}
    return PreTrainedTokenizerFast(tokenizer_object=core, **{k: by_name[v] for k, v in roles.items()}, **options)


def train_wordpiece(texts: Iterable[str], recipe: TokenizerRecipe, max_length: int) -> PreTrainedTokenizerBase:
    """A BERT tokenizer, see `train_tokenizer`."""
    return train_tokenizer(texts, replace(recipe, kind="wordpiece"), "bert", max_length)


def _names(listed: str | None) -> list[str]:
    names = [] if listed is None else [name.strip() for name in listed.split(",")]
    if not all(names):
        raise UsageError(f"model.tokenizer.special_tokens is '{listed}'; expected tokens separated by commas")
    return names


def _around(made_for: Family, core: Tokenizer, *, trim: bool) -> Any:
    """Puts special tokens around a text or two; with `trim` the places of tokens leave out the space before a word."""
    ids = [(token, core.token_to_id(token)) for token in dict.fromkeys(made_for.roles.values())]
    template = processors.TemplateProcessing(single=made_for.single, pair=made_for.pair, special_tokens=ids)
    return processors.Sequence([processors.ByteLevel(trim_offsets=True), template]) if trim else template


# Kinds of vocabularies --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Order:
    """What a vocabulary is to be made of."""

    texts: Iterable[str]
    form: str
    """Unicode form, as in `model.tokenizer.normalizer`."""
    lowercase: bool
    special: list[AddedToken]
    unknown: str | None
    size: int


def _wordpiece(order: _Order) -> Tokenizer:
    """Pieces by how much likelier they make the texts than their parts do; ## marks those within a word.

    Schuster and Nakajima 2012, "Japanese and Korean voice search" (ICASSP), as in BERT.
    """
    core = Tokenizer(models.WordPiece(unk_token=order.unknown))
    core.normalizer = _normalizer(order.form, normalizers.BertNormalizer(lowercase=order.lowercase))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    letters, crowded = _known(_letters(order, core.normalizer), order.size)
    # Left to itself the trainer numbers letters within words as its hash table happens to hold them, and breaks ties
    # of merges by those numbers: another vocabulary every time.
    inner = [letter for letter in letters if len(core.pre_tokenizer.pre_tokenize_str(f"a{letter}")) == 1]
    if crowded:  # Chinese characters, around which the normaliser puts spaces, are never within a word
        inner = [letter for letter in inner if " " not in core.normalizer.normalize_str(letter)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=order.size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[*order.special, *letters, *(f"##{letter}" for letter in inner)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    core.train_from_iterator(iter(order.texts), trainer)
    # The trainer took the letters for special tokens, which they are not to stay.
    made = Tokenizer(models.WordPiece(core.get_vocab(), unk_token=order.unknown))
    made.normalizer, made.pre_tokenizer, made.decoder = core.normalizer, core.pre_tokenizer, core.decoder
    made.add_special_tokens(order.special)
    return made


def _bpe(order: _Order) -> Tokenizer:
    """Letters, and pairs of pieces joined by how often they stand together; ▁ marks a space.

    Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units" (arXiv:1508.07909), over text
    with its spaces as in Kudo and Richardson 2018, "SentencePiece" (arXiv:1808.06226).
    """
    core = _spaces_marked(models.BPE(unk_token=order.unknown, fuse_unk=True), order)
    counts = _letters(order, core.normalizer)
    counts[SPACE] = counts.pop(" ", 0) + counts[SPACE] + 1  # the first word has one, whether the text does or not
    letters, _ = _known(counts, order.size, spaces=True)
    trainer = trainers.BpeTrainer(
        vocab_size=order.size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=order.special,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    core.train_from_iterator(iter(order.texts), trainer)
    return core


def _byte_bpe(order: _Order) -> Tokenizer:
    """Bytes, and pairs of pieces joined by how often they stand together: writes every text, and exactly.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    """
    core = Tokenizer(models.BPE())
    core.normalizer = _normalizer(order.form, _lowercase(order))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=order.size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=order.special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(iter(order.texts), trainer)
    return core


def _unigram(order: _Order) -> Tokenizer:
    """Pieces with probabilities, of which a text takes the likeliest (Kudo 2018, arXiv:1804.10959); ▁ marks a space."""
    special = [token.content for token in order.special]
    core = _spaces_marked(models.Unigram(), order)
    normalise = core.normalizer.normalize_str if core.normalizer else str
    words: Counter[str] = Counter()
    for text in order.texts:
        words.update(normalise(text).split(" "))
    stretches: Counter[str] = Counter()
    letters: Counter[str] = Counter({SPACE: 1})
    for word, count in words.items():
        for stretch, _ in core.pre_tokenizer.pre_tokenize_str(word):
            stretches[stretch] += count
            for letter in stretch:
                letters[letter] += count
    known, _ = _known(letters, order.size, spaces=True)
    if len(known) < len(letters):
        kept = set(known)
        cut: Counter[str] = Counter()
        for stretch, count in stretches.items():
            for part in "".join(letter if letter in kept else " " for letter in stretch).split():
                cut[part] += count
        stretches = cut
    pieces = learn_pieces(stretches, known, order.size - len(special))
    vocabulary = [*((token, 0.0) for token in special), *(piece for piece in pieces if piece[0] not in special)]
    core.model = models.Unigram(vocabulary, unk_id=special.index(str(order.unknown)))
    core.add_special_tokens(order.special)
    return core


KINDS: Mapping[str, Callable[[_Order], Tokenizer]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "byte-bpe": _byte_bpe,
    "unigram": _unigram,
}


def _normalizer(form: str, last: Any) -> Any:
    """What is done to a text before anything else: its Unicode form, and `last`; None for nothing."""
    forms = {"none": None, "nfc": normalizers.NFC(), "nfkc": normalizers.NFKC()}
    steps = [step for step in (forms[form], last) if step is not None]
    return normalizers.Sequence(steps) if len(steps) > 1 else next(iter(steps), None)


def _lowercase(order: _Order) -> Any:
    return normalizers.Lowercase() if order.lowercase else None


def _spaces_marked(model: Any, order: _Order) -> Tokenizer:
    """A tokenizer whose pieces hold the space before a word, and letters, digits or signs only."""
    core = Tokenizer(model)
    core.normalizer = _normalizer(order.form, _lowercase(order))
    metaspace = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    core.pre_tokenizer = pre_tokenizers.Sequence([metaspace, pre_tokenizers.Split(Regex(STRETCHES), "isolated")])
    core.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return core


# Letters ----------------------------------------------------------------------------------------------------------


def _letters(order: _Order, normalizer: Any) -> Counter[str]:
    """The letters of the texts as the normaliser leaves them, and how often each occurs."""
    normalise = normalizer.normalize_str if normalizer else str
    # Letter by letter is far faster, and the same unless letters are joined.
    texts = order.texts if order.form == "none" else map(normalise, order.texts)
    seen = np.zeros(sys.maxunicode + 1, dtype=np.int64)
    for chunk in _chunks(texts):
        seen += np.bincount(np.frombuffer(chunk.encode("utf-32-le"), dtype=np.uint32), minlength=len(seen))
    counts: Counter[str] = Counter()
    for code in np.flatnonzero(seen).tolist():
        for letter in normalise(chr(code)):
            counts[letter] += int(seen[code])
    return counts


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    """The texts joined, some at a time."""
    held: list[str] = []
    letters = 0
    for text in texts:
        held.append(text)
        letters += len(text)
        if letters >= CHUNK:
            yield "".join(held)
            held, letters = [], 0
    yield "".join(held)


def _known(counts: Mapping[str, int], size: int, *, spaces: bool = False) -> tuple[list[str], bool]:
    """The letters to have a place in a vocabulary of `size`, sorted, and whether there are many for it."""
    letters = sorted(letter for letter in counts if spaces or not letter.isspace())
    crowded = len(letters) > max(FEW_LETTERS, size // 4)
    if crowded:
        by_count = sorted(letters, key=lambda letter: counts[letter])
        total = np.cumsum([counts[letter] for letter in by_count])
        letters = sorted(by_count[int(np.searchsorted(total, RARE * total[-1], side="right")) :])
    return letters, crowded
