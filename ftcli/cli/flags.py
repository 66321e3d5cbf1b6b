"""Flags made from recipe keys: one table, with help texts, types and defaults out of the schema."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from ftcli.recipe.keys import Key, keys
from ftcli.recipe.load import parse_set

FLAGS: Mapping[str, str] = {
    "model": "model.name",
    "data": "data.name",
    "task": "task",
    "objective": "objective",
    "method": "method.name",
    "merge": "method.merge",
    "epochs": "train.epochs",
    "max-steps": "train.max_steps",
    "batch-size": "train.batch_size",
    "lr": "optimizer.lr",
    "max-length": "train.max_length",
    "long": "long.name",
    "seed": "seed",
    "precision": "train.precision",
    "device": "train.device",
    "limit": "data.limit",
    "candidates": "ranking.candidates",
    "text-column": "data.text_column",
    "label-column": "data.label_column",
    "columns": "data.columns",
    "encoding": "data.encoding",
    "on-bad-row": "data.on_bad_row",
    "trust-remote-code": "model.trust_remote_code",
}
"""Flag -> the recipe key it sets; every other key goes by ``--set``."""

_METAVARS = {
    "model": "M",
    "teacher": "RUN|M",
    "student": "RUN|M",
    "unlabelled": "D",
    "until": "CONTRACT",
    "data": "D",
    "task": "T",
    "objective": "O",
    "method": "NAME",
    "device": "DEVICE",
    "candidates": "FILE",
    "columns": "ROLE=NAME,...",
}


def option(flag: str, key: Key) -> inspect.Parameter:
    """The typer option of a flag, as a keyword parameter."""
    parts = get_args(key.annotation) if get_origin(key.annotation) in (Union, types.UnionType) else (key.annotation,)
    literal = next((p for p in parts if get_origin(p) is Literal), None)
    kind = bool if bool in parts else str  # numbers are read like those of a recipe, with its messages
    default = "" if key.default in (None, {}) or kind is bool else f" [default: {key.default}]"
    number = "INTEGER" if int in parts else "NUMBER" if float in parts else None
    words = [number, *get_args(literal)] if literal is not None else []
    metavar = "|".join(word for word in words if word) or _METAVARS.get(flag, number)
    text = (key.help + default).replace("\n", " ")
    given = typer.Option(f"--{flag}", help=text, metavar=metavar, show_default=False)
    return inspect.Parameter(
        flag.replace("-", "_"), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, given]
    )


DISTILLING = {
    "teacher": "teacher.name",
    "student": "model.name",
    "unlabelled": "distill.unlabelled",
    "until": "distill.until",
    "baseline": "distill.baseline",
    **{name: path for name, path in FLAGS.items() if name != "model"},
}
"""The same for distillation, whose model is the student."""
SCORING = {**FLAGS, "batch-size": "eval.batch_size"}
"""The same for commands that do not train."""


def with_flags(
    names: Sequence[str], paths: Mapping[str, str] = FLAGS
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the flags `names`; it receives them as ``flags``: ``{recipe key: value or None}``."""
    table = {name: keys()[paths[name]] for name in names}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "flags"]

        def command(**arguments: Any) -> Any:
            given = {paths[name]: _read(key, arguments.pop(name.replace("-", "_"))) for name, key in table.items()}
            return function(**arguments, flags=given)

        options = [option(name, key) for name, key in table.items()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        command.__signature__ = signature.replace(parameters=_in_order(parameters, options))  # type: ignore[attr-defined]
        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__annotations__ = {p.name: p.annotation for p in [*parameters, *options]}
        return command

    return decorate


def _in_order(own: list[inspect.Parameter], options: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Arguments first, then the flags, then the command's own options."""
    arguments = [p for p in own if "argument" in type(_info(p)).__name__.lower()]
    rest = [p for p in own if p not in arguments]
    return [*arguments, *options, *rest]


def _info(parameter: inspect.Parameter) -> Any:
    arguments = get_args(parameter.annotation)
    return arguments[1] if len(arguments) > 1 else None


def _read(key: Key, text: Any) -> Any:
    """A number where the key holds one and the text is one; what is neither is refused with the recipe's words."""
    kinds = get_args(key.annotation) or (key.annotation,)
    if isinstance(text, str) and (int in kinds or float in kinds):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(text)
    return text


def given_values(flags: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Flags and ``--set`` of a command without a recipe file, by dotted key; ``--set`` wins."""
    values = {path: value for path, value in flags.items() if value is not None}
    for assignment in assignments:
        values.update(parse_set(assignment))
    return values
