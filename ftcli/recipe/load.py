"""From files, flags and ``--set`` to one validated Recipe: defaults < recipe < flags < ``--set a.b=c``."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from ftcli.errors import UsageError, did_you_mean
from ftcli.recipe.keys import Key, keys, sections
from ftcli.recipe.plain_yaml import MAX_RECIPE_BYTES, environment, parse_yaml, substitute
from ftcli.recipe.schema import Recipe

TRUST = "model.trust_remote_code"
"""Takes effect where the command line says it, not a recipe, which may come from anybody."""


STAGES = "stages"
"""The key of a recipe under which the runs of a chain stand (see `stages`)."""


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a recipe file by dotted path, those of the recipes it extends below its own; without stages."""
    return read_file(path)[0]


def read_file(path: Path, _chain: tuple[Path, ...] = ()) -> tuple[dict[str, Any], tuple[Any, Path] | None]:
    """The same, and what it holds under `STAGES` (unchecked) with the file that does; None where nothing does."""
    path = Path(path)
    if path.resolve() in _chain:
        raise UsageError(f"{path}: extends itself, by way of {' -> '.join(p.name for p in _chain)}")
    if path.is_dir():
        raise UsageError(f"recipe '{path}' is a folder", hint=f"name the file, e.g. {path}/recipe.yaml")
    if not path.exists():
        near = sorted(str(p) for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise UsageError(f"no recipe at '{path}'", hint=did_you_mean(str(path), near) if near else None)
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UsageError(f"{path}: {path.stat().st_size:,} bytes; a recipe has at most {MAX_RECIPE_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})", hint="save the recipe as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    tree = parse_yaml(text, str(path))
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values, not {kind_of(tree)}")
    base, stages = read_parent(tree.pop("extends", None), path, str(path), (*_chain, path.resolve()))
    if STAGES in tree:
        stages = tree.pop(STAGES), path
    return {**base, **flatten(tree, str(path))}, stages


def read_parent(
    name: Any, path: Path, origin: str, _chain: tuple[Path, ...] = ()
) -> tuple[dict[str, Any], tuple[Any, Path] | None]:
    """What the recipe holds that the one in file `path` extends; nothing where `name` is None."""
    if name is None:
        return {}, None
    if not isinstance(name, str):
        raise UsageError(f"{origin}: extends names another recipe file, not {kind_of(name)}")
    return read_file(path.parent / environment(name, origin), _chain)


def flatten(tree: Mapping[Any, Any], origin: str, prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``{"a.b": value}``; unknown keys are refused with the nearest valid name."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if path in sections():
            if isinstance(value, Mapping):
                found.update(flatten(value, origin, f"{path}."))
            elif value is None:
                continue
            elif f"{path}.name" in keys():
                found[f"{path}.name"] = substitute(value, origin)
            else:
                raise UsageError(f"{origin}: '{path}' holds keys, not {kind_of(value)}")
        else:
            key = find_key(path, origin)
            if key.free and path == key.path:
                if not isinstance(value, Mapping):
                    raise UsageError(f"{origin}: '{path}' holds keys, not {kind_of(value)}")
                found.update({f"{path}.{k}": substitute(v, origin) for k, v in value.items()})
            else:
                found[path] = substitute(value, origin)
    return found


def find_key(path: str, origin: str) -> Key:
    """The schema's key for a dotted path, or a UsageError with the nearest valid one."""
    table = keys()
    if path in table:
        return table[path]
    for key in table.values():
        if key.free and path.startswith(key.path + ".") and path != key.path + ".":
            return key
    if path in sections():
        inside = sorted(k for k in table if k.startswith(path + "."))
        raise UsageError(f"{origin}: '{path}' is a section", hint=f"set one of its keys: {', '.join(inside)}")
    hint = _nearest(path, [*table, *sections()])
    raise UsageError(f"{origin}: unknown key '{path}'", hint=hint)


def _nearest(path: str, known: list[str]) -> str | None:
    last = path.rsplit(".", 1)[-1]
    same_last = [k for k in known if k.rsplit(".", 1)[-1] == last]
    if len(same_last) >= 1:
        return f"did you mean '{same_last[0]}'?"
    hint = did_you_mean(path, known)
    if hint is None:
        near = did_you_mean(last, {k.rsplit(".", 1)[-1] for k in known})
        if near and near.startswith("did you mean"):
            name = near.split("'")[1]
            return f"did you mean '{next(k for k in known if k.rsplit('.', 1)[-1] == name)}'?"
        return "ftcli recipe schema lists every key"
    return hint


def parse_set(assignment: str) -> dict[str, Any]:
    """``a.b=c`` of ``--set`` by dotted path; the value is read as YAML, and may hold several for ``model.config``."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set {assignment!r}: expected KEY=VALUE", hint="for example --set optimizer.lr=3e-5")
    path = path.strip()
    if path in sections() and f"{path}.name" in keys():
        path = f"{path}.name"
    key = find_key(path, "--set")
    is_text = set(get_args(key.annotation) or (key.annotation,)) <= {str, type(None)}  # a pattern: {label}_*, *.wav
    value = text if is_text and text[:1] in ("{", "*") else parse_yaml(text, f"--set {path}")
    if key.free and path == key.path:
        if not isinstance(value, Mapping):
            raise UsageError(f"--set: '{path}' holds keys, not {kind_of(value)}", hint=f"--set {path}.KEY=VALUE")
        return {f"{path}.{name}": substitute(its, f"--set {path}") for name, its in value.items()}
    return {path: substitute(value, f"--set {path}")}


def resolve(
    recipe_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    *,
    shown: bool = False,
) -> Recipe:
    """The Recipe of a command line; with `shown` only to be looked at.

    `flags` maps dotted paths to values (None: not given). Raises UsageError for anything unknown or mistyped.
    """
    values: dict[str, tuple[Any, str]] = {}
    if recipe_file is not None:
        found, stages = read_file(recipe_file)
        if stages is not None:
            raise UsageError(f"{recipe_file}: a chain of stages, and this takes one run", hint="ftcli finetune runs it")
        values.update({k: (v, str(recipe_file)) for k, v in found.items()})
    values.update(from_command_line(flags or {}, assignments))
    return build(values if shown else trusted(values))


def from_command_line(flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """What flags and ``--set`` say, by dotted path, with where it was given."""
    values: dict[str, tuple[Any, str]] = {k: (v, "") for k, v in flags.items() if v is not None}
    for assignment in assignments:
        values.update({path: (value, "--set") for path, value in parse_set(assignment).items()})
    return values


def trusted(values: Mapping[str, tuple[Any, str]]) -> Mapping[str, tuple[Any, str]]:
    """`values`; UsageError where a file among them says to run code that comes with a model."""
    trust, origin = values.get(TRUST, (False, ""))
    if trust and origin not in ("", "--set"):
        raise UsageError(
            f"{origin}: {TRUST}: a recipe may not run code that comes with a model",
            hint="--trust-remote-code on the command line, if you trust the author of that code",
        )
    return values


def build(values: Mapping[str, tuple[Any, str]]) -> Recipe:
    """A Recipe from ``{dotted path: (value, where it was given)}``."""
    tree: dict[str, Any] = {}
    for path, (value, origin) in values.items():
        key = find_key(path, origin or "flag")
        node = tree
        if key.free:
            *parents, _ = key.path.split(".")
            for part in parents:
                node = node.setdefault(part, {})
            node.setdefault(key.path.rsplit(".", 1)[-1], {})[path[len(key.path) + 1 :]] = value
            continue
        *parents, last = path.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = check_value(key, value, origin)
    recipe: Recipe = _construct(Recipe, tree)
    return recipe


def _construct(cls: Any, tree: Mapping[str, Any]) -> Any:

    hints = get_type_hints(cls)
    return cls(
        **{
            name: _construct(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in tree.items()
        }
    )


def check_value(key: Key, value: Any, origin: str) -> Any:
    """`value` as the key's type, within its bounds; a UsageError otherwise."""
    where = f"{origin}: " if origin else ""
    name = key.path if origin else f"{key.path} (--{key.path.rsplit('.', 1)[-1].replace('_', '-')})"
    options = _alternatives(key.annotation)
    if value is None:
        if type(None) in options:
            return None
        raise UsageError(f"{where}{name} is empty; expected {describe_type(key)}")
    for option in options:
        accepted, converted = _convert(option, value)
        if accepted:
            _check_bounds(key, converted, f"{where}{name}")
            return converted
    literals = [str(a) for o in options if get_origin(o) is Literal for a in get_args(o)]
    hint = did_you_mean(str(value), literals) if literals else None
    raise UsageError(f"{where}{name} is {value!r}; expected {describe_type(key)}", hint=hint)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _convert(option: Any, value: Any) -> tuple[bool, Any]:
    if get_origin(option) is list:
        parts = [_convert(get_args(option)[0], part) for part in value] if isinstance(value, list) else []
        return bool(parts) and all(accepted for accepted, _ in parts), [converted for _, converted in parts]
    if get_origin(option) is Literal:
        return value in get_args(option) and isinstance(value, str), value
    if option is bool:
        return isinstance(value, bool), value
    if option is int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return True, int(value)
        return isinstance(value, int) and not isinstance(value, bool), value
    if option is float:
        if isinstance(value, int) and not isinstance(value, bool):
            return abs(value) < 2**53, float(value) if abs(value) < 2**53 else value
        return isinstance(value, float), value
    if option is str:
        if isinstance(value, int) and not isinstance(value, bool):
            return True, str(value)
        return isinstance(value, str), value
    return False, value


def _check_bounds(key: Key, value: Any, name: str) -> None:
    tests: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
        "above": (lambda v, b: v > b, "above"),
        "at_least": (lambda v, b: v >= b, "at least"),
        "at_most": (lambda v, b: v <= b, "at most"),
        "below": (lambda v, b: v < b, "below"),
    }
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        raise UsageError(f"{name} is {value}; expected a finite number")
    for bound, (holds, words) in tests.items():
        if isinstance(value, int | float) and bound in key.bounds and not holds(value, key.bounds[bound]):
            raise UsageError(f"{name} is {value}; expected {words} {key.bounds[bound]}")


def describe_type(key: Key) -> str:
    """The key's type in words."""
    names: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    names |= {list[int]: "a list of whole numbers", list[str]: "a list of texts", type(None): "null"}
    words = [
        " or ".join(f"'{a}'" for a in get_args(o)) if get_origin(o) is Literal else names.get(o, "a mapping")
        for o in _alternatives(key.annotation)
    ]
    return " or ".join(words)


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, Mapping):
        return "a mapping"
    return {list: "a list", str: "text", bool: "true or false"}.get(type(value), f"{value!r}")


def to_tree(recipe: Any) -> dict[str, Any]:
    """The recipe as nested plain data, every key present."""
    return {
        item.name: to_tree(value)
        if dataclasses.is_dataclass(value)
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for item in dataclasses.fields(recipe)
        for value in [getattr(recipe, item.name)]
    }


def to_yaml(recipe: Recipe, shown: Callable[[str], str] = str) -> str:
    """The recipe as a file that gives the same recipe again, its texts as `shown`."""
    return dump(to_tree(recipe), shown)


def dump(tree: Mapping[str, Any], shown: Callable[[str], str] = str) -> str:
    """Plain data as YAML, its texts as `shown`."""
    return yaml.safe_dump(_texts(tree, shown), sort_keys=False, allow_unicode=True, width=110)


def _texts(tree: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _texts(value, shown) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_texts(value, shown) for value in tree]
    return shown(tree) if isinstance(tree, str) else tree


def replace(recipe: Recipe, **changes: Any) -> Recipe:
    """`recipe` with some values changed; a dot in a key is written as two underscores (``optimizer__lr``)."""
    tree: dict[str, tuple[Any, str]] = {}
    for path, value in changes.items():
        tree[path.replace("__", ".")] = (value, "default")
    values = {p: (v, "recipe") for p, v in flatten(to_tree(recipe), "recipe").items()}
    return build({**values, **tree})
