"""Values inside of columns of objects, named by a path: ``translation.de``, ``review.body``.

A column whose own name has dots in it comes before any path.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ftcli.data.text_files import json_kind

Values = Mapping[str, Any]


class Absent(LookupError):
    """There is nothing at a path."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        """What there is instead, in words that go on after "no field 'a.b';"."""


def column_of(name: str, fields: Collection[str]) -> str:
    """The column that what `name` names is in: that of this name, else the longest start of it that is one; `name`
    itself where there is none."""
    if name in fields or "." not in name:
        return name
    parts = name.split(".")
    starts = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((start for start in starts if start in fields), name)


def reach(values: Values, name: str) -> Any:
    """The value that `name` names, None where an object on the way to it is; Absent where there is none."""
    column = column_of(name, values)
    if column not in values:
        raise Absent(f"fields: {', '.join(map(str, values)) or 'none'}")
    value = values[column]
    way = name[len(column) + 1 :].split(".") if len(name) > len(column) else []
    so_far = column
    for key in way:
        if value is None:
            return None
        inside = _object(value)
        if inside is None:
            raise Absent(f"'{so_far}' is {json_kind(value)}, not an object")
        if key not in inside:
            raise Absent(f"'{so_far}' has {', '.join(map(str, inside)) or 'nothing'}")
        value, so_far = inside[key], f"{so_far}.{key}"
    return value


def get(values: Values, name: str) -> Any:
    """The value that `name` names; None where there is none."""
    if name in values:
        return values[name]
    try:
        return reach(values, name)
    except Absent:
        return None


def there(values: Values, name: str) -> bool:
    """True where `name` names something."""
    if name in values:
        return True
    try:
        reach(values, name)
    except Absent:
        return False
    return True


def instead(values: Values, name: str) -> str:
    """What there is where `name` names nothing."""
    try:
        reach(values, name)
    except Absent as absent:
        return absent.what
    raise ValueError(f"'{name}' is there")


def _object(value: Any) -> Mapping[str, Any] | None:
    """An object, also as JSON in a cell."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def paths_near(records: Sequence[Values], name: str) -> list[str]:
    """The paths that go on where `name`, which names nothing, leads astray, in order of appearance."""
    way = name
    while "." in way:
        way = way.rpartition(".")[0]
        inside = [_object(get(values, way)) or {} for values in records]
        if any(inside):
            return list(dict.fromkeys(f"{way}.{key}" for keys in inside for key in keys))
    return []


def find_path(name: str, fields: Sequence[str], records: Sequence[Values]) -> str | None:
    """The path that goes by `name`, whatever the case of its letters; None for a name without dots or where no record
    has one."""
    if "." not in name:
        return None
    folded = {field.strip().lower(): field for field in reversed(fields)}
    start = column_of(name.lower(), folded)
    if start not in folded:
        return None
    path, way = folded[start], name[len(start) + 1 :].split(".") if len(name) > len(start) else []
    for key in way:
        steps = dict.fromkeys(k for values in records for k in _object(get(values, path)) or ())
        match = next((step for step in steps if str(step).lower() == key.lower()), None)
        if match is None:
            return None
        path = f"{path}.{match}"
    return path


def texts_by_key(values: Iterable[Any]) -> list[str]:
    """The keys of a column of objects that hold nothing but texts, in order of appearance; none for another column."""
    keys: dict[str, None] = {}
    for value in values:
        inside = _object(value)
        if value is None:
            continue
        if inside is None or not all(text is None or isinstance(text, str) for text in inside.values()):
            return []
        keys.update(dict.fromkeys(map(str, inside)))
    return list(keys)
