"""A JSON Schema of recipes, for editors that complete and check YAML."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from ftcli.recipe.keys import Key, keys
from ftcli.recipe.load import STAGES
from ftcli.recipe.stages import COMMANDS, OF_STAGE

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
_BOUNDS = {"above": "exclusiveMinimum", "at_least": "minimum", "at_most": "maximum", "below": "exclusiveMaximum"}


def json_schema() -> dict[str, Any]:
    """The schema as plain data (JSON Schema draft 2020-12)."""
    root: dict[str, Any] = _section()
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    root["title"] = "ftcli recipe"
    root["properties"]["extends"] = {"type": "string", "description": "Another recipe file to start from."}
    for key in keys().values():
        node = root
        *parents, last = key.path.split(".")
        for part in parents:
            node = node["properties"].setdefault(part, _section())
        node["properties"][last] = _property(key)
    for name, node in list(root["properties"].items()):
        if "name" in node.get("properties", {}):
            root["properties"][name] = {"anyOf": [node, {"type": "string"}]}
    root["properties"][STAGES] = _stages(list(root["properties"]))
    return root


def _stages(keys_of_recipes: list[str]) -> dict[str, Any]:
    """A list of recipes, each with a name and a command."""
    stage = _section()
    stage["properties"] = {name: {"type": "string", "description": text} for name, text in OF_STAGE.items()}
    stage["properties"]["command"]["enum"] = list(COMMANDS)
    own = [name for name in keys_of_recipes if name not in ("out", *OF_STAGE)]
    stage["properties"] |= {name: {"$ref": f"#/properties/{name}"} for name in own}
    told = "Runs in a row, each from the model the one before gave; the keys around them are their defaults."
    return {"type": "array", "minItems": 1, "items": stage, "description": told}


def _section() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _property(key: Key) -> dict[str, Any]:
    if key.free:
        return {"type": "object", "description": key.help}
    found: dict[str, Any] = {"description": key.help, "default": key.default}
    options = get_args(key.annotation) if get_origin(key.annotation) in (Union, types.UnionType) else (key.annotation,)
    lists = [o for o in options if get_origin(o) is list]
    literal = next((o for o in options if get_origin(o) is Literal), None)
    plain = [o for o in options if o in _TYPES and o is not type(None)]
    if lists:
        found["anyOf"] = [_shape(o) for o in options]
    elif literal is not None and plain:
        found["anyOf"] = [*({"type": _TYPES[o]} for o in options if o in _TYPES), {"enum": list(get_args(literal))}]
    elif literal is not None:
        found["enum"] = list(get_args(literal)) + ([None] if type(None) in options else [])
    else:
        names = [_TYPES[o] for o in options]
        found["type"] = names[0] if len(names) == 1 else names
    found.update({_BOUNDS[b]: v for b, v in key.bounds.items() if b in _BOUNDS})
    return found


def _shape(option: Any) -> dict[str, Any]:
    if get_origin(option) is list:
        return {"type": "array", "items": _shape(get_args(option)[0])}
    if get_origin(option) is Literal:
        return {"enum": list(get_args(option))}
    return {"type": _TYPES[option]}
