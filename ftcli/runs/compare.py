"""`ftcli compare`: trained models on the same rows; each against the first, the baseline."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ftcli.contract import Data, Rows
from ftcli.contract_options import Judging, Resampling, Verdict
from ftcli.engine.evaluate import run_model
from ftcli.errors import UsageError
from ftcli.metrics.gates import check_margin, lower_is_better
from ftcli.metrics.paired import Counts, Floats, Scorer, interval, mcnemar, resample
from ftcli.recipe.load import read_recipe
from ftcli.recipe.schema import Recipe
from ftcli.reports import comparison
from ftcli.reports.comparison_plot import write_png
from ftcli.reports.json_report import dumps
from ftcli.runs.cost import size_on_disk, training_of
from ftcli.runs.environment import prepare_process
from ftcli.runs.evaluate import assembled, examples_of, load, say
from ftcli.runs.folder import RunFolder, open_folder, write_whole
from ftcli.runs.predict import opened
from ftcli.runs.results import answer
from ftcli.runs.same import check_expected, check_labels, check_rows, check_tasks
from ftcli.runs.trained import UNLIMITED, Known, inherited, look_up, with_weights
from ftcli.text import json_line, jsonable
from ftcli.trackers.console import Console

CUT = 200
"""Characters of a row's text in compare.json; ``--output`` has all of them."""


@dataclass(frozen=True)
class Scored:
    """A model's answers on the rows."""

    facts: dict[str, Any]
    verdicts: list[Verdict] | None
    scorer: Scorer | None
    rows: Rows


def recipes(models: Sequence[str], given: dict[str, Any]) -> list[Recipe]:
    """The recipe of each model: a run's own, below what is given; a model without data of its own takes a run's."""
    name = given.get("data.name")
    found = [inherited(model, given, name) for model in models]
    lender = next((i for i, recipe in enumerate(found) if recipe.data.name), None)
    if lender is None:
        raise UsageError("no data given", hint="--data imdb, a file or folder, or --data builtin:reviews")
    if name is not None:
        return found
    own = read_recipe(Path(models[lender]).expanduser() / "recipe.yaml")
    lent = {path: value for path, value in own.items() if path.startswith("data.") and path not in UNLIMITED}
    return [
        recipe if recipe.data.name else inherited(model, {**lent, **given}, recipe.data.name)
        for model, recipe in zip(models, found, strict=True)
    ]


def run(
    given: Sequence[Recipe],
    console: Console,
    *,
    own_data: bool,
    split: str,
    margins: Sequence[tuple[str, float]] = (),
    flips: int = 10,
    output: str | None = None,
    out: str | None = None,
) -> dict[str, Any]:
    """Score every model and return the comparison, its gates checked; written to `out`, rows that flipped to `output`.

    `own_data` is True where no data was named: the runs' own has to be the same.
    """
    prepare_process()
    names = [str(recipe.model.name) for recipe in given]
    folder = open_folder(out, "compare", names[0], str(given[0].data.name)) if out else None
    try:
        with opened(output, sys.stdout) if output is not None else nullcontext() as file:
            known = [look_up(recipe) for recipe in given]
            check_tasks(known)
            check_labels(known)
            data = read(known, split, console, own_data=own_data)
            scored = [score(k, d, split, console) for k, d in zip(known, data, strict=True)]
            for k, one in zip(known[1:], scored[1:], strict=True):
                check_rows(known[0], k, scored[0].rows, one.rows, own_data=own_data)
            agreed = check_expected(known, [one.verdicts for one in scored], scored[0].rows)
            scored = [replace(one, verdicts=verdicts) for one, verdicts in zip(scored, agreed, strict=True)]
            report = build(known, scored, data[0], split, margins, console)
            roles = [column.role for column in known[0].task.columns if column.kind != "label"]
            for place, comparison_ in enumerate(report["comparisons"], 1):
                found = list(flipped(names[place], scored[0], scored[place], roles))
                if file is not None:
                    file.writelines(json_line(flip) + "\n" for flip in found)
                comparison_["flips"] = [{k: _cut(v) for k, v in flip.items()} for flip in some(found, flips)]
        if folder is not None:
            write(folder, report, console)
        return report
    finally:
        if folder is not None:
            folder.discard_if_empty()


