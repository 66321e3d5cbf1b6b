"""A layer imports only lower layers; siblings on L3 and L4 never import each other (an AST walk)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ftcli

PACKAGE = Path(ftcli.__file__).parent
LEVELS = {
    "errors": 0, "hub": 0, "registry": 0, "text": 0, "__init__": 0,
    "bundled": 1, "places": 1, "recipe": 1,
    "contract": 2, "distillable": 2, "endings": 2,
    "contract_options": 2.5, "contract_defaults": 2.5,  # beside the contract, and made of it
    "data": 3, "models": 3, "losses": 3, "metrics": 3, "trackers": 3, "exporters": 3, "reports": 3,
    "tasks": 4, "objectives": 4, "distillation": 4, "engine": 4,
    "runs": 5,
    "cli": 6, "__main__": 6,
}  # fmt: skip
HEAVY = {"torch", "transformers", "datasets", "evaluate", "sklearn", "peft"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    """The top-level part of the package that a dotted module name lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(file: Path) -> str:
    return ".".join(["ftcli", *file.relative_to(PACKAGE).with_suffix("").parts])


def imports(tree: ast.AST, *, top_level: bool) -> list[str]:
    """Modules imported, all of them or those that run when the module is imported."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and top_level:
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and top_level:
                continue
            if isinstance(child, ast.Import):
                found.extend(alias.name for alias in child.names)
            if isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative imports hide where a module lies"
                base = child.module or ""
                found.append(base)
                found.extend(f"{base}.{alias.name}" for alias in child.names if base == "ftcli")
            visit(child)

    visit(tree)
    return found


def test_the_walk_covers_the_package() -> None:
    rooms = {room(module_of(file)) for file in FILES}
    assert len(FILES) >= 60
    assert rooms >= {"errors", "registry", "recipe", "contract", "data", "models", "tasks", "engine", "runs", "cli"}
    assert rooms <= set(LEVELS), "a new room needs a level"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    own = room(module_of(file))
    for name in imports(ast.parse(file.read_text(encoding="utf-8")), top_level=False):
        if name.split(".")[0] != "ftcli" or room(name) == own or name == "ftcli":
            continue
        other = room(name)
        if other == "__version__":
            continue
        if own in {"registry", "__main__"} and other in {"errors", "cli"}:
            continue  # the two files that are rooms of their own beside the room they use
        assert LEVELS[other] < LEVELS[own], f"{module_of(file)} (L{LEVELS[own]}) imports {name} (L{LEVELS[other]})"


@pytest.mark.parametrize(
    "file", [f for f in FILES if LEVELS[room(module_of(f))] in (0, 1, 6)], ids=module_of
)  # fmt: skip
def test_outer_layers_import_nothing_heavy(file: Path) -> None:
    names = imports(ast.parse(file.read_text(encoding="utf-8")), top_level=True)
    assert not HEAVY & {name.split(".")[0] for name in names}
    assert not {n for n in names if n.startswith(("ftcli.runs", "ftcli.engine", "ftcli.tasks", "ftcli.models"))}


def test_only_runs_turns_names_into_objects() -> None:
    """`Table.part` outside runs/ is called only where a part composes parts of its own room."""
    callers = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "part":
                callers.add(module_of(file))
    allowed = {"ftcli.engine.schedule", "ftcli.metrics.report", "ftcli.cli.render"}
    assert {c for c in callers if room(c) != "runs"} <= allowed


def test_files_and_functions_stay_small() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        limit = 250 if file.name == "loop.py" else 330
        assert text.count("\n") <= limit, f"{module_of(file)} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 60, f"{module_of(file)}.{node.name} has {length} lines"
