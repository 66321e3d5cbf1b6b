"""Recipes with stages: what goes where, what is refused and how it is named, and that a chain is read back the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ftcli.errors import UsageError
from ftcli.recipe.json_schema import json_schema
from ftcli.recipe.load import read_recipe, resolve
from ftcli.recipe.schema import Recipe
from ftcli.recipe.stages import Chain, chain_tree, chain_yaml, resolve_run, starting_from
from tests.recipe.test_load import write
from tests.tiny import run_cli

CHAIN = """
model: {name: preset:bert-tiny, config: {hidden_size: 64}}
seed: 7
train: {max_length: 64, epochs: 2}
stages:
  - name: words
    command: pretrain
    data: texts.txt
    objective: mlm
    train: {epochs: 5}
  - name: source
    extends: base.yaml
    train: {epochs: 1}
  - data: small.csv
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "base.yaml", "model: bert-base-cased\ndata: imdb\noptimizer: {lr: 1.0e-4}\ntrain: {epochs: 9}\n")
    return write(tmp_path / "r.yaml", CHAIN)


def chain_of(file: Path, flags: dict[str, Any] | None = None, *assignments: str) -> Chain:
    found = resolve_run(file, flags or {}, assignments)
    assert isinstance(found, Chain)
    return found


def test_what_goes_where(file: Path) -> None:
    """Defaults at the top, below what a stage extends, below its own; the model at the top is the first stage's."""
    chain = chain_of(file)
    assert [(s.name, s.command) for s in chain.stages] == [
        ("words", "pretrain"), ("source", "finetune"), ("finetune", "finetune"),
    ]  # fmt: skip
    words, source, last = (s.recipe for s in chain.stages)
    assert [r.train.epochs for r in (words, source, last)] == [5, 1, 2]
    assert {r.train.max_length for r in (words, source, last)} == {64}
    assert [r.data.name for r in (words, source, last)] == ["texts.txt", "imdb", "small.csv"]
    assert [r.optimizer.lr for r in (words, source, last)] == [None, 1e-4, None]
    assert [r.model.name for r in (words, source, last)] == ["preset:bert-tiny", "bert-base-cased", None]
    assert words.model.config == {"hidden_size": 64}
    assert last.model.config == {}
    assert starting_from(chain.stages[2], "runs/x/stages/2-source", "here").model.name == "runs/x/stages/2-source"
    assert starting_from(chain.stages[1], "runs/x/stages/1-words", "here").model.name == "bert-base-cased"
    assert chain.command == "finetune"


def test_the_command_line(file: Path) -> None:
    """For every stage, for the first, or for the one that is named, which comes last."""
    chain = chain_of(
        file, {"seed": 9, "model.name": "preset:gpt2-tiny", "train.max_steps": 3, "out": "there"},
        "stages.source.train.max_steps=8", "eval.bootstrap=0", "stages.source.method=head",
    )  # fmt: skip
    assert [s.recipe.seed for s in chain.stages] == [9, 9, 9]
    assert [s.recipe.train.max_steps for s in chain.stages] == [3, 8, 3]
    assert [s.recipe.eval.bootstrap for s in chain.stages] == [0, 0, 0]
    assert [s.recipe.method.name for s in chain.stages] == ["full", "head", "full"]
    assert [s.recipe.model.name for s in chain.stages] == ["preset:gpt2-tiny", "bert-base-cased", None]
    assert chain.out == "there"
    assert {s.recipe.out for s in chain.stages} == {None}


def test_a_recipe_without_stages_is_one_run(file: Path) -> None:
    assert isinstance(resolve_run(file.parent / "base.yaml", {}, ()), Recipe)
    assert isinstance(resolve_run(None, {"model.name": "x"}, ()), Recipe)
    with pytest.raises(UsageError, match="a chain of stages"):
        resolve(file)


def test_an_objective_at_the_top_is_for_pretraining(file: Path) -> None:
    write(file, CHAIN.replace("    objective: mlm\n", "") + "objective: clm\n")
    assert [s.recipe.objective for s in chain_of(file).stages] == ["clm", None, None]


def test_read_back_it_is_the_same(file: Path) -> None:
    """Also where stages differ by what is empty in one of them; the last one's settings are where a run has its own."""
    chain = chain_of(file, {}, "stages.words.train.clip=null", "stages.finetune.eval.patience=2")
    again = chain_of(write(file.parent / "again.yaml", chain_yaml(chain)))
    assert again == chain
    assert chain_of(write(file.parent / "third.yaml", chain_yaml(again))) == chain
    own = read_recipe(file.parent / "again.yaml")
    assert (own["data.name"], own["train.epochs"], own["eval.patience"]) == ("small.csv", 2, 2)
    assert own["model.name"] == "preset:bert-tiny"


