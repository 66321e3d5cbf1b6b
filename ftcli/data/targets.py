"""What a decoder beside an encoder reads and is to tell: batches of targets, for objectives and tasks alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ftcli.contract import Batch

_NONE = -1


def told_from_the_left(targets: Sequence[np.ndarray], *, start: int, pad: int, multiple: int) -> Batch:
    """For texts to be written, each told token by token from those before it (teacher forcing).

    ``decoder_input_ids`` (rows, tokens) are the targets behind the token `start`, padded; ``labels`` (targets,) the
    tokens to be told, row after row; ``places`` (targets,) where they lie in the rows laid end to end; ``per_row`` how
    many each row has. What comes after the end of a target is seen by none of its tokens: padding needs no mask.
    """
    sizes = [len(target) for target in targets]
    width = -(-max(sizes) // multiple) * multiple
    told = np.full((len(targets), width), _NONE, dtype=np.int64)
    for row, target in enumerate(targets):
        told[row, : sizes[row]] = target
    read = np.roll(told, 1, axis=1)
    read[read == _NONE] = pad
    read[:, 0] = start
    places = np.flatnonzero(told != _NONE)
    return {
        "decoder_input_ids": torch.from_numpy(read),
        "labels": torch.from_numpy(told.reshape(-1)[places]),
        "places": torch.from_numpy(places),
        "per_row": sizes,
    }
