"""Which column plays which role: as told, else by name, else by what the values look like."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ftcli.contract import Column, Kind
from ftcli.data.looks import LONG_TEXT, are_texts, fits, look_of, numbers_rows
from ftcli.data.media import SUFFIXES, are_files
from ftcli.data.paths import column_of, find_path, instead, paths_near, texts_by_key, there
from ftcli.data.reader import Options, Raw, Reader
from ftcli.data.values import sources
from ftcli.errors import DataError, UsageError, did_you_mean
from ftcli.recipe.schema import DataRecipe

_NUMBER = re.compile(r"[ _-]?(\d+|[a-z])")


def told(recipe: DataRecipe, columns: Sequence[Column]) -> dict[str, str]:
    """Role -> column, as far as the recipe says."""
    roles = {column.role for column in columns}
    found: dict[str, str] = {}
    for given_as, name in roles_named(recipe).items():
        role = role_called(given_as, columns)
        if role is None:
            raise UsageError(
                f"data.columns: unknown role '{given_as}'", hint=f"roles of this task: {', '.join(sorted(roles))}"
            )
        if role in found:
            raise UsageError(f"two columns for {role}: '{found[role]}' and '{name}' (--columns)")
        found[role] = name
    for kind, given in (("text", recipe.text_column), ("label", recipe.label_column)):
        first = next((column.role for column in columns if meant_by(kind, column)), None)
        if given is None or first is None:
            continue
        if found.get(first, given) != given:
            raise UsageError(f"two columns for {first}: '{given}' (--{kind}-column) and '{found[first]}' (--columns)")
        found[first] = given
    for role, name in found.items():
        others = [other for other, its in found.items() if its == name and other != role]
        if others:
            raise UsageError(f"column '{name}' cannot be both {role} and {others[0]}", hint="name another one")
    return found


def role_called(name: str, columns: Sequence[Column]) -> str | None:
    """The role of that name; ``text`` and ``label`` are, where a task has none such, what ``--text-column`` and
    ``--label-column`` mean."""
    if any(column.role == name for column in columns):
        return name
    meant = (column.role for column in columns if name in ("text", "label") and meant_by(name, column))
    return next(meant, None)


def roles_named(recipe: DataRecipe) -> dict[str, str]:
    """Role -> column as ``data.columns`` has them, whatever roles there are."""
    found: dict[str, str] = {}
    for part in (recipe.columns or "").split(","):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals or not role or not name:
            raise UsageError(
                f"data.columns: '{part.strip()}' is not role=name", hint="--columns text=review,label=stars"
            )
        found[role] = name
    return found


def meant_by(flag: str, column: Column) -> bool:
    """True for a column that ``--text-column`` or ``--label-column`` may name; the task's first one is."""
    return column.answer if flag == "label" else not column.answer and column.kind in ("text", "tokens")


def read_options(recipe: DataRecipe, columns: Sequence[Column], *, strict: bool = True) -> Options:
    """How to read text files; columns given as positions mean that there is no header."""
    named = told(recipe, columns) if recipe.columns else {}
    positions = [int(name) for name in named.values() if name.isdecimal()]
    width = max(positions) + 1 if positions and len(positions) == len(named) else 0
    return Options(recipe.encoding, recipe.delimiter, width, strict)