def read(known: Sequence[Known], split: str, console: Console, *, own_data: bool) -> list[Data]:
    """The data as each model reads it, over one set of rows; an FtcliError where they are not the same."""
    found: list[Data] = []
    for one in known:
        data = load(one, split)
        if not found:
            say(one, data, split, console)
        else:
            check_rows(known[0], one, found[0].splits[split], data.splits[split], own_data=own_data)
            say(one, replace(data, notes=()), split, console)
            data = replace(data, splits=found[0].splits)
        found.append(data)
    return found


def score(known: Known, data: Data, split: str, console: Console) -> Scored:
    """The model's answers, its metrics, and what it takes."""
    console.info(f"{known.source.name}:")
    trained = with_weights(known)
    parts = assembled(trained, data, console)
    task, rows, seed = parts.task, parts.data.splits[split], parts.recipe.seed
    examples = examples_of(parts, split, console)
    run_model(task, parts.model, [examples[0]], parts.scoring, 1)  # libraries set themselves up the first time
    began = time.perf_counter()
    predictions, loss = answer(parts, split, examples, console)
    seconds = time.perf_counter() - began
    metrics = task.score(rows, predictions, bootstrap=0, seed=seed).metrics
    if loss is not None:
        metrics = {"loss": loss, **metrics}
    training = training_of(known.source.run)
    facts = {
        "model": known.source.name,
        "metrics": metrics,
        "intervals": {},
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "trained_parameters": training.get("trained_parameters"),
        "size_bytes": size_on_disk(known.source),
        "training": {name: training.get(name) for name in ("seconds", "steps", "peak_memory_bytes")},
        "timing": {"seconds": seconds, "samples_per_second": len(rows) / seconds if seconds else None},
    }
    by_row = known.recipe.objective is None and len(predictions) == len(rows)
    verdicts = task.judge(rows, predictions) if by_row and isinstance(task, Judging) else None
    scorer: Scorer | None = None
    if by_row:
        many = task.score_resamples if isinstance(task, Resampling) else partial(_anew, task, seed)
        scorer = partial(many, rows, predictions)
    return Scored(facts, verdicts, scorer, rows)


def _anew(task: Any, seed: int, rows: Rows, predictions: Sequence[Any], counts: Counts) -> dict[str, Floats]:
    """`Resampling.score_resamples` for a task that has none: every resample scored as a split of its own."""
    import numpy as np

    found: dict[str, list[float]] = {}
    for times in counts:
        drawn = np.repeat(np.arange(len(times)), times).tolist()
        answers = [predictions[row] for row in drawn]
        for name, value in task.score(rows.select(drawn), answers, bootstrap=0, seed=seed).metrics.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items() if len(values) == len(counts)}


def build(
    known: Sequence[Known],
    scored: Sequence[Scored],
    data: Data,
    split: str,
    margins: Sequence[tuple[str, float]],
    console: Console,
) -> dict[str, Any]:
    """compare.json as plain data, but for the rows that flipped."""
    rows, first = scored[0].rows, scored[0].facts
    resampled = resamples_of(scored, known[0].recipe, console)
    for one, drawn in zip(scored, resampled, strict=True):
        bounds = {name: interval(values) for name, values in drawn.items()}
        one.facts["intervals"] = {name: both for name, both in bounds.items() if both is not None}
    found: dict[str, Any] = jsonable(
        {
            "schema": 1,
            "command": "compare",
            "task": known[0].task.name,
            "data": {"name": data.name, "split": split, "rows": len(rows), "fingerprint": rows.fingerprint()},
            "baseline": first["model"],
            "lower_is_better": sorted({n for one in scored for n in one.facts["metrics"] if lower_is_better(n)}),
            "resamples": known[0].recipe.eval.bootstrap if any(resampled) else 0,
            "runs": [one.facts for one in scored],
            "comparisons": [
                against(scored[0], one, resampled[0], drawn)
                for one, drawn in zip(scored[1:], resampled[1:], strict=True)
            ],
            "gates": [
                {
                    "model": one.facts["model"],
                    "run": number,
                    **check_margin(metric, margin, first["metrics"], one.facts["metrics"]),
                }
                for number, one in enumerate(scored[1:], 2)
                for metric, margin in margins
            ],
            "notes": notes_on(known[0], scored),
        }
    )
    return found


