"""Rows of choices in which every pair of choices meets at least once, made one row at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product

Choice = tuple[str, object]
"""A factor and its value."""
Pair = frozenset[Choice]


class Pairwise:
    """The pairs still to be met. One factor may be chosen from several times in a row, each of the others once."""

    def __init__(self, many: str, factors: Mapping[str, Sequence[object]], *, most: int) -> None:
        self.many, self.most = many, most
        self.factors = {name: [(name, value) for value in values] for name, values in factors.items()}
        several = self.factors[many]
        self.left: set[Pair] = {frozenset(pair) for pair in combinations(several, 2)}
        for one, other in combinations(self.factors.values(), 2):
            self.left |= {frozenset(pair) for pair in product(one, other)}
        self.excluded: set[Pair] = set()

    def exclude(self, pair: Pair) -> None:
        """These two never meet, nor do two that have no value of a third factor in common."""
        self.excluded.add(pair)
        self.left -= {other for other in self.left if other == pair or not self._fills(other)}

    def meet(self, row: Iterable[Choice]) -> None:
        """All pairs of `row` have met."""
        self.left -= {frozenset(pair) for pair in combinations(row, 2)}

    def row(self) -> list[Choice]:
        """The next row: a pair still to be met, filled up by whatever meets most of the others."""
        found: list[Choice] = sorted(min(self.left, key=lambda pair: sorted(map(str, pair))), key=str)
        for name in (*(name for name in self.factors if name != self.many), self.many):
            values, times = self.factors[name], self.most if name == self.many else 1
            while sum(choice[0] == name for choice in found) < times:
                fits = [choice for choice in values if choice not in found and self._fits(choice, found)]
                best = max(fits, key=lambda choice: self._gain(choice, found), default=None)
                if best is None or (times > 1 and not self._gain(best, found)):
                    break
                found.append(best)
        return found

    def _fills(self, pair: Pair) -> bool:
        taken = {name for name, _ in pair} | {self.many}
        others = (values for name, values in self.factors.items() if name not in taken)
        return all(any(self._fits(choice, [*pair]) for choice in values) for values in others)

    def _fits(self, choice: Choice, row: Sequence[Choice]) -> bool:
        return not any(frozenset((choice, other)) in self.excluded for other in row)

    def _gain(self, choice: Choice, row: Sequence[Choice]) -> int:
        return sum(frozenset((choice, other)) in self.left for other in row)
