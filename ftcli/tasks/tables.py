"""How tables of texts are told apart: the signs that the tasks' `recognise` are made of."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.contract import Look, Table
from ftcli.data.choices import CHOICES, choices_of
from ftcli.data.columns import numbered
from ftcli.data.groups import QUERY
from ftcli.data.looks import FEW_NUMBERS, are_label_lists, are_tag_lists, are_word_lists
from ftcli.data.squad import ANSWERS, CONTEXT, QUESTION, answers_of
from ftcli.data.texts import TEXT
from ftcli.data.values import guess_separator, read_tags

PAIRS = (
    ("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("text1", "text2"), ("claim", "evidence"), ("s1", "s2"), ("first", "second"), ("text", "text_b"),
    ("text", "text_pair"), ("question", "sentence"), ("question", "passage"), ("query", "passage"),
    ("query", "document"), ("sentence", "sentence2"),
)  # fmt: skip
"""Names that two texts of a pair usually have."""
EITHER = ("label", "labels", "target", "class", "category", "intent", "y")
"""Names of columns whose many whole numbers may number classes as well as measure something."""
_WORDED: tuple[Look, ...] = ("text", "word", "class")


def worded(table: Table, name: str) -> list[str]:
    """The column of strings that goes by `name`, in a list; none where there is no such column."""
    return table.named((name,), _WORDED)


def named_pair(table: Table) -> tuple[str, str] | None:
    """The two columns of text that go by the names of a pair."""
    for first, second in PAIRS:
        found = [*table.named((first,), _WORDED), *table.named((second,), _WORDED)]
        if len(found) == 2:
            return found[0], found[1]
    return None


def two_texts(table: Table) -> tuple[str, str] | None:
    """The two columns of running text, where there are two."""
    found = table.looking("text")
    return (found[0], found[1]) if len(found) == 2 else None


def one_text(table: Table) -> tuple[str, bool] | None:
    """The column of text, and whether its name says so; None where there is none or a choice."""
    named = table.named(TEXT.names, _WORDED)
    if named:
        return named[0], True
    found = table.looking("text") or table.looking("word")
    return (found[0], False) if len(found) == 1 else None


def class_columns(table: Table, names: Sequence[str], but: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Columns of classes, those that go by `names` first or alone, and whether the first one surely is the label."""
    lists = label_lists(table, sure=True)
    named = [f for f in table.named(names, ("class", "flag")) if f not in but and f not in lists]
    named += [f for f in table.named(EITHER, ("number",)) if f not in but and whole_numbers(table, f)]
    if named:
        return named, not many_numbers(table, named[0])
    found = [field for field in table.looking("class", "flag") if field not in but and field not in lists]
    return found, False


def scores(table: Table, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns that hold numbers: those that go by `names`, and the others, whose numbers may be something else."""
    found = [*table.looking("number"), *(f for f in table.named(names, ("class",)) if many_numbers(table, f))]
    either = [f for f in table.named(EITHER, ("number", "class")) if f in found and whole_numbers(table, f)]
    named = [field for field in table.named(names) if field in found and field not in either]
    return named, [field for field in dict.fromkeys(found) if field not in named]


def whole_numbers(table: Table, field: str) -> int:
    """How many different whole numbers a column holds; 0 where it holds anything else."""
    values = table.values(field)
    if field not in table.looking("class", "flag", "number"):
        return 0
    try:
        numbers = {float(value) for value in values}
    except (TypeError, ValueError):
        return 0
    return len(numbers) if all(number.is_integer() for number in numbers) else 0


def many_numbers(table: Table, field: str) -> bool:
    """True for a column of more different whole numbers than classes usually have, and not just numbered classes."""
    if whole_numbers(table, field) <= FEW_NUMBERS:
        return False
    numbers = {int(float(value)) for value in table.values(field)}
    return numbers != set(range(min(numbers), min(numbers) + len(numbers)))


def label_lists(table: Table, *, sure: bool = False) -> list[str]:
    """Columns of lists of labels, or of cells with a separator between labels; `sure`: one that is no comma."""
    aligned = tagged(table) or ()
    return [
        field
        for field in table.looking("list", "class", "word", "text")
        if field not in aligned
        and are_label_lists(table.values(field))
        and not (sure and guess_separator(table.values(field)) == ",")
    ]


def tagged(table: Table) -> tuple[str, str] | None:
    """A column of words and one of as many tags, the most telling names first."""
    lists = table.looking("list")
    words = [field for field in lists if are_word_lists(table.values(field)) and not are_tag_lists(table.values(field))]
    words = words or [field for field in lists if are_word_lists(table.values(field))]
    for tokens in words:
        for tags in lists:
            if tags != tokens and _aligned(table.values(tokens), table.values(tags)):
                return tokens, tags
    return None


def _aligned(tokens: Sequence[object], tags: Sequence[object]) -> bool:
    """True where the lists of two columns are of the same lengths, row by row, and not all of one entry."""
    lengths = [[len(read_tags(value)) for value in column] for column in (tokens, tags)]
    return lengths[0] == lengths[1] and max(lengths[0], default=0) > 1


def told_apart(table: Table) -> bool:
    """True for a table whose columns belong together in a way of their own (answers in a context, choices of a
    question, candidates of a query), whatever else each would be taken for alone."""
    return answered(table) is not None or choosing(table) is not None or ranked(table) is not None


def answered(table: Table) -> tuple[str, str, str] | None:
    """Columns of questions, of contexts, and of answers that are marked in these (or whose words are all in them)."""
    questions, answers = table.named(QUESTION.names, _WORDED), table.named(ANSWERS.names)
    contexts = [field for field in table.named(CONTEXT.names, _WORDED) if field not in questions]
    if not (questions and contexts and answers):
        return None
    values, texts = table.values(answers[0]), table.values(contexts[0])
    if len(values) != len(texts):
        return None
    try:
        found = [answers_of(value, text) for value, text in zip(values, texts, strict=True)]
    except ValueError:
        return (questions[0], contexts[0], answers[0]) if answers[0] in table.looking("object", "lists") else None
    return (questions[0], contexts[0], answers[0]) if any(found) else None


def choosing(table: Table) -> tuple[str, ...] | None:
    """The column of choices of each row, or the columns of one choice each."""
    for field in table.named(CHOICES.names, ("list", "lists", "object")):
        try:
            if all(len(choices_of(value)[0]) > 1 for value in table.values(field)):
                return (field,)
        except ValueError:
            continue
    found = numbered(CHOICES, [field for field in table.fields if field in table.looking(*_WORDED)])
    return found if len(found) > 1 else None


def ranked(table: Table) -> tuple[str, ...] | None:
    """Columns of queries and of what is to be ranked for them, where their names say so."""
    queries = table.named(QUERY.names, _WORDED)
    candidates = table.named(("candidates", "candidate", "positive", "positives"), (*_WORDED, "list"))
    if not queries or not candidates:
        return None
    return (queries[0], candidates[0])
