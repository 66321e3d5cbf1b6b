"""What every task owes its users, whichever it is: one suite over the table of tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ftcli.engine.evaluate import run_model
from ftcli.errors import Stopped
from ftcli.recipe.load import build
from ftcli.runs import finetune
from ftcli.runs.trained import inherited, open_trained
from ftcli.tasks import TASKS
from ftcli.trackers.console import Console
from tests.tasks.samples import SAMPLES, Sample
from tests.tiny import KINDS, Done, run_cli, tiny_model

ADAPTABLE = sorted(name for name in SAMPLES if SAMPLES[name].adaptable)
DISTILLABLE = sorted(name for name in TASKS if hasattr(TASKS.part(name), "soft"))
TEXTS = sorted(name for name in SAMPLES if SAMPLES[name].model == "bert")


@dataclass(frozen=True)
class Learnt:
    """A task's sample, its data and a run on it."""

    name: str
    sample: Sample
    model: str
    data: Path
    run: Path

    def finetune(self, out: Path, data: Path, *more: str) -> Done:
        options = [*self.sample.options, *more]
        return run_cli("finetune", "--model", self.model, "--data", str(data), "--out", str(out), *options)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path) -> Any:
    """Task -> what was learnt of its sample, each trained once, when it is first asked for."""
    found: dict[str, Learnt] = {}

    def of(name: str) -> Learnt:
        if name not in found:
            sample, folder = SAMPLES[name], tmp_path_factory.mktemp(name)
            train = sample.rows(24, 0)
            data = sample.data(folder / "data", train=train, validation=train, test=sample.rows(16, 2))
            model = str(tiny_bert_dir) if sample.model == "bert" else f"preset:{sample.model}"
            if sample.model in KINDS and sample.model != "bert":
                model = str(tiny_model(sample.model, folder / "model"))
            found[name] = Learnt(name, sample, model, data, folder / "run")
            done = found[name].finetune(folder / "run", data)
            assert done.code == 0, done.stderr
        return found[name]

    return of


def metrics(done: Done) -> dict[str, float]:
    assert done.code == 0, done.stderr
    values: dict[str, float] = json.loads(done.stdout)["metrics"]
    return values


def test_every_task_has_a_sample() -> None:
    assert set(SAMPLES) == set(TASKS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_learns_its_rows_and_is_the_same_after_saving(name: str, learnt: Any, tmp_path: Path) -> None:
    """Found by itself, overfitted, saved and read back: the same scores, and those of rows learnt by heart."""
    it = learnt(name)
    report = json.loads((it.run / "report.json").read_text(encoding="utf-8"))
    assert report["task"] == name, "--task auto finds it"
    again = metrics(run_cli("evaluate", str(it.run), "--data", str(it.data), "--json", "-q"))
    assert again == pytest.approx(report["metrics"], rel=1e-5, nan_ok=True)
    assert it.sample.metric in report["intervals"]
    by_heart = run_cli("evaluate", str(it.run), "--data", str(it.data), "--split", "train", "--json", "-q")
    assert metrics(by_heart)[it.sample.metric] >= it.sample.least
    folder = run_cli("evaluate", str(it.run / "model"), "--data", str(it.data), "--json", "-q")
    assert metrics(folder) == pytest.approx(report["metrics"], rel=1e-5), "the model folder says what it is for"
    for file, sign in (("report.txt", it.sample.metric.split("_")[0]), ("report.md", "| metric |")):
        assert sign in (it.run / file).read_text(encoding="utf-8")
    assert (it.run / "model" / "README.md").is_file()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_predicts_records_in_order(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)
    rows = it.sample.rows(6, 3)
    file = it.sample.write([{"n": n, **row} for n, row in enumerate(rows)], tmp_path / f"in{it.sample.suffix}")
    done = run_cli("predict", str(it.run), str(file), "-q")
    assert done.code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["n"] for answer in answers] == list(range(6))
    for answer in answers:
        assert all(key in answer for key in it.sample.keys)
        assert "truncated" not in answer
        assert "error" not in answer
    watched = run_cli("predict", str(it.run), str(file), "-q", "--watch-rate", "no such label>0.5/3")
    assert watched.code == 2
    labelled = {"pair", "multi-label", "token-classification", "object-detection"}
    said = "is no label" if name in labelled or name.endswith("-classification") else f"{name} gives none"
    assert said in watched.stderr
    if it.sample.unicode:
        done = run_cli("predict", str(it.run), "-q", stdin=json.dumps(it.sample.unicode))
        assert done.code == 0, done.stderr
        assert it.sample.unicode.items() <= json.loads(done.stdout).items()


