"""Images through the commands: trained, pretrained, scored and predicted as texts are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from ftcli.errors import Stopped
from ftcli.recipe.load import build
from ftcli.runs import pretrain
from ftcli.trackers.console import Console
from tests.tiny import run_cli

SMALL = ["--set", "model.config.num_hidden_layers=2", "--set", "model.config.hidden_size=32"]


def write_images(folder: Path, count: int, seed: int) -> None:
    """Class folders of 12 x 12 images: stripes that lie and stripes that stand, under noise."""
    random = np.random.default_rng(seed)
    stripes = np.tile([40, 40, 200, 200], 3)[:, None] + np.zeros((12, 12))
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        name = ("lying", "standing")[number % 2]
        pixels = np.roll(stripes, random.integers(4), axis=0) + random.normal(0, 20, (12, 12))
        turned = pixels if name == "lying" else pixels.T
        Image.fromarray(turned.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03}.png")


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stripes") / "data"
    for split, count, seed in (("train", 64, 0), ("validation", 16, 1), ("test", 24, 2)):
        write_images(folder / split, count, seed)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, stripes: Path) -> Path:
    """A classifier of stripes."""
    run = tmp_path_factory.mktemp("run") / "trained"
    done = run_cli(
        "finetune", "--model", "preset:vit-digits", "--data", str(stripes), "--out", str(run), *SMALL,
        "--epochs", "12", "--lr", "3e-3", "--batch-size", "16", "--seed", "1",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return run


def report_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def test_stripes_are_told_apart(trained: Path, stripes: Path) -> None:
    report = report_of(trained)
    assert report["task"] == "image-classification"
    assert report["metrics"]["accuracy"] >= 0.9
    assert {line["label"] for line in report["classes"]} == {"lying", "standing"}
    assert "task: image-classification" in (trained / "recipe.yaml").read_text()
    card = (trained / "model" / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert "tokens per text" not in card
    done = run_cli("evaluate", str(trained), "--data", str(stripes), "--json", "-q")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"] == report["metrics"]


def test_predictions_are_those_of_transformers(trained: Path, stripes: Path) -> None:
    files = sorted((stripes / "test").glob("*/*.png"))
    done = run_cli("predict", str(trained), str(stripes))
    assert done.code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(file) for file in files]
    classify = pipeline("image-classification", model=str(trained / "model"))
    for file, answer in zip(files, answers, strict=True):
        best = classify(str(file))[0]
        assert (best["label"], best["score"]) == (answer["prediction"], pytest.approx(answer["score"], abs=1e-5))


def test_one_file_and_lists_are_predicted_alike(trained: Path, stripes: Path, tmp_path: Path) -> None:
    file = next((stripes / "test" / "lying").iterdir())
    (tmp_path / "list.txt").write_text(f"{file}\n{tmp_path}/nothing.png\n", encoding="utf-8")
    one = run_cli("predict", str(trained), str(file))
    listed = run_cli("predict", str(trained), str(tmp_path / "list.txt"))
    piped = run_cli("predict", str(trained), stdin=json.dumps({"image": str(file), "id": 5}) + "\n")
    assert (one.code, listed.code, piped.code) == (0, 3, 0), listed.stderr
    first, second = map(json.loads, listed.stdout.splitlines())
    assert json.loads(one.stdout) == first
    assert second == {"error": f"image: there is no file '{tmp_path}/nothing.png'", "line": 2}
    assert json.loads(piped.stdout) == {**first, "id": 5}


def test_a_broken_image_is_named(trained: Path, stripes: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", 8, 5)
    (tmp_path / "data" / "train" / "lying" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    arguments = ["--model", "preset:vit-digits", "--data", str(tmp_path / "data"), "--max-steps", "1", *SMALL]
    done = run_cli("finetune", *arguments, "--out", str(tmp_path / "run"))
    assert done.code == 3
    assert "train/lying/000.png: image" in done.stderr
    done = run_cli("finetune", *arguments, "--out", str(tmp_path / "run"), "--on-bad-row", "skip")
    assert done.code == 0, done.stderr
    assert "train/lying/000.png" in (tmp_path / "run" / "skipped.txt").read_text()


BERT, VIT = ["--model", "preset:bert-tiny"], ["--model", "preset:vit-digits"]
DIGITS, TASK = ["--data", "builtin:digits"], "--task"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([*BERT, *DIGITS], 3, "these are images: --model preset:vit-tiny"),
        ([*VIT, "--data", "builtin:reviews"], 3, "no column for the image"),
        ([*BERT, *DIGITS, TASK, "image-classification"], 2, "takes texts"),
        ([*VIT, *DIGITS, TASK, "text-classification"], 2, "takes images"),
        ([*VIT, *DIGITS, "--set", "regularize.token_dropout=0.1"], 2, "hides words"),
        ([*VIT, "--data", "builtin:digit"], 2, "digits"),
    ],
)
def test_texts_and_images_are_not_mixed_up(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = run_cli("finetune", *arguments, "--out", str(tmp_path / "run"))
    assert done.code == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["mae-digits", "vit-digits"])
def test_pretrained_then_fine_tuned(tmp_path: Path, stripes: Path, model: str) -> None:
    done = run_cli(
        "pretrain", "--model", f"preset:{model}", "--data", str(stripes), "--out", str(tmp_path / "pre"), *SMALL,
        "--epochs", "40", "--lr", "3e-3", "--set", "pretrain.mask_rate=0.5", "--set", "eval.every=80",
        "--set", "model.config.norm_pix_loss=false" if model == "mae-digits" else "model.config.hidden_act=gelu",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    report = report_of(tmp_path / "pre")
    assert report["task"] == "masked-image"
    assert report["metrics"]["loss"] < 0.7 * report["metrics"]["mean_image_loss"]
    assert "by the mean image" in done.stderr
    for split, rows in (("validation", 16), ("test", 24)):
        done = run_cli("evaluate", str(tmp_path / "pre"), "--data", str(stripes), "--split", split, "--json")
        assert "warning" not in done.stderr, "the test split is no training data"
        scored = json.loads(done.stdout)
        assert scored["data"]["rows"] == rows
        assert scored["metrics"]["loss"] == pytest.approx(report["metrics"]["loss"], rel=0.2)
    assert scored["metrics"]["loss"] != report["metrics"]["loss"]
    tuned = run_cli(
        "finetune", "--model", str(tmp_path / "pre"), "--data", str(stripes), "--out", str(tmp_path / "tuned"),
        "--max-steps", "3", "--set", "data.limit_train=10",
    )  # fmt: skip
    assert tuned.code == 0, tuned.stderr
    assert "starts fresh: classifier.bias, classifier.weight" in tuned.stderr
    assert "train: 10 of 64 rows, chosen at random" in tuned.stderr
    assert report_of(tmp_path / "tuned")["data"]["rows"] == 24, "the test split stays whole"
    image = next((stripes / "test" / "lying").iterdir())
    shown = run_cli("predict", str(tmp_path / "pre"), str(image))
    assert shown.code == 0, shown.stderr
    assert 0 < json.loads(shown.stdout)["prediction"] < 1


def test_a_stopped_pretraining_goes_on_as_if_it_had_not_been(tmp_path: Path, stripes: Path) -> None:
    def run(out: str, **keys: Any) -> None:
        values = {
            "model.name": "preset:mae-digits", "data.name": str(stripes), "train.epochs": 2, "out": str(tmp_path / out),
        }  # fmt: skip
        pretrain.run(build({path: (value, "") for path, value in values.items()}), Console(quiet=True), **keys)

    run("whole")
    with pytest.raises(Stopped):
        run("stopped", stop_at=5)
    run("stopped", resume=True)
    whole, stopped = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "stopped"))
    assert whole.keys() == stopped.keys()
    assert all((whole[name] == stopped[name]).all() for name in whole)
    assert report_of(tmp_path / "whole")["metrics"] == report_of(tmp_path / "stopped")["metrics"]


def test_runs_are_compared(trained: Path, stripes: Path, tmp_path: Path) -> None:
    asked = ("finetune", "--model", "preset:vit-digits", "--data", str(stripes), "--out", "weak", *SMALL)
    assert run_cli(*asked, "--max-steps", "1", cwd=tmp_path).code == 0
    done = run_cli("compare", str(trained), "weak", "--json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)["comparisons"][0]
    assert found["differences"]["accuracy"]["difference"] < 0
    assert found["mcnemar"]["baseline_only"] > 0
    flip = found["flips"][0]
    assert flip["image"].endswith(".png")
    assert {flip["baseline"], flip["prediction"]} == {"lying", "standing"}
