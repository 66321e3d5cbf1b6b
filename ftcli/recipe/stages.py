"""`stages:` of a recipe: several runs in a row, each from the model that the one before gave."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError, did_you_mean
from ftcli.recipe.load import (
    STAGES,
    TRUST,
    build,
    dump,
    flatten,
    from_command_line,
    kind_of,
    parse_set,
    read_file,
    read_parent,
    resolve,
    to_tree,
    trusted,
)
from ftcli.recipe.schema import Recipe
from ftcli.registry import Table

COMMANDS = Table(
    "command",
    {
        "pretrain": "ftcli.runs.pretrain:stage",
        "finetune": "ftcli.runs.finetune:stage",
        "distill": "ftcli.runs.distill:stage",
    },
)
"""What a stage may be: its recipe as it is run, and its steps, out of its recipe."""
OF_STAGE = {
    "name": "What the stage is called in messages, in its folder and in --set stages.NAME.KEY=VALUE.",
    "command": "What the stage does; by default finetune.",
    "extends": "Another recipe file whose settings the stage starts from.",
}
"""Keys of a stage beside those of any recipe, and what they mean."""
OF_ONE = ("task", "objective", "method.", "data.", "corpus.", "optimizer.lr", "train.epochs")
"""Settings that mean something else in each stage: the command line names the stage it has them for."""
OF_DISTILLING = ("teacher.", "student.", "distill.")
"""Settings that are for the stages that distill, where there are any."""
OF_ALL = ("data.limit", "data.on_bad_row", "data.token_cache", TRUST)
"""Settings that go for every stage all the same."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Values = Mapping[str, tuple[Any, str]]
"""Dotted path -> a value and where it was given."""


@dataclass(frozen=True)
class Stage:
    """One run of a chain. Where its recipe names no model it starts from what the stage before gave; one that distills
    learns from that, unless it names another teacher, which may be an earlier stage."""

    name: str
    command: str
    recipe: Recipe


@dataclass(frozen=True)
class Chain:
    """Runs in a row; the last one gives the result."""

    stages: tuple[Stage, ...]
    out: str | None = None
    """Folder of them all."""

    @property
    def command(self) -> str:
        """What the last stage does, and so the chain in the end."""
        return self.stages[-1].command


def resolve_run(
    recipe_file: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], *, shown: bool = False
) -> Recipe | Chain:
    """What a command line asks for: one run, or the chain that its recipe holds. See `load.resolve`.

    Of a chain a key at the top of the file is the default of every stage, but for the model, which is the first one's,
    and the objective, which only pretraining has.
    Flags and ``--set KEY`` go for every stage (the model again for the first), ``--set stages.NAME.KEY`` for one; a
    setting that means something else in each has to name its stage.
    """
    common, stages = read_file(recipe_file) if recipe_file is not None else ({}, None)
    if stages is None:
        return resolve(recipe_file, flags, assignments, shown=shown)
    entries, file = stages
    found = [_entry(entry, number, file) for number, entry in enumerate(_checked(entries, file), start=1)]
    twice = [name for name, count in Counter(name for name, _, _ in found).items() if count > 1]
    if twice:
        raise UsageError(f"{file}: two stages are called '{twice[0]}'", hint="name: tells stages apart")
    given, of_stage = _from_command_line(flags, assignments, [name for name, _, _ in found])
    distills = any(command == "distill" for _, command, _ in found)
    out = given.pop("out", (common.get("out"), ""))[0]
    made = []
    for number, (name, command, own) in enumerate(found, start=1):
        values: dict[str, tuple[Any, str]] = {
            path: (value, str(recipe_file))
            for path, value in common.items()
            if path != "out"
            and (number == 1 or not path.startswith("model."))
            and (command == "pretrain" or path != "objective")
            and (command == "distill" or not distills or not path.startswith(OF_DISTILLING))
        }
        values.update(own)
        if command == "finetune" and values.get("objective", (None, ""))[0] is not None:
            raise UsageError(f"{values['objective'][1]}: 'objective' is what pretraining has", hint="command: pretrain")
        values.update(
            {
                path: value
                for path, value in given.items()
                if (number == 1 or not path.startswith("model.") or path in OF_ALL)
                and (command == "distill" or not distills or not path.startswith(OF_DISTILLING))
            }
        )
        values.update(of_stage.get(name, {}))
        made.append(Stage(name, command, build(values if shown else trusted(values))))
    return Chain(tuple(made), out)


def told(number: int, name: str) -> str:
    """A stage in messages; numbers from 1."""
    return f"stage {number} ({name})"


def _checked(entries: Any, file: Path) -> list[Any]:
    if not isinstance(entries, list) or not entries:
        what = "empty" if entries in ([], None) else kind_of(entries)
        raise UsageError(f"{file}: '{STAGES}' is a list of recipes, not {what}", hint="- name: ... for each of them")
    return entries


