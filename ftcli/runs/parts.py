"""Names into objects: the model, the data, the task and the settings chosen for a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ftcli.contract import Column, Data, Learner, Problem, Rows, Task
from ftcli.data.columns import flag_of
from ftcli.data.groups import Gather
from ftcli.data.load import load as load_data
from ftcli.engine.forward import COMPILED_WIDTHS, recompute_activations, speed_up
from ftcli.engine.precision import Precision, for_training, pick_device, pick_precision
from ftcli.engine.ranks import ALONE, Ranks
from ftcli.engine.regularizers.base import Ground
from ftcli.engine.regularizers.stack import Stack
from ftcli.errors import DataError, UsageError, did_you_mean
from ftcli.models.backbone import outside_backbone
from ftcli.models.load import Source, open_source, set_dropout
from ftcli.models.methods import METHODS
from ftcli.models.methods.base import Method
from ftcli.objectives import OBJECTIVES
from ftcli.recipe.load import replace as replace_recipe
from ftcli.recipe.schema import DataRecipe, Recipe, TrainRecipe
from ftcli.runs.defaults import EPOCHS_PRETRAINING, TOKEN_DROPOUT_FROM_SCRATCH, default_epochs, default_lr
from ftcli.runs.learner import learner, regularizers
from ftcli.runs.modality import MODELS, PLURALS, in_names, modality
from ftcli.runs.names import check_names
from ftcli.runs.recognise import recognised
from ftcli.runs.students import cut_student
from ftcli.runs.tokenizer import with_tokenizer
from ftcli.tasks import TASKS
from ftcli.tasks.writer import Writer
from ftcli.trackers.console import Console

PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Parts:
    """Everything a run needs, with `recipe` holding every choice made."""

    recipe: Recipe
    source: Source
    data: Data
    task: Task
    model: nn.Module
    method: Method
    fresh: list[str]
    precision: Precision
    """Of training."""
    scoring: Precision
    """Of scoring a split."""
    learner: Learner
    """The task as it is trained: under `regularize`, with another loss."""
    regularizers: Stack = field(default_factory=Stack)
    ranks: Ranks = ALONE


def task_class(recipe: Recipe, source: Source) -> Any:
    """The class of the recipe's task (or, of a pretrained model, of its objective), made from a processor, a length and
    the recipe.

    UsageError where the model takes no rows of the task's kind.
    """
    if recipe.objective is not None:
        name, kind = recipe.objective, OBJECTIVES.part(recipe.objective)
    else:
        name, kind = recipe.task, TASKS.part(recipe.task)
    wanted = modality(kind.columns)
    if wanted != source.takes:
        raise UsageError(
            f"{name} is learnt from {PLURALS[wanted]}, and {source.name} ({source.config.model_type}) takes "
            f"{PLURALS[source.takes]}",
            hint=MODELS.get(wanted, "another --model"),
        )
    return kind


def require(recipe: Recipe) -> tuple[str, str]:
    """The model's and the data's name; UsageError where one is missing."""
    if not recipe.model.name:
        raise UsageError("no model given", hint="--model bert-base-cased, a folder, or --model builtin:bert-tiny-en")
    if not recipe.data.name:
        raise UsageError("no data given", hint="--data imdb, a file or folder, or --data builtin:reviews")
    return recipe.model.name, recipe.data.name


def assemble(recipe: Recipe, console: Console) -> Parts:
    """Model, data and task of a fine-tuning run. Cheap things are checked first."""
    if recipe.objective is not None:
        raise UsageError(
            f"objective {recipe.objective} is what pretraining has; fine-tuning has a task",
            hint="ftcli pretrain RECIPE, and then ftcli finetune --model RUN",
        )
    if recipe.teacher.name is not None:
        raise UsageError("teacher.name is for ftcli distill", hint=f"ftcli distill --teacher {recipe.teacher.name} ...")
    place, source = look_up(recipe, console)
    recipe = recognised(recipe, source, console)
    kind = task_class(recipe, source)
    splits = ("train", "validation", "test")
    data = load_data(
        recipe.data, kind.columns, seed=recipe.seed, splits=splits, row_fault=kind.row_fault, gathers=gathers(kind)
    )
    check_columns(data, kind.columns, console)
    source = with_tokenizer(source, data, recipe, kind.columns, console)
    source = cut_student(source, [data.splits["train"]], recipe, console)
    task: Task = kind(source.processor, source.max_length(recipe.train.max_length), recipe)
    # A few rows of many classes need not hold them all; they are classes all the same.
    task.fit_labels(data.all_train or data.splits["train"], label_names(recipe.data, data))
    for note in task.notes:
        console.note(note)
    data = drop_unknown(task, data, recipe.data)
    return build(recipe, console, place, source, data, task)


def gathers(task: Any) -> tuple[str, Gather] | None:
    """By which role a task (or its class) makes one row of several, and how; None where it does not."""
    return None if task.gathers is None else (task.gathers, task.gather)


def look_up(recipe: Recipe, console: Console) -> tuple[Precision, Source]:
    """Where to compute, and the model named; names of the recipe that nothing is known by are refused."""
    picked = pick_precision(recipe.train.precision, pick_device(recipe.train.device))
    check_names(recipe)
    source = open_source(recipe.model)
    if source.note is not None:
        console.note(source.note)
    method: Method = METHODS.part(recipe.method.name)(recipe.method)
    check_method(method, source, recipe)
    source = replace(source, reserved=source.reserved + method.reserved, quantize=recipe.method.quantize)
    source.max_length(recipe.train.max_length)
    if recipe.regularize.dropout is not None:
        source = replace(source, dropout=set_dropout(source.config, recipe.regularize.dropout))
    return picked, source


def check_columns(data: Data, columns: Sequence[Column], console: Console) -> None:
    """Say what was chosen when the data was read; DataError where a column to train on is missing."""
    for note in data.notes:
        console.note(note)
    for column in columns:
        missing = column.role not in data.columns and column.unless not in data.columns
        if missing and (column.required or column.answer):
            raise DataError(
                f"{data.name} has no {column.role} column to train on",
                hint=data.hint or in_names(data, column) or f"{flag_of(column)}NAME names it",
            )


def build(recipe: Recipe, console: Console, scoring: Precision, source: Source, data: Data, task: Task) -> Parts:
    """The model for the task, where and how it runs, and every setting left open chosen."""
    device = scoring.device
    method: Method = METHODS.part(recipe.method.name)(recipe.method)
    stack = regularizers(task, source, recipe)
    model, fresh = task.build_model(source)
    if task.head_note:
        console.note(task.head_note)
    for part in stack.parts.values():
        fresh = [*fresh, *part.start_over(model)]
    came = frozenset() if source.from_scratch else frozenset(n for n, _ in model.named_parameters()) - set(fresh)
    if recipe.method.name != "full":
        model = adapted(method, model, fresh, recipe, console, writes=isinstance(task, Writer))
    speed_up(model.to(device), device, unpadded=runs_unpadded(recipe.train), first_only=task.first_only)
    if recipe.train.activation_checkpointing:
        recompute_activations(model, source.name)
    if recipe.train.compile is True:
        task.pad_to_multiple = COMPILED_WIDTHS
    recipe = choose_defaults(recipe, source, task, model, method, console)
    precision = for_training(recipe.train.precision, scoring, model)
    if precision is not scoring:
        console.note(f"trains in {precision.name}, which this CPU is fast at; --precision fp32 does not")
    ground = Ground(model, came, f"method {recipe.method.name}")
    for part in stack.parts.values():
        part.attach(ground)
    trained_as = learner(task, data, recipe, stack, model, images=source.images is not None)
    return Parts(recipe, source, data, task, model, method, fresh, precision, scoring, trained_as, stack)


def check_method(method: Method, source: Source, recipe: Recipe) -> None:
    """UsageError where the method has nothing to work on, or cannot do what is asked for."""
    name = recipe.method.name
    if method.keeps_base and source.from_scratch:
        raise UsageError(
            f"method {name} adds to a pretrained model, and {source.name} has no weights yet",
            hint="--method full, or pretrain first: ftcli pretrain --model PRESET --data TEXTS",
        )
    if method.keeps_base and recipe.model.add_tokens is not None:
        raise UsageError(
            f"model.add_tokens changes the embeddings, which method {name} leaves to the base model",
            hint="--method full",
        )
    if recipe.method.quantize != "none" and source.base is not None:
        raise UsageError(
            f"method.quantize: {source.name} is no whole model, which its parts are put together to first",
            hint="start from its base, or leave out method.quantize",
        )
    if recipe.method.quantize != "none" and not (method.mergeable and not recipe.method.merge):
        raise UsageError(
            f"method.quantize keeps a frozen base in few bits, which is not for method {name}"
            f"{' with --merge' if recipe.method.merge else ''}",
            hint="--method lora, and no --merge",
        )
    if recipe.method.merge and not method.mergeable:
        can = ", ".join(sorted(other for other in METHODS if METHODS.part(other).mergeable))
        raise UsageError(
            f"method.merge: what method {name} learns cannot be put into a base's weights; that of {can} can",
            hint="leave out --merge",
        )


def adapted(
    method: Method, model: nn.Module, fresh: Sequence[str], recipe: Recipe, console: Console, *, writes: bool
) -> nn.Module:
    """The model as the method trains it; what that is, said. `writes` says that the task is a Writer."""
    if recipe.objective is not None:
        raise UsageError(
            f"method {recipe.method.name} adapts a model to a task; pretraining trains all of it",
            hint="leave out --method",
        )
    if method.needs_head and not outside_backbone(model):
        raise UsageError(
            f"method {recipe.method.name} trains a head, and a bi-encoder has none",
            hint="--method full or lora, or --set ranking.kind=cross",
        )
    if method.reserved and writes:
        raise UsageError(f"method {recipe.method.name} does not go with tasks that write", hint="--method lora")
    model = method.adapt(model, fresh)
    whole = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    console.note(
        f"method {recipe.method.name} trains {trained:,} of {whole:,} parameters ({100 * trained / whole:.2f} %)"
    )
    if method.reserved:
        console.note(f"{method.reserved} learnt tokens stand before each text; batches are padded")
    return model


def runs_unpadded(train: TrainRecipe) -> bool:
    """Compiled kernels want few shapes, which padding gives."""
    return train.unpadded and train.compile is not True


def label_names(recipe: DataRecipe, data: Data) -> Sequence[str] | None:
    """Names for integer labels: the recipe's, else the source's own."""
    if recipe.label_names is None:
        return data.label_names
    names = [name.strip() for name in recipe.label_names.split(",")]
    if not all(names):
        raise UsageError(f"data.label_names is '{recipe.label_names}'; expected names separated by commas")
    return names


def drop_unknown(task: Task, data: Data, recipe: DataRecipe) -> Data:
    """Refuse, or with ``on_bad_row: skip`` leave out, rows whose label training never saw."""
    splits: dict[str, Rows] = dict(data.splits)
    problems: list[Problem] = []
    for name, rows in data.splits.items():
        found = [] if name == "train" else task.check_rows(rows)
        if found:
            problems += found
            places = {p.place for p in found}
            splits[name] = rows.select([i for i in range(len(rows)) if rows.place(i) not in places])
            if recipe.on_bad_row == "skip" and not len(splits[name]):
                raise DataError(f"no row of split '{name}' has a known label; the first: {found[0]}")
    if problems and recipe.on_bad_row == "fail":
        shown = "\n".join(f"  {p}" for p in problems[:PROBLEMS_SHOWN])
        more = f"\n  ... and {len(problems) - PROBLEMS_SHOWN:,} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise DataError(
            f"{len(problems):,} rows have labels that training never saw:\n{shown}{more}",
            hint="mend the labels, or leave these rows out with --on-bad-row skip",
        )
    return replace(data, splits=splits, skipped=(*data.skipped, *problems))


def choose_defaults(
    recipe: Recipe, source: Source, task: Task, model: nn.Module, method: Method, console: Console
) -> Recipe:
    """Fill in what the recipe leaves open, and say what was chosen."""
    pretrains = recipe.objective is not None
    chosen: dict[str, Any] = {} if pretrains else {"task": task.name}
    parameters = sum(p.numel() for p in model.parameters())
    if recipe.optimizer.lr is None:
        chosen["optimizer.lr"] = method.lr_scale * default_lr(parameters, from_scratch=source.from_scratch)
    if recipe.train.epochs is None:
        chosen["train.epochs"] = (
            EPOCHS_PRETRAINING if pretrains else default_epochs(parameters, from_scratch=source.from_scratch)
        )
    if recipe.regularize.token_dropout is None:
        # An objective hides what it wants itself.
        hides = source.from_scratch and source.tokenizer is not None and not (pretrains or isinstance(task, Writer))
        chosen["regularize.token_dropout"] = TOKEN_DROPOUT_FROM_SCRATCH if hides else 0.0
    elif recipe.regularize.token_dropout and source.tokenizer is None:
        takes = PLURALS[source.takes]
        raise UsageError(f"regularize.token_dropout hides words, and {source.name} takes {takes}", hint="leave it out")
    if recipe.train.max_length is None and source.tokenizer is not None:
        chosen["train.max_length"] = source.max_length(None)
    if recipe.eval.metric is None:
        chosen["eval.metric"] = task.main_metric
    elif recipe.eval.metric not in (known := task.metric_names()):
        raise UsageError(
            f"eval.metric is '{recipe.eval.metric}', which {task.name} does not have",
            hint=did_you_mean(recipe.eval.metric, known),
        )
    said = ", ".join(f"{k} {v:g}" for k, v in chosen.items() if v and isinstance(v, float | int))
    if said:
        console.note(f"chosen for {parameters / 1e6:.1f} million parameters: {said}")
    return replace_recipe(recipe, **{k.replace(".", "__"): v for k, v in chosen.items()})