def test_a_chain_is_extended(file: Path) -> None:
    child = write(file.parent / "child.yaml", "extends: r.yaml\nseed: 1\n")
    assert [s.recipe.seed for s in chain_of(child).stages] == [1, 1, 1]
    assert [s.recipe.data.name for s in chain_of(child).stages] == ["texts.txt", "imdb", "small.csv"]


BAD = [
    ("stages: 3", "'stages' is a list of recipes, not 3", None),
    ("stages: []", "'stages' is a list of recipes, not empty", None),
    ("stages:", "'stages' is a list of recipes, not empty", None),
    ("stages: {a: 1}", "not a mapping", None),
    ("stages: [imdb]", "stage 1 is a mapping of keys to values, not text", None),
    ("stages: [{data: a}, {name: b, train: {epoch: 3}}]", "stage 2 (b): unknown key 'train.epoch'", "train.epochs"),
    ("stages: [{name: b, train: {epochs: many}}]", "stage 1 (b): train.epochs is 'many'", None),
    ("stages: [{name: b, optimizer: {lr: -1}}]", "stage 1 (b): optimizer.lr is -1", None),
    ("stages: [{name: b, command: finetun}]", "stage 1 (b): command is 'finetun'", "finetune"),
    ("stages: [{name: b, command: [x]}]", "stage 1 (b): command is ['x']", None),
    ("stages: [{name: a/b}]", "stage 1: name is 'a/b'; expected letters", None),
    ("stages: [{name: 3}]", "stage 1: name is 3", None),
    ("stages: [{data: a}, {data: b}]", "two stages are called 'finetune'", "name:"),
    ("stages: [{name: b, out: x}]", "stage 1 (b): 'out' is the chain's", None),
    ("stages: [{name: b, stages: []}]", "stage 1 (b): a stage has no stages", None),
    ("stages: [{name: b, extends: no.yaml}]", "no recipe at", None),
    ("stages: [{name: b, extends: [x]}]", "stage 1 (b): extends names another recipe file", None),
    ("stages: [{name: b, extends: r.yaml}]", "stage 1 (b): a stage has no stages", None),
    ("stages: [{name: b, model: {trust_remote_code: true}}]", "stage 1 (b): model.trust_remote_code", "--trust"),
    ("stages: [{name: b, objective: mlm}]", "stage 1 (b): 'objective' is what pretraining has", "pretrain"),
    ("stage: []", "unknown key 'stage'", None),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[b[0][:60] for b in BAD])
def test_bad_stages(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    if "extends: r.yaml" in text:  # the file itself has stages
        write(tmp_path / "r.yaml", "stages: [{name: x}]")
        file = write(tmp_path / "s.yaml", text)
    else:
        file = write(tmp_path / "r.yaml", text)
    with pytest.raises(UsageError) as caught:
        resolve_run(file, {}, ())
    assert message in caught.value.message
    assert file.name in caught.value.message or "no recipe at" in message
    if hint is not None:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("flags", "assignments", "message", "hint"),
    [
        (
            {"train.epochs": 3},
            (),
            "--epochs: which stage is this for? There are words, source, finetune",
            "stages.finetune",
        ),
        ({"data.name": "x"}, (), "--data: which stage", "stages.finetune.data.name"),
        ({}, ("optimizer.lr=1",), "--set optimizer.lr: which stage", "stages.finetune.optimizer.lr"),
        ({}, ("task=x",), "--set task: which stage", None),
        ({}, ("stages.sorce.seed=1",), "no stage is called 'sorce'", "source"),
        ({}, ("stages.source.sede=1",), "unknown key 'sede'", "seed"),
        ({}, ("stages.source.out=x",), "the folder is the chain's", "--out"),
        ({}, ("stages.source",), "expected KEY=VALUE", None),
    ],
)
def test_bad_command_lines(
    file: Path, flags: dict[str, Any], assignments: tuple[str, ...], message: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run(file, flags, assignments)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_the_schema_covers_stages(file: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(yaml.safe_load(CHAIN))
    assert check.is_valid(chain_tree(chain_of(file)))
    for bad in (
        "[]",
        "[{train: {epoch: 1}}]",
        "[{command: finetun}]",
        "[{out: x}]",
        "[{stages: []}]",
        "[{train: {epochs: 0}}]",
    ):
        assert not check.is_valid(yaml.safe_load(f"stages: {bad}")), bad


def test_shown(file: Path) -> None:
    done = run_cli("recipe", "show", str(file), "--set", "stages.source.seed=3")
    assert done.code == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert [stage["name"] for stage in shown["stages"]] == ["words", "source", "finetune"]
    assert shown["stages"][1]["seed"] == 3
