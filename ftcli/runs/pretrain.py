"""`ftcli pretrain`: unlabelled data -> the best state on a held-out part of it, measured beside a baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from ftcli.contract import Data, Example, Objective, Rows
from ftcli.data.corpus import load_corpus
from ftcli.data.load import load as load_data
from ftcli.data.pieces import Pieces
from ftcli.data.streamed import Streamed, load_stream
from ftcli.engine import world
from ftcli.engine.corrupt import Corrupted, drawing
from ftcli.engine.evaluate import encode_rows
from ftcli.errors import UsageError
from ftcli.models.load import Source
from ftcli.recipe.load import replace
from ftcli.recipe.schema import Recipe
from ftcli.reports.loss_curve import read_metrics, text_curve, write_png
from ftcli.runs import chunks, samples, training
from ftcli.runs.encode import arranged, held_out
from ftcli.runs.journal import Journal
from ftcli.runs.parts import Parts, build, check_columns, look_up, task_class
from ftcli.runs.results import build_report, score, write_model, write_reports
from ftcli.runs.students import cut_student
from ftcli.runs.tokenizer import with_tokenizer
from ftcli.runs.training import Result, Session, Steps
from ftcli.trackers.console import Console

BY_ARCHITECTURE = {
    "gpt2": "clm", "llama": "clm", "qwen2": "clm", "mistral": "clm", "gpt_neox": "clm",
    "t5": "denoising", "bart": "denoising", "electra": "rtd", "albert": "mlm+sop",
}  # fmt: skip
"""What an architecture is made for; masked language modelling for all others of texts."""


def run(
    recipe: Recipe,
    console: Console,
    *,
    resume: bool = False,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Result:
    """Pretrain by `recipe` and write the run folder; see `training.run`."""
    return training.run("pretrain", recipe, console, assemble, train, resume=resume, deadline=deadline, stop_at=stop_at)


def check(recipe: Recipe, console: Console) -> dict[str, Any]:
    """`--dry-run`; see `training.check`."""
    return training.check(recipe, console, assemble, sample)


def sample(parts: Parts, rows: Rows) -> Sequence[Example]:
    """What training makes of some rows."""
    objective, seed = cast(Objective, parts.task), parts.recipe.seed
    examples = objective.arrange(encode_rows(objective.documents, rows), seed)
    draw = drawing(objective.corrupt, seed)
    return [draw(example, 0, row) for row, example in enumerate(examples)]


def assemble(recipe: Recipe, console: Console) -> Parts:
    """Model, corpus and objective of a run. Cheap things are checked first."""
    place, source = look_up(recipe, console)
    recipe = replace(recipe, objective=recipe.objective or objective_for(source))
    kind = task_class(recipe, source)
    columns = kind.columns
    texts = any(column.kind == "text" for column in columns)
    if recipe.corpus.stream and not texts:
        raise UsageError(f"corpus.stream is for texts, and {recipe.objective} learns from images", hint="leave it out")
    data: Data
    if recipe.corpus.stream:
        chunks.check(recipe)
        data = load_stream(recipe.data, recipe.corpus, columns, seed=recipe.seed)
    elif texts:
        data = load_corpus(recipe.data, recipe.corpus, columns, seed=recipe.seed)
    else:
        data = load_data(recipe.data, columns, seed=recipe.seed, splits=("train", "validation"))
    check_columns(data, columns, console)
    source = with_tokenizer(source, data, recipe, columns, console)
    source = cut_student(source, [], recipe, console)
    objective = kind(source.processor, source.max_length(recipe.train.max_length), recipe)
    return build(recipe, console, place, source, data, objective)


def objective_for(source: Source) -> str:
    """What the architecture of a model is made for."""
    return "masked-image" if source.images is not None else BY_ARCHITECTURE.get(source.config.model_type, "mlm")


def train(session: Session) -> dict[str, Any]:
    """The story of a run: documents to examples, answers drawn as they are seen, the best state kept, reports."""
    parts, console = session.parts, session.console
    examples = arranged(parts, "train", console, session.stop)  # of a stream its first chunk
    validation = held_out(parts, "validation", console, session.stop)
    data, objective = parts.data, cast(Objective, parts.task)
    baseline = objective.baseline(examples, validation)
    if baseline:
        console.info("  ".join(f"{name} {value:.4f}" for name, value in baseline.items()))
    place: Callable[[int], str] = partial(place_of, data, examples)
    if isinstance(data, Streamed) and data.stream is not None:
        first = training.longest(examples)
        streamed = chunks.Chunks(data.stream, objective, parts.recipe.seed, first, console, session.stop)
        examples, place = streamed, streamed.place
    return training.fit(
        session,
        examples,
        validation,
        partial(finish, session, validation, baseline),
        draw=drawing(objective.corrupt, parts.recipe.seed),
        place=place,
        after_validation=partial(show, session),
    )


def place_of(data: Data, examples: Sequence[Example], row: int) -> str:
    """Where the document that an example begins in comes from."""
    return data.splits["train"].place(examples.document(row) if isinstance(examples, Pieces) else row)


def show(session: Session) -> None:
    """What the model makes of the beginning of two held-out texts."""
    parts = session.parts
    objective, rows = cast(Objective, parts.task), parts.data.splits["validation"]
    prompts = [objective.prompt(str(rows[i].get("text") or "")) for i in range(min(samples.SHOWN, len(rows)))]
    samples.show(session, [(prompt, {"text": prompt}) for prompt in prompts if prompt])


def give_back_dropout(parts: Parts) -> None:
    """The rates of dropout that the architecture came with, in the configuration that is saved: one pass over many
    texts needs none, and fine-tuning on a few does."""
    for name, rate in parts.source.dropout.items():
        setattr(parts.model.config, name, rate)


def finish(session: Session, validation: Corrupted, baseline: dict[str, float], journal: Journal) -> dict[str, Any]:
    """Score the held-out part with the best state, write model and reports."""
    parts, best = session.parts, session.best
    began = time.perf_counter()
    evaluation = score(parts, "validation", validation, session.console, bootstrap=0, stop=session.stop)
    evaluation.metrics |= baseline
    seconds = time.perf_counter() - began
    give_back_dropout(parts)
    report = build_report("pretrain", parts, "validation", evaluation, seconds, gates=[])
    journal.final("validation", evaluation, step=best.step, epoch=best.epoch)
    write_model(parts, session.folder, report, best, (), session.console)
    write_reports(session.folder.path, report)
    if world.leads():
        draw_curve(session)
    return report


def draw_curve(session: Session) -> None:
    """The loss over the steps: for the person who waits, and as loss_curve.png in the run folder."""
    folder, console = session.folder.path, session.console
    records = read_metrics(folder / "metrics.jsonl")
    if curve := text_curve(records, ascii=console.plain):
        console.info(curve)
    try:
        write_png(records, folder / "loss_curve.png")
    except (ImportError, OSError) as error:
        console.warn(f"loss_curve.png could not be drawn ({error})")


def stage(recipe: Recipe) -> tuple[Recipe, Steps]:
    """The recipe and the steps of a stage of a chain."""
    return recipe, Steps(assemble, train, sample)
