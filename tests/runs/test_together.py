"""Several processes give what one does: the same losses, scores, predictions and files; and they stop and go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftcli.engine import row_adamw
from tests.tiny import run_cli
from tests.together import LIMIT, ends, run_together, start_together

SETTINGS = ("--epochs", "2", "--lr", "2e-3", "--batch-size", "8", "--set", "log.every=1", "--precision", "fp32")

TWO_AND_FOUR = [(2, "ddp"), (4, "fsdp")]


def losses(run: Path) -> list[float]:
    """The training loss at each step."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record["loss"] for record in records if record["split"] == "train"]


def report(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]
    return found


def furthest(one: Path, other: Path, file: str = "model/model.safetensors") -> float:
    """The largest difference between the weights of two runs, of the same names."""
    first, second = load_file(one / file), load_file(other / file)
    assert set(first) == set(second)
    return max(float((tensor - second[name]).abs().max()) for name, tensor in first.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path) -> Path:
    """The run of one process, with dropout."""
    folder = tmp_path_factory.mktemp("alone")
    done = run_cli("finetune", *arguments(tiny_bert_dir, reviews_dir, folder / "run"), cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "run"


def arguments(model: Path, data: Path, out: Path, *more: str) -> tuple[str, ...]:
    return ("--model", str(model), "--data", str(data), "--out", str(out), *SETTINGS, *more)


def like_alone(run: Path, alone: Path) -> None:
    assert losses(run) == pytest.approx(losses(alone), abs=1e-5)
    assert len(losses(run)) == 24
    assert report(run) == pytest.approx(report(alone), abs=1e-4)
    assert furthest(run, alone) < 1e-4


@pytest.mark.parametrize(("size", "strategy"), [(2, "ddp"), (2, "fsdp"), (4, "ddp"), (4, "fsdp")])
def test_losses_are_those_of_one_process(
    size: int, strategy: str, alone: Path, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    more = ("--set", f"distributed.strategy={strategy}")
    said = run_together(size, "finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "run", *more), cwd=tmp_path)
    assert f"{size} processes on 1 host" in said
    like_alone(tmp_path / "run", alone)


def test_weights_that_travel_in_half_precision(tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path) -> None:
    """Their shares stay whole, and training is that of half precision, up to its rounding."""
    settings = ("--set", "distributed.strategy=fsdp", "--precision", "bf16")
    for name, gather in (("whole", "fp32"), ("half", "bf16")):
        more = (*settings, "--set", f"distributed.gather={gather}")
        run_together(2, "finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / name, *more), cwd=tmp_path)
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "whole"), abs=0.02)
    assert losses(tmp_path / "half") != losses(tmp_path / "whole"), "something else travelled"
    assert 0 < furthest(tmp_path / "half", tmp_path / "whole") < 0.1
    weights = load_file(tmp_path / "half" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert any((tensor.bfloat16().float() != tensor).any() for tensor in weights.values())


def test_half_precision_travels_only_where_it_is_computed_in(
    tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    more = ("--set", "distributed.strategy=fsdp", "--set", "distributed.gather=bf16")
    children = start_together(
        2, "finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "run", *more), cwd=tmp_path
    )
    assert ends(children) == [2, 2]
    assert "distributed.gather is bf16" in children[0].said()


def test_an_embedding_updated_by_rows(
    monkeypatch: pytest.MonkeyPatch, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    """Rows that only another process has read so far are taken up with their gradient."""
    monkeypatch.setattr(row_adamw, "ENOUGH", 1)
    monkeypatch.setattr(row_adamw, "MANY", 1.0)
    one = run_cli("finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    run_together(2, "finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "two"), cwd=tmp_path)
    like_alone(tmp_path / "two", tmp_path / "one")
    newest = max((tmp_path / "two" / "checkpoints").glob("step-*"))
    assert any(name.endswith("/rows") for name in load_file(newest / "optimizer.safetensors"))


@pytest.mark.parametrize(("size", "strategy"), TWO_AND_FOUR)
def test_lora(size: int, strategy: str, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path) -> None:
    more = ("--method", "lora", "--max-steps", "8", "--set", f"distributed.strategy={strategy}")
    one = run_cli("finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "one", *more), cwd=tmp_path)
    assert one.code == 0, one.stderr
    run_together(size, "finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "two", *more), cwd=tmp_path)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert furthest(tmp_path / "two", tmp_path / "one", "model/adapter_model.safetensors") < 1e-5


@pytest.mark.parametrize(("size", "strategy"), TWO_AND_FOUR)
def test_pretraining(size: int, strategy: str, reviews_dir: Path, tmp_path: Path) -> None:
    given = (
        "--model", "preset:bert-tiny", "--data", str(reviews_dir), "--objective", "mlm", "--max-steps", "6",
        "--precision", "fp32", "--set", "train.tokens_per_batch=256", "--set", "log.every=1",
        "--set", "model.tokenizer.vocab_size=300", "--set", f"distributed.strategy={strategy}", "--text-column", "text",
    )  # fmt: skip
    one = run_cli("pretrain", *given, "--out", str(tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    run_together(size, "pretrain", *given, "--out", str(tmp_path / "two"), cwd=tmp_path)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert report(tmp_path / "two") == pytest.approx(report(tmp_path / "one"), abs=1e-4)


def late(rank: int) -> None:
    """Process 1 takes its time over measuring speeds, so that others are first at what comes next."""
    from ftcli.runs.beside import Found

    measure = Found.measure

    def slowly(self: Found, *given: Any) -> None:
        measure(self, *given)
        time.sleep(1.5 * (rank == 1))

    Found.measure = slowly  # type: ignore[method-assign]


def test_distillation(alone: Path, reviews_dir: Path, tmp_path: Path) -> None:
    given = (
        "--teacher", str(alone), "--set", "student.layers=1", "--data", str(reviews_dir), *SETTINGS, "--max-steps", "6",
        "--set", "distill.hidden=1", "--set", "distill.baseline=true",
    )  # fmt: skip
    one = run_cli("distill", *given, "--out", str(tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    for size, strategy in TWO_AND_FOUR:
        two = tmp_path / strategy
        more = ("--set", f"distributed.strategy={strategy}", "--set", "distributed.timeout=30s", "--out", str(two))
        run_together(size, "distill", *given, *more, cwd=tmp_path, before=late)
        assert losses(two) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
        first, second = (
            json.loads((run / "report.json").read_text(encoding="utf-8")) for run in (tmp_path / "one", two)
        )
        assert second["metrics"] == pytest.approx(first["metrics"], abs=1e-4)


def test_a_language_model_is_distilled(reviews_dir: Path, tmp_path: Path) -> None:
    common = (
        "--data", str(reviews_dir), "--objective", "mlm", "--precision", "fp32", "--set", "train.tokens_per_batch=256",
        "--set", "log.every=1", "--text-column", "text",
    )  # fmt: skip
    teacher = run_cli(
        "pretrain", *common, "--model", "preset:bert-tiny", "--set", "model.tokenizer.vocab_size=300",
        "--max-steps", "4", "--out", str(tmp_path / "teacher"), cwd=tmp_path,
    )  # fmt: skip
    assert teacher.code == 0, teacher.stderr
    given = (
        "distill", *common, "--teacher", str(tmp_path / "teacher"), "--set", "student.layers=1", "--max-steps", "6",
        "--set", "distill.cosine=1",
    )  # fmt: skip
    one = run_cli(*given, "--out", str(tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    for size, strategy in TWO_AND_FOUR:
        two = tmp_path / strategy
        run_together(size, *given, "--set", f"distributed.strategy={strategy}", "--out", str(two), cwd=tmp_path)
        assert losses(two) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
        assert report(two) == pytest.approx(report(tmp_path / "one"), abs=1e-4)


def test_rows_that_are_compared_with_each_other_are_said_to_stay_in_their_process(
    alone: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    said = run_together(
        2, "distill", "--teacher", str(alone), "--set", "student.layers=1", "--data", str(reviews_dir), "--max-steps",
        "1", "--set", "distill.contrastive=1", "--out", str(tmp_path / "run"), cwd=tmp_path,
    )  # fmt: skip
    assert "rows are compared with others of the same process only" in said


def test_a_student_that_learns_with_parts_of_its_own_is_not_shared_out(
    alone: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    given = (
        "distill", "--teacher", str(alone), "--student", "preset:bert-tiny", "--set", "distill.hidden=1",
        "--set", "distill.hidden_style=patient",
        "--set", "distributed.strategy=fsdp", "--data", str(reviews_dir), "--max-steps", "2",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip
    children = start_together(2, *given, cwd=tmp_path)
    assert ends(children) == [2, 2]
    assert "projections" in children[0].said()


def test_scores_and_predictions_are_those_of_one_process(alone: Path, reviews_dir: Path, tmp_path: Path) -> None:
    one = run_cli("evaluate", str(alone), "--data", str(reviews_dir), "--out", str(tmp_path / "one"), cwd=tmp_path)
    assert one.code == 0, one.stderr
    run_together(2, "evaluate", str(alone), "--data", str(reviews_dir), "--out", str(tmp_path / "two"), cwd=tmp_path)
    first, second = (
        json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8")) for name in ("one", "two")
    )
    assert second["metrics"] == first["metrics"]
    assert second["intervals"] == first["intervals"]

    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"a fine film number {i} {'and so on ' * (i % 7)}\n" for i in range(1500)))
    assert run_cli("predict", str(alone), str(texts), "--output", str(tmp_path / "one.jsonl")).code == 0
    run_together(2, "predict", str(alone), str(texts), "--output", str(tmp_path / "two.jsonl"), cwd=tmp_path)
    answers = [
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("one", "two")
    ]
    assert len(answers[0]) == 1500
    for mine, theirs in zip(*answers, strict=True):
        assert (mine["text"], mine["prediction"]) == (theirs["text"], theirs["prediction"])
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)


def stopped(size: int, strategy: str, at: int, *given: str, out: Path) -> None:
    """A run of several processes that stops after a checkpoint of step `at`, SIGTERM sent to the last process only."""
    children = start_together(size, "finetune", *given, "--set", f"distributed.strategy={strategy}",
                              "--set", "checkpoint.every=1", cwd=out.parent)  # fmt: skip
    deadline = time.monotonic() + LIMIT
    while not list((out / "checkpoints").glob(f"step-*{at}")):
        assert time.monotonic() < deadline, children[0].said()
        assert children[0].poll() is None, children[0].said()
        time.sleep(0.005)
    children[-1].kill(signal.SIGTERM)
    codes = ends(children)
    assert codes == [75] * size, "\n".join(child.said() for child in children)


@pytest.mark.parametrize(
    ("size", "strategy", "then"),
    [(2, "ddp", [(2, "ddp"), (2, "fsdp")]), (4, "fsdp", [(4, "fsdp"), (1, "ddp"), (2, "ddp")])],
)
def test_sigterm_to_one_stops_all_and_any_number_goes_on(
    size: int,
    strategy: str,
    then: list[tuple[int, str]],
    alone: Path,
    tiny_bert_dir: Path,
    reviews_dir: Path,
    tmp_path: Path,
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    given = arguments(tiny_bert_dir, reviews_dir, whole, "--set", f"distributed.strategy={strategy}")
    run_together(size, "finetune", *given, cwd=tmp_path)
    stopped(size, strategy, 3, *arguments(tiny_bert_dir, reviews_dir, run), out=run)
    assert (run / "checkpoints" / "last" / "shares").is_dir() == (strategy == "fsdp")
    for size_now, strategy_now in then:
        copy = tmp_path / f"{size_now}-{strategy_now}"
        shutil.copytree(run, copy, symlinks=True)
        more = ("--resume", "--set", f"distributed.strategy={strategy_now}")
        given = arguments(tiny_bert_dir, reviews_dir, copy, *more)
        if size_now == 1:
            done = run_cli("finetune", *given, cwd=tmp_path)
            assert done.code == 0, done.stderr
        else:
            run_together(size_now, "finetune", *given, cwd=tmp_path)
        like_alone(copy, alone)
        if (size_now, strategy_now) == (size, strategy):
            assert furthest(copy, whole) == 0, "to the bit"
            assert losses(copy) == losses(whole)


def test_a_chain_of_stages(tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "chain.yaml"
    common = f"model: {tiny_bert_dir}\ndata: {reviews_dir}\nstage_cache: none\n"
    stages = (
        "stages:\n  - {name: large, train: {max_steps: 4}}\n"
        "  - {name: small, command: distill, teacher: large, student: {layers: 1}, train: {max_steps: 3}}\n"
    )
    recipe.write_text(common + stages, encoding="utf-8")
    for size, name in ((1, "one"), (2, "two")):
        run_together(size, "distill", str(recipe), "--out", str(tmp_path / name), cwd=tmp_path)
    found = [json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert found[1]["metrics"] == pytest.approx(found[0]["metrics"], abs=1e-4)
    assert (tmp_path / "two" / "model" / "model.safetensors").is_file()

    def asked_after_a_stage(rank: int) -> None:
        if rank != 1:
            return
        from ftcli.runs import chain

        run_stage = chain.run_stage

        def then_asked(*given: Any) -> dict[str, Any]:
            report = run_stage(*given)
            os.kill(os.getpid(), signal.SIGTERM)
            return report

        chain.run_stage = then_asked

    given = ("distill", str(recipe), "--out", str(tmp_path / "stopped"))
    children = start_together(2, *given, cwd=tmp_path, before=asked_after_a_stage)
    assert ends(children) == [75, 75], "\n".join(child.said() for child in children)
    run_together(2, *given, "--resume", cwd=tmp_path)
    assert report(tmp_path / "stopped") == found[1]["metrics"]


def test_passes_of_a_step_are_the_step_with_dropout_as_well(
    alone: Path, tiny_bert_dir: Path, reviews_dir: Path, tmp_path: Path
) -> None:
    more = ("--batch-size", "2", "--set", "train.gradient_accumulation=4")
    done = run_cli("finetune", *arguments(tiny_bert_dir, reviews_dir, tmp_path / "run", *more), cwd=tmp_path)
    assert done.code == 0, done.stderr
    like_alone(tmp_path / "run", alone)