@pytest.mark.parametrize("name", [name for name in sorted(SAMPLES) if SAMPLES[name].lines])
def test_predicts_plain_lines(name: str, learnt: Any) -> None:
    it = learnt(name)
    lines = [*it.sample.lines, "", *it.sample.lines]
    done = run_cli("predict", str(it.run), "-q", stdin="\n".join(lines) + "\n")
    assert done.code == 3
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [("error" in answer, answer.get("line")) for answer in answers] == [
        (not line, None if line else number) for number, line in enumerate(lines, 1)
    ]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_bad_rows_are_named_or_skipped(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)
    good = it.sample.rows(12, 4)
    for number, (change, word) in enumerate(it.sample.bad):
        rows = [*good[:3], {**good[3], **change}, *good[4:]]
        if it.sample.suffix == ".parquet" and any(isinstance(value, int) for value in change.values()):
            continue
        data = it.sample.data(tmp_path / f"data{number}", train=rows, test=good)
        done = it.finetune(tmp_path / f"run{number}", data, "--task", name)
        assert done.code == 3, done.stderr
        assert f"train{it.sample.suffix}, {'row' if it.sample.suffix == '.parquet' else 'line'} 4" in done.stderr
        assert word in done.stderr
        assert not (tmp_path / f"run{number}").exists()
    skipped = it.finetune(
        tmp_path / "run", data, "--task", name, "--on-bad-row", "skip", "--max-steps", "1", "--set", "eval.bootstrap=0"
    )
    assert skipped.code == 0, skipped.stderr
    assert len((tmp_path / "run" / "skipped.txt").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_empty_and_single_rows(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)
    one = it.sample.data(tmp_path / "one", test=it.sample.rows(1, 5))
    assert metrics(run_cli("evaluate", str(it.run), "--data", str(one), "--json", "-q"))["loss"] is not None
    text = run_cli("evaluate", str(it.run), "--data", str(one), "-q")
    assert text.code == 0, text.stderr
    lone = it.sample.data(tmp_path / "lone", train=it.sample.rows(1, 5))
    done = it.finetune(tmp_path / "run", lone, "--task", name)
    assert done.code == 3, done.stderr
    if it.sample.suffix == ".jsonl":
        none = it.sample.data(tmp_path / "none", test=[])
        done = run_cli("evaluate", str(it.run), "--data", str(none), "--json", "-q")
        assert done.code == 3, done.stderr
    unanswered = [{k: v for k, v in row.items() if k != it.sample.answer} for row in it.sample.rows(4, 6)]
    data = it.sample.data(tmp_path / "unanswered", test=unanswered)
    done = run_cli("evaluate", str(it.run), "--data", str(data), "--json", "-q")
    assert done.code == 3, done.stderr


@pytest.mark.parametrize("name", [name for name in sorted(SAMPLES) if SAMPLES[name].absent])
def test_a_class_missing_from_validation(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)
    validation = [row for row in it.sample.rows(24, 1) if not it.sample.absent(row)]
    assert 0 < len(validation) < 24
    data = it.sample.data(tmp_path / "data", train=it.sample.rows(24, 0), validation=validation, test=validation[:3])
    done = it.finetune(tmp_path / "run", data, "--max-steps", "2", "--json")
    report = json.loads(done.stdout)
    assert done.code == 0, done.stderr
    assert len(report["classes"]) >= 1
    assert report["metrics"]["loss"] > 0


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_stopped_and_resumed_is_as_never_stopped(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)

    def run(out: str, **keys: Any) -> None:
        values: dict[str, Any] = {
            "model.name": it.model, "data.name": str(it.data), "train.max_steps": 8, "train.batch_size": 8,
            "optimizer.lr": 2e-3, "eval.every": 3, "eval.bootstrap": 0, "out": str(tmp_path / out), "task": name,
        }  # fmt: skip
        finetune.run(build({path: (value, "") for path, value in values.items()}), Console(quiet=True), **keys)

    run("whole")
    with pytest.raises(Stopped):
        run("parted", stop_at=4)
    run("parted", resume=True)
    whole, parted = (tmp_path / out / "model" / "model.safetensors" for out in ("whole", "parted"))
    assert whole.read_bytes() == parted.read_bytes()
    reports = [json.loads((tmp_path / out / "report.json").read_text()) for out in ("whole", "parted")]
    assert reports[0]["metrics"] == reports[1]["metrics"]


@pytest.mark.parametrize("name", TEXTS)
def test_unpadded_is_as_padded(name: str, learnt: Any) -> None:
    """The same outputs, over real tokens only and over padded batches."""
    it = learnt(name)
    rows = [{k: v for k, v in row.items() if k != it.sample.answer} for row in it.sample.rows(9, 7)]
    texts = {"premise": "text", "hypothesis": "text_b"}
    rows = [{texts.get(k, k): v for k, v in row.items()} for row in rows]
    outputs = []
    for unpadded in ("true", "false"):
        trained = open_trained(inherited(str(it.run), {"train.unpadded": unpadded == "true"}, None))
        examples = trained.task.encode(rows)
        trained.model.eval()
        with torch.inference_mode():
            outputs.append(trained.task.forward(trained.model, trained.task.collate(examples)))
        attention = trained.model.config._attn_implementation  # type: ignore[union-attr]
        assert attention == ("ftcli_unpadded" if unpadded == "true" else "sdpa")
        predictions, _ = run_model(trained.task, trained.model, examples, trained.precision, None)
        assert len(predictions) == len(rows)
    assert torch.allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize("name", ADAPTABLE)
def test_adapted_by_lora(name: str, learnt: Any, tmp_path: Path) -> None:
    it = learnt(name)
    done = it.finetune(tmp_path / "run", it.data, "--method", "lora", "--max-steps", "6", "--json", "-q")
    again = run_cli("evaluate", str(tmp_path / "run"), "--data", str(it.data), "--json", "-q")
    assert metrics(again) == pytest.approx(metrics(done), rel=1e-4, nan_ok=True)
    row = {k: v for k, v in it.sample.rows(1, 8)[0].items() if k != it.sample.answer}
    said = run_cli("predict", str(tmp_path / "run"), "-q", stdin=json.dumps(row))
    assert said.code == 0, said.stderr
    assert all(key in json.loads(said.stdout) for key in it.sample.keys)


@pytest.mark.parametrize("name", DISTILLABLE)
def test_learnt_from_a_teacher(name: str, learnt: Any, tmp_path: Path) -> None:
    """A student that is its teacher has nothing to learn from its answers; a small one is a run like any other."""
    it = learnt(name)

    def distil(out: str, *more: str) -> Done:
        return run_cli(
            "distill", "--teacher", str(it.run), "--data", str(it.data), "--out", str(tmp_path / out), "--batch-size",
            "8", "--lr", "1e-3", "--set", "eval.bootstrap=0", "--set", f"teacher.cache={tmp_path / 'answers'}",
            "--set", "log.every=1", *more,
        )  # fmt: skip

    if name == "ranking":  # the sample's is a bi-encoder
        refused = distil("refused", *it.sample.student)
        assert refused.code == 2
        assert "ranking by a bi-encoder cannot be distilled" in refused.stderr
        return
    same = distil(
        "same", "--student", str(it.run), "--max-steps", "1", "--set", "distill.labels=0", "--set",
        "regularize.dropout=0", "--set", "teacher.cache=none",
    )  # fmt: skip
    assert same.code == 0, same.stderr
    first = json.loads((tmp_path / "same" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["loss"] == pytest.approx(0, abs=1e-5)
    done = distil("run", *it.sample.student, "--max-steps", "6", "--set", "train.epochs=9", "--json")
    found = metrics(done)
    about = json.loads(done.stdout)["distillation"]
    assert [model["role"] for model in about["models"]] == ["teacher", "student"]
    whole = json.loads((it.run / "report.json").read_text(encoding="utf-8"))["metrics"]
    assert about["models"][0]["metrics"] == pytest.approx(whole, rel=1e-4, nan_ok=True), "as it is evaluated by itself"
    assert about["models"][1]["parameters"] < about["models"][0]["parameters"]
    again = metrics(run_cli("evaluate", str(tmp_path / "run"), "--data", str(it.data), "--json", "-q"))
    assert again == pytest.approx(found, rel=1e-5, nan_ok=True)
    if it.sample.suffix == ".parquet":  # whatever stands for a processor's settings is the same the next time
        cached = distil("cached", *it.sample.student, "--max-steps", "1")
        assert "on train: from the cache" in cached.stderr