def against(baseline: Scored, one: Scored, before: Mapping[str, Floats], after: Mapping[str, Floats]) -> dict[str, Any]:
    """A run less the baseline: differences of their metrics with intervals, and McNemar's test."""
    theirs, own = baseline.facts["metrics"], one.facts["metrics"]
    test = None
    if baseline.verdicts is not None and one.verdicts is not None:
        test = mcnemar([v.right for v in baseline.verdicts], [v.right for v in one.verdicts])
    bounds = {name: interval(after[name] - before[name]) for name in after if name in before}
    differences = {
        name: {"difference": own[name] - theirs[name], "interval": bounds.get(name)} for name in theirs if name in own
    }
    return {"model": one.facts["model"], "differences": differences, "mcnemar": test, "flips": []}


def notes_on(first: Known, scored: Sequence[Scored]) -> list[str]:
    """What there is not, and why; what to bear in mind."""
    if first.recipe.objective is not None:
        return ["no paired tests: a pretrained model's metrics are sums over tokens, not answers to rows"]
    if any(one.verdicts is None for one in scored):
        return [f"no McNemar's test and no flipped rows: {first.task.name} has no right or wrong per row"]
    if len(scored) > 2:
        return ["p-values are of one run and the baseline each, not adjusted for there being several"]
    return []


def resamples_of(scored: Sequence[Scored], recipe: Recipe, console: Console) -> list[dict[str, Floats]]:
    """For each model its metrics on the same resamples of the rows; empty where they cannot be told by row."""
    scorers = [one.scorer for one in scored if one.scorer is not None]
    total = recipe.eval.bootstrap
    if len(scorers) < len(scored) or not total:
        return [{} for _ in scored]
    with console.progress("bootstrap", total, "resamples", keep=False) as bar:
        return resample(scorers, len(scored[0].rows), resamples=total, seed=recipe.seed, done=bar.advance)


def flipped(name: str, baseline: Scored, run: Scored, roles: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows that one of the two has right and the other wrong, in order."""
    pairs = zip(baseline.verdicts or (), run.verdicts or (), strict=True)
    for row, (before, after) in enumerate(pairs):
        if before.right != after.right:
            values = baseline.rows[row]
            yield {
                "model": name,
                "change": "gained" if after.right else "lost",
                "row": row,
                "place": baseline.rows.place(row),
                **{role: values.get(role) for role in roles if isinstance(values.get(role), str)},
                "expected": before.expected,
                "baseline": before.said,
                "prediction": after.said,
            }


def some(flips: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of them: lost rows first, and half of the room for gained ones where there are as many."""
    lost, gained = ([flip for flip in flips if flip["change"] == change] for change in ("lost", "gained"))
    of_lost = max(most - most // 2, most - len(gained))
    shown = lost[:of_lost]
    return [*shown, *gained[: most - len(shown)]]


def _cut(value: Any) -> Any:
    return value[: CUT - 3] + "..." if isinstance(value, str) and len(value) > CUT else value


def write(folder: RunFolder, report: Mapping[str, Any], console: Console) -> None:
    """compare.png, compare.md and, last, compare.json."""
    try:
        write_png(report, folder.path / "compare.png")
    except (ImportError, OSError) as error:
        console.warn(f"compare.png could not be drawn ({error})")
    write_whole(folder.path / "compare.md", comparison.as_markdown(report))
    write_whole(folder.path / "compare.json", dumps(report))
