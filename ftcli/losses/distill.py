"""What a student is to have in common with its teacher: pure functions that return SUMS, in fp32.

Logits are (rows, classes). States are those of all real tokens of a batch laid end to end, (tokens, width), beside the
`lengths` of its sequences. Embeddings are (rows, width). What each sum is divided by is said with it; teacher and
student being the same, every one of them is 0 but for `info_nce`, which tells rows apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-8
_NEVER = -1e4


def mixed_log_probabilities(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """(rows, classes) log of the teachers' probabilities at `temperature`, averaged by their weights (which sum to 1).

    You et al. 2017, "Learning from Multiple Teacher Networks" (KDD).
    """
    each = [functional.log_softmax(one.to(torch.float32) / temperature, -1) for one in logits]
    if len(each) == 1:
        return each[0]
    shares = torch.tensor(weights, dtype=torch.float32, device=each[0].device).log()
    return torch.logsumexp(torch.stack(each) + shares[:, None, None], 0)


def soft_targets(
    student: Tensor,
    teacher_log_p: Tensor,
    temperature: float,
    divergence: str = "forward",
    weights: Tensor | None = None,
) -> Tensor:
    """Temperature squared times the divergence of the two distributions at that temperature, summed over rows.

    forward is KL(teacher||student) (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network",
    arXiv:1503.02531: the square keeps gradients of one size whatever the temperature), reverse KL(student||teacher) (Gu
    et al. 2024, "MiniLLM", arXiv:2306.08543), js the Jensen-Shannon divergence (Agarwal et al. 2024, "GKD",
    arXiv:2306.13649, with beta 1/2). `weights` (rows,) by default 1 each. Divided by rows (or tokens).
    """
    log_q = functional.log_softmax(student.to(torch.float32) / temperature, -1)
    log_p = teacher_log_p.to(torch.float32)
    if divergence == "forward":
        found = kl(log_p, log_q)
    elif divergence == "reverse":
        found = kl(log_q, log_p)
    else:
        middle = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0))
        found = 0.5 * (kl(log_p, middle) + kl(log_q, middle))
    return temperature**2 * (found if weights is None else found * weights).sum()


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p||q) over the last dimension."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def as_choices(logits: Tensor) -> Tensor:
    """(rows, labels) logits of a sigmoid each as (rows * labels, 2), those of a softmax over yes and no."""
    return torch.stack([logits, torch.zeros_like(logits)], -1).flatten(0, 1)


def without_gaps(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of both whose -inf, for choices that a row does not have, are numbers that leave it no probability; rows
    in which one of the two has no choice at all are alike."""
    none = torch.isneginf(student).all(-1, keepdim=True) | torch.isneginf(teacher).all(-1, keepdim=True)
    one, other = (x.to(torch.float32).masked_fill(torch.isneginf(x), _NEVER) for x in (student, teacher))
    return one.masked_fill(none, 0.0), other.masked_fill(none, 0.0)