def find(
    recipe: DataRecipe, columns: Sequence[Column], reader: Reader, sample: Sequence[Raw]
) -> tuple[dict[str, str], list[str]]:
    """Role -> column for one file, and notes on choices that were not obvious."""
    given = told(recipe, columns)
    found = dict(given)
    kinds = {column.role: column.kind for column in columns}
    records = [raw.values for raw in sample if raw.values is not None]
    for role, name in found.items():
        for part in sources(kinds[role], name, reader.fields):
            _check(part, role, reader, records)
    notes = _in_two_languages(columns, found, reader, records)
    for column in columns:
        if column.role not in found:
            named = _by_name(column, [field for field in reader.fields if field not in found.values()], records)
            if named:
                found[column.role] = named[0]
                if len(named) > 1:
                    notes.append(f"{column.role} column: '{named[0]}' (there is also {_listed(named[1:])})")
            elif series := numbered(column, [field for field in reader.fields if field not in found.values()]):
                found[column.role] = "+".join(series)
                notes.append(f"{column.role}: {_listed(series)}")
    for column in columns:
        if column.unless in found and column.role not in given:
            found.pop(column.role, None)
    values = {field: [record.get(field) for record in records] for field in reader.fields}
    guessed: list[str] = []
    # Answers first: they are the easier to tell, and what is left is more surely the text.
    for column in sorted(columns, key=lambda column: not column.answer):
        if column.role not in found and column.unless not in found and (column.required or column.kind != "text"):
            left = {f: v for f, v in values.items() if f not in found.values()}
            alike = [c for c in columns if c.kind == column.kind and c.answer == column.answer and c.role not in found]
            for role, chosen in _by_type(column, reader, left, alike).items():
                found[role] = chosen
                notes.append(f"{role} column: '{chosen}', by its values")
                guessed.append(chosen)
    # Where nothing goes by its name and a name is one of the column's own values, the "header" is the first row.
    if len(guessed) == len(found) and reader.header_hint and any(name in values.get(name, ()) for name in guessed):
        raise DataError(
            f"{reader.name}: the first line looks like a row, not like a header: {_listed(reader.fields)}",
            hint=f"{reader.header_hint}; if it is a header, name the columns: --text-column, --label-column",
        )
    return {column.role: found[column.role] for column in columns if column.role in found}, notes


def _check(name: str, role: str, reader: Reader, records: Sequence[Mapping[str, Any]]) -> None:
    """DataError where there is no column of that name, and no record has anything at that path into one."""
    column = column_of(name, reader.fields)
    if column not in reader.fields:
        raise DataError(
            f"{reader.name}: no column '{name}' (for {role}); columns: {_listed(reader.fields)}",
            hint=did_you_mean(name, reader.fields),
        )
    if column == name or not records or any(there(record, name) for record in records):
        return
    raise DataError(
        f"{reader.name}: no field '{name}' (for {role}); {instead(records[0], name)}",
        hint=did_you_mean(name, paths_near(records, name)),
    )


