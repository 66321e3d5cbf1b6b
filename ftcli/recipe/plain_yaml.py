"""Plain YAML for recipes: nothing is executed, nothing is repeated, variables only where they are written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ftcli.errors import UsageError

MAX_RECIPE_BYTES = 200_000
MAX_INTEGER = 2**63
_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


class _Loader(yaml.SafeLoader):
    """Plain YAML: no aliases (a few lines of them can fill the memory), no key twice; 1e-5 is a number, 1:30 none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not used in recipes")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: a key must be plain text")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: key '{key}' is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> Any:
        text = self.construct_scalar(node)
        if ":" in text:
            return text
        value = super().construct_yaml_int(node)
        if abs(value) > MAX_INTEGER:
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: a whole number of {len(text):,} digits is too large"
            )
        return value

    def construct_yaml_float(self, node: Any) -> Any:
        text = self.construct_scalar(node)
        return text if ":" in text else super().construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", getattr(_Loader, f"construct_yaml_{_kind}"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, origin: str) -> Any:
    """`text` as plain data; `origin` (a file or flag) names it in errors."""
    if len(text) > MAX_RECIPE_BYTES:
        raise UsageError(f"{origin}: {len(text):,} characters, but a recipe has at most {MAX_RECIPE_BYTES:,}")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{origin}{where}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{origin}: not valid YAML: {str(error).splitlines()[0]}") from None


def substitute(value: Any, origin: str) -> Any:
    """``${env:NAME}`` replaced where it is written; a value that is only that is read as YAML."""
    if isinstance(value, str):
        if _ENV.fullmatch(value):
            text = environment(value, origin)
            parsed = parse_yaml(text, origin) if text.strip() else text
            return parsed if isinstance(parsed, int | float | bool) else text
        return environment(value, origin)
    if isinstance(value, list):
        return [substitute(item, origin) for item in value]
    if isinstance(value, Mapping):
        return {k: substitute(v, origin) for k, v in value.items()}
    return value


def environment(text: str, origin: str) -> str:
    """`text` with each ``${env:NAME}`` in it replaced; UsageError for a variable that is not set."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UsageError(f"{origin}: environment variable {name} is not set", hint=f"export {name}=...")
        return os.environ[name]

    return _ENV.sub(replace, text)
