"""What pretraining hides from a model: pure functions of token ids and a generator, which decides all there is to draw.

Ids are 1-D arrays of whole numbers and come back in their own type; what is passed in is left alone.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
"""(tokens,) whole numbers."""
Mask = NDArray[np.bool_]
"""(tokens,)"""
Style = Literal["token", "whole-word", "span"]

LONGEST_SPAN = 10
"""Words, with a geometric distribution of p = 0.2 below it: 3.8 on average (Joshi et al. 2020)."""
_SPAN_SHARES = 0.2 * 0.8 ** np.arange(LONGEST_SPAN)
_SPAN_UP_TO = np.cumsum(_SPAN_SHARES / _SPAN_SHARES.sum())


# Masked language modelling ------------------------------------------------------------------------------------


def mask_tokens(
    ids: Ids,
    special: Mask,
    begins_word: Mask,
    random: np.random.Generator,
    *,
    rate: float,
    style: Style,
    mask_id: int,
    candidates: Ids,
) -> tuple[Ids, Ids, Ids]:
    """BERT's corruption: of the tokens chosen 80 % become `mask_id`, 10 % one of `candidates`, 10 % stay as they are.

    Devlin et al. 2019, "BERT" (NAACL). `special` tokens are never chosen; `begins_word` is True at the first piece of
    each word; `candidates` are the ids that may stand in for others, the ordinary ones. The number to choose is
    `rate` of the tokens that are not special, at least one:

    - "token": exactly so many, each token for itself.
    - "whole-word": words in random order, all pieces of each, as many as fit (and one even where it does not).
    - "span": the same with runs of words of random length, and one fate for all of a run (Joshi et al. 2020,
      "SpanBERT", TACL).

    Returns the corrupted ids, the places chosen (ascending) and the original ids there.
    """
    open_places = np.flatnonzero(~special)
    budget = max(1, round(rate * len(open_places)))
    if len(open_places) == 0:
        places = fates = open_places
    elif style == "token":
        places = np.sort(random.choice(open_places, min(budget, len(open_places)), replace=False))
        fates = np.arange(len(places))
    else:
        places, fates = _whole_words(special, begins_word, random, budget, spans=style == "span")
    corrupted = ids.copy()
    if len(places):
        draw = random.random(int(fates.max()) + 1)[fates]
        corrupted[places[draw < 0.8]] = mask_id
        swapped = places[draw >= 0.9]
        corrupted[swapped] = random.choice(candidates, len(swapped))
    return corrupted, places, ids[places]


def _whole_words(
    special: Mask, begins_word: Mask, random: np.random.Generator, budget: int, *, spans: bool
) -> tuple[Ids, Ids]:
    """Places of words chosen, up to `budget` tokens, and the number of the fate each token shares."""
    after_special = np.r_[True, special[:-1]]
    starts = np.flatnonzero(~special & (begins_word | after_special))
    # A word goes on to the next one's start or to the next special token.
    ends = np.searchsorted(np.flatnonzero(special), starts)
    ends = np.minimum(np.r_[starts[1:], len(special)], np.r_[np.flatnonzero(special), len(special)][ends])
    sizes = (ends - starts).tolist()
    follows = np.r_[False, ends[:-1] == starts[1:]].tolist()
    lengths = np.searchsorted(_SPAN_UP_TO, random.random(len(starts))) + 1 if spans else np.ones(len(starts), int)
    taken: dict[int, int] = {}
    left = budget
    for run, first in enumerate(random.permutation(len(starts)).tolist()):
        if left <= 0:
            break
        for word in range(first, min(first + int(lengths[first]), len(starts))):
            if word > first and not follows[word]:
                break
            if word in taken:
                if word == first:
                    break  # a run begins at a word that is still free
                continue
            if sizes[word] > left and taken:
                break
            taken[word] = run
            left -= sizes[word]
    words = np.array(sorted(taken))
    places = np.concatenate([np.arange(starts[word], ends[word]) for word in words])
    if not spans:
        return places, np.arange(len(places))
    return places, np.repeat([taken[word] for word in words.tolist()], [sizes[word] for word in words.tolist()])


# Denoising ----------------------------------------------------------------------------------------------------


def corrupted_lengths(tokens: int, *, rate: float, mean_span: float, sentinels: int) -> tuple[int, int]:
    """Tokens of the (inputs, targets) that `span_corruption` makes of so many tokens; every draw has them."""
    noise, spans = _noise(tokens, rate, mean_span, sentinels)
    return tokens - noise + spans + 1, noise + spans + 2


def span_corruption(
    ids: Ids, random: np.random.Generator, *, rate: float, mean_span: float, sentinels: Ids, eos: int
) -> tuple[Ids, Ids]:
    """T5's objective: spans of `ids` give way to sentinels, and the targets say what stood there.

    Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (JMLR), section 3.1.4: exactly `rate` of the
    tokens, in spans of `mean_span` tokens on average (both rounded; at least one span of one token), each for the next
    of `sentinels`; the targets name each sentinel before what it hides and end with one that hides nothing. `ids` has
    no special tokens; `eos` ends both. Where the paper's code has every text begin with a kept token and end with a
    hidden one, any place may be either here, so that beginnings are learnt too.
    """
    noise, spans = _noise(len(ids), rate, mean_span, len(sentinels))
    hidden = _parts(noise, spans, random)
    kept = len(ids) - noise
    # Between two spans stands at least one token; before the first and after the last there may be none.
    around = _parts(kept + 2, spans + 1, random) - np.eye(1, spans + 1, 0, int)[0] - np.eye(1, spans + 1, spans, int)[0]
    inputs: list[Any] = []
    targets: list[Any] = []
    place = 0
    for span in range(spans):
        start = place + around[span]
        inputs += [ids[place:start], sentinels[span : span + 1]]
        place = start + hidden[span]
        targets += [sentinels[span : span + 1], ids[start:place]]
    end = np.array([eos])
    inputs += [ids[place:], end]
    targets += [sentinels[spans : spans + 1], end]
    return np.concatenate(inputs).astype(ids.dtype), np.concatenate(targets).astype(ids.dtype)


def restore(inputs: Ids, targets: Ids, sentinels: Ids, eos: int) -> Ids:
    """The ids that `span_corruption` made `inputs` and `targets` from.

    Of targets that a model wrote, what follows a sentinel's first mention fills its place; a sentinel that is missing
    hides nothing, and what comes after the first `eos` or before the first sentinel counts for nothing.
    """
    known = set(sentinels.tolist())
    filled: dict[int, list[int]] = {}
    current: list[int] = []
    for token in targets.tolist():
        if token == eos:
            break
        if token in known:
            current = []
            filled.setdefault(token, current)
        else:
            current.append(token)
    restored: list[int] = []
    for token in inputs.tolist():
        if token == eos:
            break
        restored += filled.get(token, []) if token in known else [token]
    return np.array(restored, dtype=inputs.dtype)


def infill(ids: Ids, random: np.random.Generator, *, rate: float, mean_span: float, mask_id: int) -> Ids:
    """BART's text infilling: spans of `ids` give way to one `mask_id` each; the answer is the whole of `ids`.

    Lewis et al. 2020, "BART" (ACL), section 2.2: span lengths are Poisson with mean `mean_span`, one of length zero
    puts a mask between two tokens, and spans are drawn until exactly `rate` of the tokens (rounded) are hidden, the
    last one cut to fit. `ids` has no special tokens.
    """
    left = round(rate * len(ids))
    lengths: list[int] = []
    while left > 0:
        lengths.append(min(int(random.poisson(mean_span)), left))
        left -= lengths[-1]
    kept = len(ids) - sum(lengths)
    # The spans lie in gaps between kept tokens, no two in one gap while there are enough.
    gaps = np.sort(random.choice(kept + 1, len(lengths), replace=len(lengths) > kept + 1))
    inputs: list[Any] = []
    place = hidden = 0
    for gap, length in zip(gaps.tolist(), lengths, strict=True):
        inputs += [ids[place : gap + hidden], [mask_id]]
        hidden += length
        place = gap + hidden
    return np.concatenate([*inputs, ids[place:]]).astype(ids.dtype)


def _noise(tokens: int, rate: float, mean_span: float, sentinels: int) -> tuple[int, int]:
    """How many of the tokens are hidden, and in how many spans; the last sentinel is for the end of the targets."""
    noise = min(max(round(tokens * rate), 1), max(tokens - 1, 1), tokens)
    spans = min(max(round(noise / mean_span), 1), noise, tokens - noise + 1, sentinels - 1)
    return noise, spans


def _parts(total: int, parts: int, random: np.random.Generator) -> Ids:
    """`parts` whole numbers of at least 1 that add up to `total`, all such ways as likely; (parts,) int64."""
    if parts == 0:
        return np.zeros(0, dtype=np.int64)
    cuts = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.r_[0, cuts, total])
