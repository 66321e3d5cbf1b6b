"""Each term against the formula of its paper, worked out element by element; teacher = student gives nothing."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from ftcli.losses import distill

LENGTHS = [3, 1, 4]
TOKENS = sum(LENGTHS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("divergence", ["forward", "reverse", "js"])
def test_soft_targets_are_temperature_squared_times_the_divergence(divergence: str) -> None:
    student, teacher, temperature = random(4, 5), 2 * random(4, 5, seed=1), 3.0
    expected = 0.0
    for own, other in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = (softmax([x / temperature for x in row]) for row in (own, other))
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        expected += {"forward": kl(p, q), "reverse": kl(q, p), "js": kl(p, middle) / 2 + kl(q, middle) / 2}[divergence]
    log_p = distill.mixed_log_probabilities([teacher], [1.0], temperature)
    found = distill.soft_targets(student, log_p, temperature, divergence)
    assert float(found) == pytest.approx(temperature**2 * expected, rel=1e-5)


def test_gradient_of_soft_targets_at_a_high_temperature_is_that_of_the_logits_difference() -> None:
    """Hinton et al., equation 4: with centred logits the gradient tends to (z - v) / N."""
    student, teacher = random(1, 6), random(1, 6, seed=1)
    student, teacher = (x - x.mean() for x in (student, teacher))
    student.requires_grad_()
    distill.soft_targets(student, distill.mixed_log_probabilities([teacher], [1.0], 1e3), 1e3).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 6, atol=1e-3, rtol=0)


def test_several_teachers_are_averaged_by_probability() -> None:
    logits = [random(3, 4, seed=seed) for seed in (1, 2)]
    found = distill.mixed_log_probabilities(logits, [0.75, 0.25], 2.0).exp()
    torch.testing.assert_close(found, 0.75 * (logits[0] / 2).softmax(-1) + 0.25 * (logits[1] / 2).softmax(-1))


def test_hidden_states_patient_and_cosine() -> None:
    one, other = random(TOKENS, 6), random(TOKENS, 6, seed=1)
    mse = patient = cosine = 0.0
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        long, wide = math.hypot(*a), math.hypot(*b)
        mse += sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / 6
        patient += sum((x / long - y / wide) ** 2 for x, y in zip(a, b, strict=True))
        cosine += 1 - sum(x * y for x, y in zip(a, b, strict=True)) / long / wide
    assert float(distill.hidden_mse(one, other)) == pytest.approx(mse, rel=1e-5)
    assert float(distill.patient(one, other)) == pytest.approx(patient, rel=1e-5)
    assert float(distill.cosine(one, other)) == pytest.approx(cosine, rel=1e-5)


def by_hand(query: Tensor, key: Tensor, heads: int) -> list[list[list[list[float]]]]:
    """Scores by sequence, head, query, key."""
    size, start, found = query.shape[1] // heads, 0, []
    for length in LENGTHS:
        rows = range(start, start + length)
        found.append(
            [
                [
                    [
                        float((query[i, h * size : (h + 1) * size] * key[j, h * size : (h + 1) * size]).sum())
                        / math.sqrt(size)
                        for j in rows
                    ]
                    for i in rows
                ]
                for h in range(heads)
            ]
        )
        start += length
    return found


def test_attention_and_relations_between_models_of_other_widths() -> None:
    heads = 2
    student = random(TOKENS, 4), random(TOKENS, 4, seed=1)
    teacher = random(TOKENS, 12, seed=2), random(TOKENS, 12, seed=3)
    squared = divergence = 0.0
    for one, other in zip(by_hand(*student, heads), by_hand(*teacher, heads), strict=True):
        for own_head, head in zip(one, other, strict=True):
            for own, theirs in zip(own_head, head, strict=True):
                squared += sum((x - y) ** 2 for x, y in zip(own, theirs, strict=True)) / heads
                divergence += kl(softmax(theirs), softmax(own)) / heads
    assert float(distill.attention_mse(student, teacher, LENGTHS, heads)) == pytest.approx(squared, rel=1e-4)
    assert float(distill.relation_kl(student, teacher, LENGTHS, heads)) == pytest.approx(divergence, rel=1e-4)


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def test_relations_between_rows() -> None:
    """Park et al., equations 4 to 8."""
    one, other = random(4, 3), 2 * random(4, 5, seed=1)

    def apart(x: Tensor, i: int, j: int) -> float:
        return float((x[i] - x[j]).norm())

    def angle(x: Tensor, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        return float(a @ b / a.norm() / b.norm())

    pairs = list(permutations(range(4), 2))
    means = [sum(apart(x, *pair) for pair in pairs) / len(pairs) for x in (one, other)]
    distance = sum(huber(apart(one, *pair) / means[0] - apart(other, *pair) / means[1]) for pair in pairs)
    angles = sum(huber(angle(one, *t) - angle(other, *t)) for t in permutations(range(4), 3))
    assert float(distill.relational_distance(one, other)) == pytest.approx(distance, rel=1e-4)
    assert float(distill.relational_angle(one, other)) == pytest.approx(angles, rel=1e-4)


def test_info_nce() -> None:
    one, other = random(4, 3), random(4, 3, seed=1)
    expected = 0.0
    for i in range(4):
        likeness = [float(one[i] @ other[j] / one[i].norm() / other[j].norm()) / 0.1 for j in range(4)]
        expected -= math.log(softmax(likeness)[i])
    assert float(distill.info_nce(one, other, 0.1)) == pytest.approx(expected, rel=1e-4)


def test_teacher_and_student_the_same_leaves_nothing_to_learn() -> None:
    logits, states, rows = random(4, 5), random(TOKENS, 12), random(4, 6)
    log_p = distill.mixed_log_probabilities([logits], [1.0], 2.0)
    found = {
        **{way: distill.soft_targets(logits, log_p, 2.0, way) for way in ("forward", "reverse", "js")},
        "hidden": distill.hidden_mse(states, states),
        "patient": distill.patient(states, states),
        "cosine": distill.cosine(states, states),
        "attention": distill.attention_mse((states, states), (states, states), LENGTHS, 3),
        "relations": distill.relation_kl((states, states), (states, states), LENGTHS, 3),
        "distance": distill.relational_distance(rows, rows),
        "angle": distill.relational_angle(rows, rows),
    }
    assert {name: round(float(value), 5) for name, value in found.items()} == dict.fromkeys(found, 0.0)


def test_gradients_are_finite_where_rows_coincide() -> None:
    rows = torch.ones(3, 4, requires_grad=True)
    other = random(3, 4)
    total = distill.relational_distance(rows, other) + distill.relational_angle(rows, other)
    (total + distill.info_nce(rows, other, 0.1) + distill.cosine(rows * 0, other)).backward()  # type: ignore[no-untyped-call]
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
