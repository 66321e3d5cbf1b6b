"""Every table entry resolves, and tables stay lazy."""

from __future__ import annotations

import pytest

from ftcli.engine.optim import OPTIMIZERS
from ftcli.engine.regularizers import REGULARIZERS
from ftcli.engine.schedule import SCHEDULES
from ftcli.errors import UsageError
from ftcli.metrics import METRICS
from ftcli.models.methods import METHODS
from ftcli.objectives import OBJECTIVES
from ftcli.recipe.load import build
from ftcli.recipe.regularize import RegularizeRecipe
from ftcli.recipe.stages import COMMANDS
from ftcli.registry import Table
from ftcli.reports import REPORTS
from ftcli.tasks import TASKS
from ftcli.trackers import TRACKERS

TABLES = [TASKS, OBJECTIVES, METHODS, METRICS, TRACKERS, REPORTS, OPTIMIZERS, SCHEDULES, REGULARIZERS]
ENTRIES = [(table, name) for table in TABLES for name in table]


def test_no_table_is_empty() -> None:
    assert all(len(table) >= 1 for table in TABLES)
    assert len(ENTRIES) >= 43


@pytest.mark.parametrize(("table", "name"), ENTRIES, ids=lambda v: v if isinstance(v, str) else v.kind)
def test_entry_resolves(table: Table, name: str) -> None:
    assert callable(table.part(name))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_meets_the_contract(name: str) -> None:
    task = TASKS.part(name)
    assert task.name == name
    assert task.main_metric
    roles = [column.role for column in task.columns]
    assert roles
    assert len(set(roles)) == len(roles)
    for method in ("fit_labels", "adopt", "check_rows", "build_model", "load_model", "encode", "collate", "counts",
                   "forward", "losses", "decode", "score"):  # fmt: skip
        assert callable(getattr(task, method)), method


def test_every_regulariser_is_a_key_of_the_recipe() -> None:
    for name in REGULARIZERS:
        assert not getattr(RegularizeRecipe(), name), f"{name} is off unless asked for"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_stage_knows_its_steps(name: str) -> None:
    recipe = build({"teacher.name": ("t", ""), "model.name": ("m", ""), "data.name": ("d", "")})
    given, steps = COMMANDS.part(name)(recipe)
    assert given == recipe
    assert callable(steps.assemble)
    assert callable(steps.story)


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown task 'text-clasification'") as caught:
        TASKS.part("text-clasification")
    assert str(caught.value.hint).startswith("did you mean 'text-classification' or '")


def test_looking_up_names_imports_nothing() -> None:
    table = Table("thing", {"broken": "no.such.module:X"})
    assert list(table) == ["broken"]
    assert table.check("broken") == "broken"
    with pytest.raises(ModuleNotFoundError):
        table.part("broken")