def _entry(entry: Any, number: int, file: Path) -> tuple[str, str, Values]:
    """Name, command and settings of a stage."""
    if not isinstance(entry, Mapping):
        raise UsageError(f"{file}: stage {number} is a mapping of keys to values, not {kind_of(entry)}")
    own = dict(entry)
    command = own.pop("command", "finetune")
    name = own.pop("name", command)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{file}: stage {number}: name is {name!r}; expected letters, digits, - and _")
    origin = f"{file}: {told(number, name)}"
    if not isinstance(command, str) or command not in COMMANDS:
        raise UsageError(
            f"{origin}: command is {command!r}; expected {' or '.join(COMMANDS)}",
            hint=did_you_mean(str(command), COMMANDS),
        )
    below, nested = read_parent(own.pop("extends", None), file, origin)
    if nested is not None or STAGES in own:
        raise UsageError(f"{origin}: a stage has no stages of its own")
    if "out" in own:
        raise UsageError(f"{origin}: 'out' is the chain's, at the top of the recipe")
    below.pop("out", None)
    settings = {**below, **flatten(own, origin)}
    return name, command, {path: (value, origin) for path, value in settings.items()}


def _from_command_line(
    flags: Mapping[str, Any], assignments: Iterable[str], names: list[str]
) -> tuple[dict[str, tuple[Any, str]], dict[str, dict[str, tuple[Any, str]]]]:
    """What goes for every stage, and what for one of them by name; UsageError for what does not say which."""
    for_all: list[str] = []
    for_one: list[str] = []
    for assignment in assignments:
        (for_one if assignment.strip().startswith(f"{STAGES}.") else for_all).append(assignment)
    given = from_command_line(flags, for_all)
    for path, (_, origin) in given.items():
        if path.startswith(OF_ONE) and path not in OF_ALL:
            flag = origin or f"--{path.removesuffix('.name').rsplit('.', 1)[-1].replace('_', '-')}"
            shown = f"{flag} {path}" if origin else flag
            raise UsageError(
                f"{shown}: which stage is this for? There are {', '.join(names)}",
                hint=f"--set {STAGES}.{names[-1]}.{path}=...",
            )
    of_stage: dict[str, dict[str, tuple[Any, str]]] = {}
    for assignment in for_one:
        name, _, rest = assignment.strip().removeprefix(f"{STAGES}.").partition(".")
        if name not in names:
            hint = did_you_mean(name, names)
            raise UsageError(f"--set {assignment}: no stage is called '{name}'", hint=hint)
        if rest.partition("=")[0].strip() == "out":
            raise UsageError(f"--set {assignment}: the folder is the chain's", hint="--out RUN")
        of_stage.setdefault(name, {}).update({p: (v, "--set") for p, v in parse_set(rest).items()})
    return given, of_stage


def chain_tree(chain: Chain) -> dict[str, Any]:
    """The chain as a recipe file that gives it again: the settings of the last stage, and of each what differs.

    Whoever looks for the settings of the run that gave the result finds them where every recipe has them; `model` is
    what the chain starts from.
    """
    trees = [flatten(to_tree(stage.recipe), stage.name) for stage in chain.stages]
    plain = flatten(to_tree(Recipe()), "defaults")
    top = {**trees[-1], "out": chain.out}
    top = {**{p: v for p, v in top.items() if not _of_model(p)}, **{p: v for p, v in trees[0].items() if _of_model(p)}}
    entries = []
    for number, (stage, own) in enumerate(zip(chain.stages, trees, strict=True)):
        below = top if number == 0 else {**top, **{p: plain.get(p) for p in own if _of_model(p)}}
        changed = {p: v for p, v in own.items() if p != "out" and below.get(p) != v}
        entries.append({"name": stage.name, "command": stage.command, **nested(changed)})
    order = dict.fromkeys(to_tree(Recipe()))
    return {**order, **nested(top), STAGES: entries}


def chain_yaml(chain: Chain, shown: Callable[[str], str] = str) -> str:
    """`chain_tree` as the text of a file, its texts as `shown`."""
    return dump(chain_tree(chain), shown)


def _of_model(path: str) -> bool:
    return path.startswith("model.")


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": value}`` as ``{"a": {"b": value}}``."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def starting_from(stage: Stage, model: str | None, out: str, earlier: Mapping[str, str] | None = None) -> Recipe:
    """The recipe of a stage as it is run: with a folder, and from `model` where it names none. Of one that distills
    `model` is its teacher, unless it names others; these may be stages that are `earlier` (name -> folder)."""
    recipe = replace(stage.recipe, out=out)
    if stage.command == "distill":
        teachers = [_placed(part, earlier or {}) for part in (recipe.teacher.name or "").split(",")]
        if recipe.teacher.name is None and model is not None:
            teachers = [model]
        recipe = replace(recipe, teacher=replace(recipe.teacher, name=",".join(teachers) or None))
        if any(part.rpartition("=")[0] == model or part == model for part in teachers):
            return recipe  # the student is cut out of it, or a model of its own
    if recipe.model.name is None and model is not None:
        recipe = replace(recipe, model=replace(recipe.model, name=model))
    return recipe


def _placed(part: str, earlier: Mapping[str, str]) -> str:
    """A teacher, maybe with a weight (``NAME=2``), by its folder where it is a stage."""
    name, equals, weight = part.strip().partition("=")
    return f"{earlier[name]}{equals}{weight}" if name in earlier else part