def _in_two_languages(
    columns: Sequence[Column], found: dict[str, str], reader: Reader, records: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Fill roles that lie in one column of objects (``{"de": ..., "en": ...}``) and are not found by other names; what
    was chosen, in words."""
    notes = []
    for name in dict.fromkeys(column.inside[0] for column in columns if column.inside is not None):
        field = next((field for field in reader.fields if field.strip().lower() == name), None)
        keys = texts_by_key(record.get(field) for record in records) if field is not None else []
        if field is None or field in found.values() or not keys:
            continue
        own = [column for column in columns if column.inside is not None and column.inside[0] == name]
        left = [column for column in own if column.role not in found]
        if all(set(_by_name(column, reader.fields, records)) - {field} for column in left):
            continue
        paths = [f"{field}.{key}" for key in reader.languages.get(field) or keys]
        free = [path for path in paths if path not in found.values()]
        if len(paths) != 2:
            told_so = ",".join(f"{c.role}={path}" for c, path in zip(own, paths, strict=False))
            raise DataError(
                f"{reader.name}: '{field}' has {len(paths)} languages: {_listed([p[len(field) + 1 :] for p in paths])}",
                hint=f"--columns {told_so} says which",
            )
        if len(left) == len(own):
            found.update({c.role: paths[c.inside[1]] for c in left if c.inside is not None})
        elif len(left) == len(free) == 1:
            found[left[0].role] = free[0]
        else:
            continue
        chosen = ", ".join(f"{c.role} '{found[c.role]}'" for c in own if c.role in found)
        turned = ",".join(f"{c.role}={p}" for c, p in zip(own, reversed(paths), strict=False))
        notes.append(f"{chosen}; the other way round: --columns {turned}")
    return notes


def _by_name(column: Column, fields: Sequence[str], records: Sequence[Mapping[str, Any]]) -> list[str]:
    folded = {field.strip().lower(): field for field in reversed(fields)}
    found = []
    for name in column.names:
        parts = [folded.get(part) or find_path(part, fields, records) for part in sources(column.kind, name, folded)]
        if all(part is not None for part in parts):
            found.append("+".join(map(str, parts)))
    return found


def numbered(column: Column, fields: Sequence[str]) -> tuple[str, ...]:
    """Columns such as ``ending0``, ``ending1``, ... or ``option_a``, ``option_b``, ..., in their order, that fill one
    role together; none where no two go by a name of `column`, or its kind is of one column each."""
    for stem in column.names if column.kind in ("texts", "json") else ():
        found = {}
        for field in fields:
            name = field.strip().lower()
            match = _NUMBER.fullmatch(name[len(stem) :]) if name.startswith(stem) else None
            if match is not None:
                found[int(match[1]) if match[1].isdigit() else ord(match[1])] = field
        if len(found) > 1:
            return tuple(found[number] for number in sorted(found))
    return ()


def _by_type(
    column: Column, reader: Reader, values: Mapping[str, list[Any]], alike: Sequence[Column]
) -> dict[str, str]:
    """Role -> column for `column`, and for `alike` (the columns of its kind, it among them, that are not found yet)
    where there are as many candidates as these."""
    usable = {field: of_field for field, of_field in values.items() if not numbers_rows(field)}
    candidates = [field for field, of_field in usable.items() if fits(column.kind, of_field)]
    if not candidates and column.kind == "text":
        candidates = [field for field, of_field in usable.items() if are_texts(of_field)]
    flags = [field for field, of_field in usable.items() if look_of(of_field) == "flag"]
    if not candidates and column.kind == "labels" and len(flags) > 1:
        return {column.role: "+".join(flags)}
    if len(candidates) == 1:
        return {column.role: candidates[0]}
    needed = [other for other in alike if other.required]
    for wanted in (needed, alike):  # in the order of the table
        if len(wanted) == len(candidates) > 1:
            return {other.role: field for other, field in zip(wanted, candidates, strict=True)}
    if not candidates and not column.required:
        return {}
    flag = flag_of(column)
    if candidates:
        what = f"more than one column could be the {column.role}: {_listed(candidates)}"
        hint = f"{flag}{shlex.quote(candidates[0])}"
    else:
        what = f"no column for the {column.role}; columns: {_listed(reader.fields)}"
        hint = f"{flag}NAME"
        for kind, model in _MODELS.items():
            if column.kind == "text" and any(are_files(of_field, kind) for of_field in values.values()):
                hint = f"these are {model}"
    if reader.header_hint and unlike_names(reader.fields):
        hint = reader.header_hint
    raise DataError(f"{reader.name}: {what}", hint=hint)


def flag_of(column: Column) -> str:
    """The flag that names a column, up to the name: ``--label-column `` or ``--columns image=``."""
    own = column.role == column.kind and column.kind not in SUFFIXES
    return f"--{column.kind}-column " if own else f"--columns {column.role}="


_MODELS: Mapping[Kind, str] = {
    "image": "images: --model preset:vit-tiny, or another model of images",
    "audio": "sounds: --model preset:whisper-digits, or another model of sounds",
}
"""Kind of file -> what to say to who has a model of texts."""


def unlike_names(fields: Sequence[str]) -> bool:
    """True where the columns' names look like values, or where there is but the text."""
    return fields == ("text",) or any(len(field) > LONG_TEXT or _is_number(field) for field in fields)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name if len(name) <= 40 else name[:37] + '...'}'" for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
