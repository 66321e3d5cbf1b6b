"""A teacher and its student as stages of a chain."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.forked import start
from tests.runs.test_interruption import sends
from tests.tiny import run_cli

RECIPE = """
model: {model}
data: {reviews}
train: {{max_steps: 8, batch_size: 8, max_length: 32}}
checkpoint: {{every: 2}}
eval: {{every: 4, bootstrap: 0}}
teacher: {{cache: {cache}/answers}}
stage_cache: {cache}/stages
student: {{layers: 1}}
stages:
  - name: big
  - name: words
    command: pretrain
    objective: mlm
    train: {{max_steps: 2}}
  - name: small
    command: distill
    teacher: {teacher}
    distill: {{hidden: 1}}
"""


@pytest.fixture
def recipe(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> Path:
    """Fine-tuned, pretrained further, and distilled: the student is cut out of the second stage."""
    file = tmp_path / "chain.yaml"
    text = RECIPE.format(model=tiny_bert_dir, reviews=reviews_dir, cache=tmp_path / "cache", teacher="big")
    file.write_text(text, encoding="utf-8")
    return file


def test_a_teacher_by_the_name_of_its_stage(recipe: Path, tmp_path: Path, reviews_dir: Path) -> None:
    done = run_cli("distill", str(recipe), "--out", "run", cwd=tmp_path)
    assert done.code == 0, done.stderr
    run = tmp_path / "run"
    report = json.loads((run / "report.json").read_text())
    assert [stage["command"] for stage in report["stages"]] == ["finetune", "pretrain", "distill"]
    teacher, student = report["distillation"]["models"]
    assert teacher["name"].endswith("stages/1-big")
    assert student["name"].endswith("stages/2-words")
    assert (run / "differences.jsonl").is_file()
    whole, small = (json.loads((run / place / "model" / "config.json").read_text()) for place in ("stages/1-big", "."))
    assert (whole["num_hidden_layers"], small["num_hidden_layers"]) == (2, 1), "student.* is for what distills"
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]
    again = run_cli("distill", "run/recipe.yaml", "--out", "again", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert again.stderr.count("kept from before") == 3, "wherever its teacher lies, it is the same stage"
    other = run_cli("distill", str(recipe), "--out", "other", "--set", "distill.temperature=4", cwd=tmp_path)
    assert other.stderr.count("kept from before") == 2
    models = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("run", "again", "other")]
    assert models[0] == models[1] != models[2]
    resumed = run_cli("distill", "--out", "run", "--resume", cwd=tmp_path)
    assert "nothing to resume" in resumed.stderr


def test_a_chain_goes_on_in_the_stage_that_distills(recipe: Path, tmp_path: Path) -> None:
    uncached = ("--set", "stage_cache=none")
    whole = run_cli("distill", str(recipe), "--out", "whole", *uncached, cwd=tmp_path)
    assert whole.code == 0, whole.stderr
    child = start("distill", str(recipe), "--out", "parts", *uncached, cwd=tmp_path,
                  before=sends(signal.SIGTERM, "ftcli.engine.loop:Loop", "_forward_backward", 15))  # fmt: skip
    assert child.wait() == 75, child.said()
    assert (tmp_path / "parts" / "stages" / "3-small" / "checkpoints").is_dir()
    resumed = run_cli("distill", "--out", "parts", "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    one, other = ((tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("whole", "parts"))
    assert one == other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"teacher: big": "teacher: bgi"}, "stage 3 (small): model 'bgi'"),
        ({"distill: {hidden: 1}": "distill: {until: accuracy >= 1}"}, "a stage is one run"),
        ({"teacher: big": "teacher: words", "student: {layers: 1}": "seed: 1"}, "stage 3 (small): no student given"),
    ],
)
def test_what_is_known_before_the_first_stage(
    recipe: Path, tmp_path: Path, changes: dict[str, str], said: str | None
) -> None:
    for old, new in changes.items():
        recipe.write_text(recipe.read_text().replace(old, new))
    done = run_cli("distill", str(recipe), "--out", "run", "--dry-run", cwd=tmp_path)
    assert done.code == (0 if said is None else 2), done.stderr
    assert said is None or said in done.stderr
    assert not (tmp_path / "run").exists()
    refused = run_cli("distill", str(recipe), "--student", "preset:bert-tiny", "--out", "run", cwd=tmp_path)
    assert "which stage" in refused.stderr
