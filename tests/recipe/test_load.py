"""Recipes: order of precedence, types and bounds, did-you-mean, extends, environment variables, round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcli.errors import UsageError
from ftcli.recipe.json_schema import json_schema
from ftcli.recipe.keys import keys, sections
from ftcli.recipe.load import check_value, replace, resolve, to_tree, to_yaml
from ftcli.recipe.schema import Recipe


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_precedence(tmp_path: Path) -> None:
    file = write(tmp_path / "r.yaml", "optimizer: {lr: 1.0e-4}\ntrain: {epochs: 2, batch_size: 8}\nseed: 1\n")
    recipe = resolve(file, {"train.batch_size": 4, "seed": 2}, ["seed=3"])
    assert (recipe.optimizer.lr, recipe.train.epochs, recipe.train.batch_size, recipe.seed) == (1e-4, 2.0, 4, 3)
    assert recipe.schedule.name == "linear"


def test_sections_by_their_name(tmp_path: Path) -> None:
    recipe = resolve(write(tmp_path / "r.yaml", "model: bert-base-cased\ndata: imdb\nschedule: cosine\n"))
    assert (recipe.model.name, recipe.data.name, recipe.schedule.name) == ("bert-base-cased", "imdb", "cosine")


def test_extends_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "here")
    monkeypatch.setenv("LR", "1e-4")
    write(tmp_path / "base.yaml", "train: {epochs: 5, batch_size: 4}\nmodel: a\n")
    file = write(tmp_path / "r.yaml", "extends: base.yaml\nmodel: b-${env:WHERE}\noptimizer: {lr: '${env:LR}'}\n")
    recipe = resolve(file)
    assert (recipe.model.name, recipe.train.epochs, recipe.train.batch_size) == ("b-here", 5.0, 4)
    assert recipe.optimizer.lr == 1e-4


def test_environment_is_used_only_where_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEED", "FTCLI_SEED", "seed", "WHERE"):
        monkeypatch.setenv(name, "7")
    assert resolve() == Recipe()
    assert resolve(None, {}, ["model=$WHERE"]).model.name == "$WHERE"


def test_several_at_once_by_set() -> None:
    assert resolve(None, {}, ["model.config={hidden_size: 64, hidden_act: relu}"]).model.config == {
        "hidden_size": 64, "hidden_act": "relu",
    }  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    recipe = resolve(None, {"model.name": "x"}, ["model.config.hidden_size=64", "optimizer.lr=3e-5", "train.clip=null"])
    assert resolve(write(tmp_path / "r.yaml", to_yaml(recipe))) == recipe
    assert replace(recipe, optimizer__lr=1.0).optimizer.lr == 1.0
    assert replace(recipe).model.config == {"hidden_size": 64}


BAD = [
    ("epochs: 3", "unknown key 'epochs'", "train.epochs"),
    ("train: {epoch: 3}", "unknown key 'train.epoch'", "train.epochs"),
    ("optimiser: {lr: 1}", "unknown key 'optimiser'", "optimizer"),
    ("train: {epochs: many}", "train.epochs is 'many'; expected a number or null", None),
    ("train: {batch_size: 1.5}", "train.batch_size is 1.5; expected a whole number", None),
    ("train: {batch_size: 0}", "expected at least 1", None),
    ("train: {batch_size: true}", "train.batch_size is True", None),
    ("train: {precision: fp8}", "'auto' or 'fp32' or 'bf16' or 'fp16'", None),
    ("optimizer: {lr: -1}", "expected above 0", None),
    ("optimizer: {lr: .inf}", "expected a finite number", None),
    ("data: {validation_fraction: 1.0}", "expected below 1", None),
    ("regularize: 3", "'regularize' holds keys, not 3", None),
    ("train: [1, 2]", "'train' holds keys, not a list", None),
    ("- a\n- b", "a recipe is a mapping of keys to values, not a list", None),
    ("just text", "a recipe is a mapping", None),
    ("model: a\nmodel: b", "key 'model' is given twice", None),
    ("a: &x 1\nb: *x", "aliases", None),
    ("model: {name: !!python/object/apply:os.system [ls]}", "not valid YAML", None),
    ("model: [unclosed", "line", None),
    ("model: ${env:NOT_SET_ANYWHERE}", "environment variable NOT_SET_ANYWHERE is not set", "export"),
    ("extends: nowhere.yaml", "no recipe at", None),
    ("extends: r.yaml", "extends itself", None),
    ("extends: [a]", "extends names another recipe file", None),
    ("seed: -1", "expected at least 0", None),
    ("model: {config: 3}", "'model.config' holds keys", None),
    ("seed:", "seed is empty", None),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[b[0][:40] for b in BAD])
def test_bad_recipe(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    file = write(tmp_path / "r.yaml", text)
    with pytest.raises(UsageError) as caught:
        resolve(file)
    assert message in caught.value.message
    assert "extends: no" in text or "r.yaml" in caught.value.message
    if hint is not None:
        assert hint in (caught.value.hint or "")


def test_bad_files(tmp_path: Path) -> None:
    write(tmp_path / "train.yaml", "seed: 1")
    with pytest.raises(UsageError, match="no recipe at") as caught:
        resolve(tmp_path / "trian.yaml")
    assert "train.yaml" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="is a folder"):
        resolve(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(UsageError, match="not UTF-8"):
        resolve(tmp_path / "latin.yaml")
    with pytest.raises(UsageError, match="at most"):
        resolve(write(tmp_path / "big.yaml", "#" * 1_100_000))
    with pytest.raises(UsageError, match="not valid YAML"):
        resolve(write(tmp_path / "deep.yaml", "[" * 5000))


def test_every_key_has_help_and_a_valid_default() -> None:
    table = keys()
    assert len(table) >= 45
    for key in table.values():
        assert key.help.endswith((".", ":")) or key.help, key.path
        assert len(key.help) > 10, key.path
        if not key.free:
            assert check_value(key, key.default, "default") == key.default if key.default is not None else True
    assert {"model", "data", "train", "model.tokenizer"} <= sections()


def test_json_schema_agrees_with_the_loader(tmp_path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(to_tree(Recipe()))
    assert check.is_valid({"model": "bert-base-cased", "extends": "base.yaml"})
    assert not check.is_valid({"train": {"epoch": 3}})
    assert not check.is_valid({"train": {"batch_size": 0}})
    assert not check.is_valid({"train": {"precision": "fp8"}})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*sorted(sections()), "seed", "x"]), VALUES, max_size=4))
def test_any_tree_gives_a_recipe_or_a_usage_error(tmp_path_factory: Any, tree: dict[str, Any]) -> None:
    file = tmp_path_factory.mktemp("r") / "r.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    try:
        recipe = resolve(file)
    except UsageError as error:
        assert error.message
    else:
        assert isinstance(recipe, Recipe)
