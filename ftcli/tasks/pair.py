"""One label per pair of texts: whether one follows from the other, whether both say the same."""

from __future__ import annotations

from ftcli.contract import Claim, Strength, Table
from ftcli.data.texts import FIRST, SECOND
from ftcli.tasks.classification import LABEL
from ftcli.tasks.tables import class_columns, named_pair, told_apart, two_texts
from ftcli.tasks.text_classification import TextClassification


class PairClassification(TextClassification):
    """Classification of both texts read together, in one pass (a cross-encoder)."""

    name = "pair"
    columns = (FIRST, SECOND, LABEL)

    @classmethod
    def recognise(cls, table: Table) -> Claim | None:
        """Two columns of text, and one of classes."""
        texts = named_pair(table) or two_texts(table)
        if texts is None or told_apart(table):
            return None
        labels, certain = class_columns(table, LABEL.names, but=texts)
        if not labels:
            return None
        unsure = not certain and len(labels) > 1
        strength: Strength = 1 if unsure else 3 if named_pair(table) else 2
        return Claim(strength, f"'{texts[0]}' and '{texts[1]}' are texts and '{labels[0]}' holds classes")
