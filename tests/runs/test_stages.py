"""A chain of stages as one run: its folder and use, killed and gone on with, taken from the cache, and its mistakes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.forked import start
from tests.runs.test_interruption import sends
from tests.runs.test_resume import records
from tests.tiny import Done, run_cli

RECIPE = """
model: {model}
train: {{max_steps: 6, batch_size: 8, max_length: 32}}
checkpoint: {{every: 2}}
eval: {{every: 3, bootstrap: 0}}
stage_cache: {cache}
stages:
  - name: words
    command: pretrain
    data: {reviews}
    objective: mlm
  - name: source
    data: {reviews}
    train: {{max_steps: 8}}
  - name: target
    data: {target}
"""
FOLDERS = ("1-words", "2-source", "3-target")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, reviews_dir: Path) -> Path:
    """The same reviews by other names, but for one label."""
    folder = tmp_path_factory.mktemp("target") / "target"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        text = (reviews_dir / f"{split}.jsonl").read_text(encoding="utf-8")
        (folder / f"{split}.jsonl").write_text(text.replace('"negative"', '"dull"'), encoding="utf-8")
    return folder


@pytest.fixture
def recipe(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path) -> Path:
    return written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target)


def written(file: Path, model: Path, reviews: Path, target: Path, cache: str = "none") -> Path:
    file.write_text(RECIPE.format(model=model, reviews=reviews, target=target, cache=cache), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path, target: Path
) -> tuple[Path, Done]:
    """An uninterrupted chain."""
    folder = tmp_path_factory.mktemp("whole")
    file = written(folder / "chain.yaml", tiny_bert_dir, reviews_dir, target)
    done = run_cli("finetune", str(file), "--out", "run", cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "run", done


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def assert_equal(run: Path, whole: Path) -> None:
    for folder in FOLDERS:
        one, two = run / "stages" / folder, whole / "stages" / folder
        assert weights(one) == weights(two)
        assert records(one) == records(two)
    assert weights(run) == weights(whole)
    one, two = (json.loads((r / "report.json").read_text()) for r in (run, whole))
    assert [one[k] for k in ("metrics", "classes", "confusion_matrix", "stages")] == [
        two[k] for k in ("metrics", "classes", "confusion_matrix", "stages")
    ]


def test_the_folder_and_what_is_said(whole: tuple[Path, Done]) -> None:
    run, done = whole
    assert sorted(p.name for p in (run / "stages").iterdir()) == list(FOLDERS)
    assert weights(run) == weights(run / "stages" / "3-target")
    assert json.loads((run / "report.json").read_text())["data"]["split"] == "test"
    for number, name in enumerate(("words", "source", "target"), start=1):
        assert f"stage {number} ({name}) of 3: " in done.stderr
    assert "note: the head keeps its rows for positive; fresh for dull; without negative" in done.stderr
    assert "run       run  (f1_macro" in done.stderr
    stages = json.loads((run / "report.json").read_text())["stages"]
    assert [(s["name"], s["command"], s["split"]) for s in stages] == [
        ("words", "pretrain", "validation"), ("source", "finetune", "test"), ("target", "finetune", "test"),
    ]  # fmt: skip
    assert all(s["metrics"]["loss"] > 0 for s in stages)


def test_it_is_used_like_any_run(whole: tuple[Path, Done], tmp_path: Path, target: Path) -> None:
    run = str(whole[0])
    scored = run_cli("evaluate", run, "--json", "--set", "eval.bootstrap=0", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    own = json.loads((whole[0] / "report.json").read_text())
    assert json.loads(scored.stdout)["metrics"] == own["metrics"]
    assert json.loads(scored.stdout)["data"]["name"] == str(target)
    seen = run_cli("evaluate", run, "--split", "train", cwd=tmp_path)
    assert "is what this run was trained on" in seen.stderr
    said = run_cli("predict", run, "-", "--quiet", cwd=tmp_path, stdin="a good film\n")
    assert json.loads(said.stdout)["prediction"] in ("dull", "positive")
    more = run_cli("finetune", "--model", run, "--data", str(target), "--max-steps", "1", "--out", "more", cwd=tmp_path)
    assert more.code == 0, more.stderr
    assert "starts fresh" not in more.stderr
    earlier = run_cli("predict", f"{run}/stages/2-source", "-", "--quiet", cwd=tmp_path, stdin="a good film\n")
    assert json.loads(earlier.stdout)["prediction"] in ("negative", "positive")


def test_its_recipe_repeats_it(whole: tuple[Path, Done], tmp_path: Path) -> None:
    done = run_cli("finetune", str(whole[0] / "recipe.yaml"), "--out", "run", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert_equal(tmp_path / "run", whole[0])
    assert (tmp_path / "run" / "recipe.yaml").read_text() == (whole[0] / "recipe.yaml").read_text()


STEP = "ftcli.engine.loop:Loop"
PLACES = {
    "the first stage": (signal.SIGTERM, STEP, "_forward_backward", 3),
    "writing its model": (signal.SIGTERM, "ftcli.runs.results", "model_card", 1),
    "loading for the second": (signal.SIGUSR1, "ftcli.runs.parts", "load_data", 1),
    "the second stage": (signal.SIGTERM, STEP, "_forward_backward", 11),
    "killed in the second": (signal.SIGKILL, STEP, "_forward_backward", 12),
    "killed in the last": (signal.SIGKILL, STEP, "_forward_backward", 19),
    "killed before the result": (signal.SIGKILL, "ftcli.runs.chain", "publish", 1),
    "killed in the result": (signal.SIGKILL, "ftcli.runs.chain", "link_or_copy", 2),
    "Ctrl-C in the second": (signal.SIGINT, STEP, "_forward_backward", 11),
}


@pytest.mark.parametrize("place", PLACES)
def test_stopped_and_gone_on_with(place: str, whole: tuple[Path, Done], tmp_path: Path, recipe: Path) -> None:
    number, *where = PLACES[place]
    asked = ("finetune", str(recipe), "--out", "run")
    child = start(*asked, cwd=tmp_path, before=sends(number, *where))
    code = child.wait()
    expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}
    assert code == expected.get(number, 75), child.said()
    if number != signal.SIGKILL:
        assert "--resume --out run\n" in child.said(), "the hint names the folder of the whole chain"
    if "second" in place and number != signal.SIGKILL:
        assert "error: stage 2 (source): stopped" in child.said()
    assert not (tmp_path / "run" / "report.json").exists()
    resumed = run_cli("finetune", "--out", "run", "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert_equal(tmp_path / "run", whole[0])
    again = run_cli(*asked, "--resume", "--json", cwd=tmp_path)
    assert "run is finished already; nothing to resume" in again.stderr
    assert json.loads(again.stdout)["stages"]


def test_a_budget_ends_it_between_stages_too(tmp_path: Path, recipe: Path, whole: tuple[Path, Done]) -> None:
    asked = ("finetune", str(recipe))
    none = run_cli(*asked, "--budget", "0.001s", cwd=tmp_path)
    assert none.code == 75, none.stderr
    assert not (tmp_path / "runs").exists(), "nothing was done, and nothing is left"
    child = start(*asked, cwd=tmp_path, before=sends(signal.SIGTERM, STEP, "_forward_backward", 9))
    assert child.wait() == 75, child.said()
    late = run_cli(*asked, "--resume", "--budget", "0.001s", cwd=tmp_path)
    assert late.code == 75
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert_equal(tmp_path / "runs" / "finetune-tiny-bert-target", whole[0])


def test_the_last_stage_trains_for_longer(whole: tuple[Path, Done], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    asked = ("finetune", "--out", "run", "--resume", "--set", "stages.target.train.max_steps=9")
    done = run_cli(*asked, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "train.max_steps is 9 now, 6 before" in done.stderr
    assert weights(tmp_path / "run") == weights(tmp_path / "run" / "stages" / "3-target")
    assert run_cli(*asked, cwd=tmp_path).stderr.count("finished already") == 1


def kept(done: Done) -> int:
    return done.stderr.count("nothing to train: kept from before")


def test_the_cache(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path, whole: tuple[Path, Done]
) -> None:
    """What did not change is taken from it, wherever it lies now; what did is trained, and all that follows."""
    data = Path(shutil.copytree(reviews_dir, tmp_path / "reviews"))
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, data, target, str(tmp_path / "cache"))

    def run(name: str, *more: str) -> Done:
        done = run_cli("finetune", str(file), "--out", name, *more, cwd=tmp_path)
        assert done.code == 0, done.stderr
        return done

    assert kept(run("first")) == 0
    last = run("last", "--set", "stages.target.optimizer.lr=1e-3")
    assert kept(last) == 2
    assert str(tmp_path / "cache") in last.stderr
    assert weights(tmp_path / "last" / "stages" / "2-source") == weights(tmp_path / "first" / "stages" / "2-source")
    assert weights(tmp_path / "last") != weights(tmp_path / "first")
    assert kept(run("same", "--set", "log.every=1", "--set", "checkpoint.every=3")) == 3, "nothing computed differs"
    assert_equal(tmp_path / "same", tmp_path / "first")
    assert weights(tmp_path / "same") == weights(whole[0]), "and nothing does from a chain without the cache"
    middle = run("middle", "--set", "stages.source.train.max_steps=7")
    assert kept(middle) == 1
    moved = data.rename(tmp_path / "moved")
    written(file, tiny_bert_dir, moved, target, str(tmp_path / "cache"))
    assert kept(run("moved-data")) == 3
    edited = moved / "train.jsonl"
    edited.write_text(edited.read_text().replace("film", "movie", 1))
    assert kept(run("edited")) == 0
    assert kept(run("off", "--set", "stage_cache=none")) == 0


def test_a_damaged_entry_is_trained_again(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path) -> None:
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target, str(tmp_path / "cache"))
    assert run_cli("finetune", str(file), "--out", "first", cwd=tmp_path).code == 0
    entries = sorted((tmp_path / "cache").iterdir())
    assert len(entries) == 3
    damage = {
        0: lambda entry: (entry / "model" / "model.safetensors").write_bytes(b"x"),
        1: lambda entry: (entry / "manifest.json").write_text("[]"),
        2: lambda entry: (entry / "report.json").unlink(),
    }
    for number, entry in enumerate(entries):
        damage[number](entry)
    again = run_cli("finetune", str(file), "--out", "again", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert kept(again) == 0
    assert_equal(tmp_path / "again", tmp_path / "first")
    assert kept(run_cli("finetune", str(file), "--out", "third", cwd=tmp_path)) == 3


def test_what_a_stage_takes_from_the_cache_is_its_own(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path
) -> None:
    """Training it for longer changes nothing of what the cache has."""
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target, str(tmp_path / "cache"))
    for name in ("first", "second"):
        assert run_cli("finetune", str(file), "--out", name, cwd=tmp_path).code == 0
    longer = run_cli(
        "finetune", "--out", "second", "--resume", "--set", "stages.target.train.max_steps=9", cwd=tmp_path
    )
    assert longer.code == 0, longer.stderr
    third = run_cli("finetune", str(file), "--out", "third", cwd=tmp_path)
    assert kept(third) == 3
    assert_equal(tmp_path / "third", tmp_path / "first")


def test_killed_while_it_takes_a_stage_from_the_cache(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path
) -> None:
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target, str(tmp_path / "cache"))
    assert run_cli("finetune", str(file), "--out", "first", cwd=tmp_path).code == 0
    asked = ("finetune", str(file), "--out", "again")
    child = start(*asked, cwd=tmp_path, before=sends(signal.SIGKILL, "ftcli.runs.shelf", "write_recipe", 2))
    assert child.wait() == -signal.SIGKILL
    assert (tmp_path / "again" / "stages" / "2-source" / "model").is_dir()
    assert not (tmp_path / "again" / "stages" / "2-source" / "recipe.yaml").exists()
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert kept(resumed) == 2
    assert_equal(tmp_path / "again", tmp_path / "first")


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_mistakes_are_found_before_the_first_stage(tmp_path: Path, recipe: Path, target: Path) -> None:
    cases: list[tuple[str, str, str]] = [
        (f"data: {target}", "data: nowhere.csv", "stage 3 (target): data 'nowhere.csv' does not exist"),
        (f"data: {target}", "seed: 1", "stage 3 (target): no data given"),
        (f"data: {target}", f"data: {target}\n    method: loar", "stage 3 (target): unknown method 'loar'"),
        (f"data: {target}", f"data: {target}\n    model: ./nothing", "stage 3 (target): no model at './nothing'"),
        ("objective: mlm", "objective: mml", "stage 1 (words): unknown objective 'mml'"),
        ("model: ", "seed: 1 #", "stage 1 (words): no model given"),
    ]
    text = recipe.read_text()
    for old, new, message in cases:
        recipe.write_text(text)
        change(recipe, old, new)
        for more in ((), ("--dry-run",)):
            done = run_cli("finetune", str(recipe), *more, cwd=tmp_path)
            assert done.code == 2, done.stderr
            assert f"error: {message}" in done.stderr
            assert not (tmp_path / "runs").exists()


def test_a_mistake_in_a_later_stage_names_it(tmp_path: Path, recipe: Path, target: Path) -> None:
    bad = Path(shutil.copytree(target, tmp_path / "bad"))
    (bad / "train.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": 3\n')
    change(recipe, f"data: {target}", f"data: {bad}")
    asked = ("finetune", str(recipe), "--out", "run")
    done = run_cli(*asked, cwd=tmp_path)
    assert done.code == 3, done.stderr
    assert "error: stage 3 (target): " in done.stderr
    assert "train.jsonl" in done.stderr
    assert sorted(p.name for p in (tmp_path / "run" / "stages").iterdir()) == ["1-words", "2-source"]
    shutil.copytree(target, bad, dirs_exist_ok=True)
    mended = run_cli(*asked, "--resume", cwd=tmp_path)
    assert mended.code == 0, mended.stderr
    assert mended.stderr.count("finished already") == 2


def test_another_chain_or_run_is_refused(whole: tuple[Path, Done], tmp_path: Path, recipe: Path, target: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run", symlinks=True)
    resume = ("--out", "run", "--resume")
    plain = ("finetune", "--model", "builtin:bert-tiny-en", "--data", str(target))
    cases: list[tuple[tuple[str, ...], str]] = [
        (("finetune", str(recipe), *resume, "--seed", "5"), "stage 2 (source): seed: 42 before, 5 now"),
        (("finetune", str(recipe), "--out", "run"), "already holds a run"),
        ((*plain, *resume), "holds a chain of stages, not a single run"),
        (("pretrain", str(recipe)), "the last stage of"),
        (("verify-resume", str(recipe)), "a chain of stages, and this takes one run"),
        (("finetune", str(recipe), "--lr", "1"), "--lr: which stage is this for?"),
    ]
    for asked, message in cases:
        done = run_cli(*asked, cwd=tmp_path)
        assert done.code == 2, done.stderr
        assert message in done.stderr
    change(recipe, "name: source", "name: sauce")
    renamed = run_cli("finetune", str(recipe), *resume, cwd=tmp_path)
    assert renamed.code == 2
    assert "source (finetune), target (finetune) before, words (pretrain), sauce" in renamed.stderr
    assert (tmp_path / "run" / "report.json").is_file()
    assert weights(tmp_path / "run") == weights(whole[0])
    shutil.copytree(whole[0] / "stages" / "2-source", tmp_path / "single", symlinks=True)
    single = run_cli("finetune", str(recipe), "--out", "single", "--resume", cwd=tmp_path)
    assert single.code == 2
    assert "'single' holds a single run" in single.stderr


def test_a_recipe_of_pretraining_is_not_fine_tuned(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    asked = ("--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--set", "objective=mlm")
    done = run_cli("finetune", *asked, cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert "hint: ftcli pretrain" in done.stderr


def test_dry_run_looks_at_all_stages(tmp_path: Path, recipe: Path) -> None:
    done = run_cli("finetune", str(recipe), "--dry-run", "--json", "--limit", "20", cwd=tmp_path)
    assert done.code == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert [(f["name"], f["task"], f["steps"]) for f in facts["stages"]] == [
        ("words", "mlm", 3), ("source", "text-classification", 8), ("target", "text-classification", 6),
    ]  # fmt: skip
    assert [f["model"] for f in facts["stages"][1:]] == ["stage 1", "stage 2"]
    assert facts["stages"][2]["labels"] == ["dull", "positive"]
    assert facts["stages"][1]["lr"] == 2e-4, "that of a pretrained model"
    assert not (tmp_path / "runs").exists()


def test_stages_of_a_method_that_keeps_its_base(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path
) -> None:
    """The head is carried from them, the result finds its base also where the folder moves, and none is cached."""
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target, str(tmp_path / "cache"))
    lora = ("--set", "stages.source.method=lora", "--set", "stages.target.method=lora")
    looked = run_cli("finetune", str(file), *lora, "--dry-run", cwd=tmp_path)
    assert looked.code == 0, looked.stderr
    done = run_cli("finetune", str(file), *lora, "--out", "run", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "the head keeps its rows for positive; fresh for dull; without negative" in done.stderr
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert not (tmp_path / "run" / "model" / "model.safetensors").exists()
    own = json.loads((tmp_path / "run" / "report.json").read_text())["metrics"]
    (tmp_path / "run").rename(tmp_path / "moved")
    scored = run_cli("evaluate", "moved", "--json", "--set", "eval.bootstrap=0", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    assert json.loads(scored.stdout)["metrics"] == own