def mixed_flags(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """(rows, labels) logit of the teachers' probabilities of each label, averaged by their weights."""
    if len(logits) == 1:
        return logits[0].to(torch.float32)
    shares = torch.tensor(weights, dtype=torch.float32, device=logits[0].device).log()[:, None, None]
    each = torch.stack([one.to(torch.float32) for one in logits])
    yes, no = functional.logsigmoid(each) + shares, functional.logsigmoid(-each) + shares
    return torch.logsumexp(yes, 0) - torch.logsumexp(no, 0)


def mixed_numbers(numbers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """(rows, 1) the teachers' numbers, averaged by their weights."""
    return sum(
        (w * one.to(torch.float32) for w, one in zip(weights, numbers, strict=True)), torch.zeros_like(numbers[0])
    )


def squared(student: Tensor, teacher: Tensor, unit: float) -> Tensor:
    """Sum over rows of the squared difference of two numbers in multiples of `unit`. Divided by rows."""
    return ((student.to(torch.float32) - teacher.to(torch.float32)) / unit).square().sum()


def hidden_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of states, averaged over their width and summed over tokens. Divided by tokens.

    Jiao et al. 2020, "TinyBERT" (arXiv:1909.10351), equations 8 and 9; the student's states come projected.
    """
    return (student.to(torch.float32) - teacher.to(torch.float32)).square().mean(-1).sum()


def patient(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of states brought to length 1, summed over states. Divided by their number.

    Sun et al. 2019, "Patient Knowledge Distillation" (arXiv:1908.09355), equation 7, on first tokens.
    """
    one, other = (functional.normalize(x.to(torch.float32), dim=-1, eps=_TINY) for x in (student, teacher))
    return (one - other).square().sum()


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle between states, summed. Divided by their number.

    Sanh et al. 2019, "DistilBERT" (arXiv:1910.01108).
    """
    return (1 - functional.cosine_similarity(student.to(torch.float32), teacher.to(torch.float32), -1, _TINY)).sum()


def scores(query: Tensor, key: Tensor, lengths: Sequence[int], heads: int) -> Iterator[Tensor]:
    """For each sequence (heads, length, length): query key^T / sqrt(size of a head), before the softmax.

    `heads` need not be the model's own: several models are compared by the same number of relation heads, whatever
    their widths (Wang et al. 2021, "MiniLMv2", arXiv:2012.15828).
    """
    size = query.shape[-1] // heads
    q, k = (x.to(torch.float32).view(len(x), heads, size).transpose(0, 1) for x in (query, key))
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        yield q[:, part] @ k[:, part].transpose(1, 2) * size**-0.5
        start += length


def attention_mse(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], lengths: Sequence[int], heads: int
) -> Tensor:
    """Squared difference of attention scores (queries, keys of each), averaged over heads, summed over pairs of tokens.

    TinyBERT, equation 7: scores before the softmax. Divided by the pairs, the sum of squared lengths.
    """
    total = torch.zeros((), device=student[0].device)
    for one, other in zip(scores(*student, lengths, heads), scores(*teacher, lengths, heads), strict=True):
        total = total + (one - other).square().mean(0).sum()
    return total


def relation_kl(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], lengths: Sequence[int], heads: int
) -> Tensor:
    """KL(teacher||student) of softmax(a b^T / sqrt(size)), averaged over heads and summed over tokens.

    With values for both a and b the value relation, with queries and keys the attention of Wang et al. 2020, "MiniLM"
    (arXiv:2002.10957), equations 6 and 7; queries with queries and so on, MiniLMv2's. Divided by tokens.
    """
    total = torch.zeros((), device=student[0].device)
    for one, other in zip(scores(*student, lengths, heads), scores(*teacher, lengths, heads), strict=True):
        log_q, log_p = functional.log_softmax(one, -1), functional.log_softmax(other, -1)
        total = total + kl(log_p, log_q).mean(0).sum()
    return total


def distances(x: Tensor) -> Tensor:
    """(rows, rows) Euclidean distances over their mean, that of a row to itself left out of it."""
    x = x.to(torch.float32)
    apart = (x[:, None] - x).square().sum(-1)  # not by products, which leave nothing of rows that lie close together
    own = torch.eye(len(x), dtype=torch.bool, device=x.device)
    apart = torch.where(own, apart.new_zeros(()), (apart + _TINY).sqrt())
    mean = apart.sum() / max(1, len(x) * (len(x) - 1))
    return apart / mean.clamp(min=_TINY)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the distances between rows, each over the mean of its own model's, summed over ordered pairs.

    RKD-D of Park et al. 2019, "Relational Knowledge Distillation" (arXiv:1904.05068). Divided by rows * (rows - 1).
    """
    return functional.smooth_l1_loss(distances(student), distances(teacher), reduction="sum")


def angles(x: Tensor) -> Tensor:
    """(rows, rows, rows) cosine of the angle at row j between the ways to i and to k, as [j, i, k]."""
    x = x.to(torch.float32)
    ways = functional.normalize(x[None] - x[:, None], dim=-1, eps=_TINY)
    return ways @ ways.transpose(1, 2)


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the angles between rows, summed over ordered triples of different ones.

    RKD-A of the same paper. Divided by rows * (rows - 1) * (rows - 2).
    """
    apart = functional.smooth_l1_loss(angles(student), angles(teacher), reduction="none")
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    same = own[:, :, None] | own[:, None, :] | own[None, :, :]
    return apart.masked_fill(same, 0.0).sum()


def info_nce(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """-log of the probability that a row's own teacher embedding is told from those of the batch, summed over rows.

    Contrastive representation distillation (Tian et al. 2020, arXiv:1910.10699) with the rows of the batch as the
    negatives and the loss of van den Oord et al. 2018 (arXiv:1807.03748). Divided by rows.
    """
    one, other = (functional.normalize(x.to(torch.float32), dim=-1, eps=_TINY) for x in (student, teacher))
    own = torch.arange(len(one), device=one.device)
    return functional.cross_entropy(one @ other.T / temperature, own, reduction="sum")
