"""The recipe's classes as a list of settings: dotted path, type, default, bounds and help of each."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from ftcli.recipe.schema import Recipe


@dataclass(frozen=True)
class Key:
    """One setting: its dotted path, its type and what the schema says of it."""

    path: str
    annotation: Any
    default: Any
    bounds: Mapping[str, Any]
    help: str

    @property
    def free(self) -> bool:
        """True for a mapping whose keys are not ours (a model's configuration)."""
        return bool(self.bounds.get("free"))


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """The docstring under each field of a class, from its source."""
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(node, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[statement.target.id] = str(after.value.value)
    return found


@cache
def keys() -> dict[str, Key]:
    """Every setting by its dotted path, in the order of the schema."""
    found: dict[str, Key] = {}

    def visit(cls: Any, prefix: str) -> None:
        hints = get_type_hints(cls)
        for item in dataclasses.fields(cls):
            annotation = hints[item.name]
            if dataclasses.is_dataclass(annotation):
                visit(annotation, f"{prefix}{item.name}.")
                continue
            default = item.default if item.default is not dataclasses.MISSING else {}
            path = f"{prefix}{item.name}"
            found[path] = Key(path, annotation, default, item.metadata, _docstrings(cls).get(item.name, ""))

    visit(Recipe, "")
    return found


@cache
def sections() -> frozenset[str]:
    """Dotted paths that hold other settings (``model``, ``model.tokenizer``, ...)."""
    found: set[str] = set()
    for path in keys():
        parts = path.split(".")[:-1]
        found.update(".".join(parts[: n + 1]) for n in range(len(parts)))
    return frozenset(found)
