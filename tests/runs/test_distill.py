"""`ftcli distill` through the command line."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ftcli.errors import Stopped
from ftcli.recipe.load import resolve
from tests.tiny import Done, run_cli, tiny_model, tiny_reviews, write_jsonl

EVERY_TERM = (
    "distill.hidden=1", "distill.attention=1", "distill.relations=1", "distill.cosine=1", "distill.contrastive=0.1",
    "distill.relational_distance=1", "distill.relational_angle=1",
)  # fmt: skip
MATCHING = tuple(term for term in EVERY_TERM if "contrastive" not in term)


def asked(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def distill(folder: Path, teacher: Path | str, data: Path, out: str, *more: str, steps: str = "6") -> Done:
    return run_cli(
        "distill", "--teacher", str(teacher), "--data", str(data), "--out", out, "--max-steps", steps, "--batch-size",
        "8", "--lr", "1e-3", *asked("log.every=1", f"teacher.cache={folder / 'answers'}"), *more, cwd=folder,
    )  # fmt: skip


def made(folder: Path, teacher: Path | str, data: Path, out: str, *more: str, steps: str = "6") -> dict[str, Any]:
    done = distill(folder, teacher, data, out, *more, steps=steps)
    assert done.code == 0, done.stderr
    report: dict[str, Any] = json.loads((folder / out / "report.json").read_text(encoding="utf-8"))
    return report


def curve(run: Path) -> list[float]:
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["loss"] for record in records if record["split"] == "train"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, trained_run: Path, reviews_dir: Path) -> Path:
    """A finished run: one of the teacher's two layers."""
    folder = tmp_path_factory.mktemp("distilled")
    made(folder, trained_run, reviews_dir, "run", *asked("student.layers=1"), "--baseline", steps="40")
    return folder / "run"


def test_a_student_of_the_teachers_layers_beside_its_teacher(student: Path) -> None:
    report = json.loads((student / "report.json").read_text(encoding="utf-8"))
    about = report["distillation"]
    assert report["command"] == "distill"
    assert [model["role"] for model in about["models"]] == ["teacher", "student", "student alone"]
    teacher, own, alone = about["models"]
    assert own["metrics"] == report["metrics"]
    assert own["parameters"] < teacher["parameters"]
    assert own["size_bytes"] < teacher["size_bytes"]
    assert own["latency_ms"]["p50"] <= own["latency_ms"]["p95"]
    assert all(model["rows_per_s"] > 0 and model["cpu_ms_per_row"] > 0 for model in (teacher, own))
    assert all(model["intervals"]["accuracy"] for model in about["models"])
    assert alone["metrics"] == json.loads((student / "baseline" / "report.json").read_text())["metrics"]
    shares = about["agreement"]
    assert shares["both_right"] + shares["teacher_only_right"] + shares["student_only_right"] + shares[
        "both_wrong"
    ] == pytest.approx(1)
    differing = (student / "differences.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(differing) == round((1 - shares["rate"]) * report["data"]["rows"])
    assert about["kept"] == pytest.approx(own["metrics"]["f1_macro"] / teacher["metrics"]["f1_macro"])
    assert own["metrics"]["accuracy"] > 0.7, "it has learnt"
    for name in ("report.txt", "report.md"):
        text = (student / name).read_text(encoding="utf-8")
        assert "student alone" in text
        assert "keeps" in text


def test_the_students_run_folder_is_like_any_other(student: Path, reviews_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, pipeline

    scored = run_cli("evaluate", str(student), "--data", str(reviews_dir), "--json")
    assert scored.code == 0, scored.stderr
    report = json.loads((student / "report.json").read_text(encoding="utf-8"))
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]
    answered = run_cli("predict", str(student), stdin="a great lovely film\n")
    assert json.loads(answered.stdout)["prediction"] in ("positive", "negative")
    tuned = run_cli(
        "finetune", "--model", str(student), "--data", str(reviews_dir), "--max-steps", "2", "--out", "on", cwd=tmp_path
    )
    assert tuned.code == 0, tuned.stderr
    model = AutoModelForSequenceClassification.from_pretrained(student / "model")
    assert model.config.num_hidden_layers == 1
    assert not [name for name, _ in model.named_parameters() if "distillation" in name]
    said = pipeline("text-classification", model=str(student / "model"))("a great lovely film")
    assert said[0]["label"] == json.loads(answered.stdout)["prediction"]
    repeated = run_cli("finetune", str(student / "baseline" / "recipe.yaml"), "--out", "again", cwd=tmp_path)
    assert repeated.code == 0, repeated.stderr
    one, other = (load_file(run / "model" / "model.safetensors") for run in (student / "baseline", tmp_path / "again"))
    assert all(one[name].equal(other[name]) for name in one), "the baseline is a fine-tuning run"


def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    settings = asked(*MATCHING, "distill.labels=0", "regularize.dropout=0")
    made(tmp_path, trained_run, reviews_dir, "same", "--student", str(trained_run), *settings, steps="1")
    assert curve(tmp_path / "same")[0] == pytest.approx(0, abs=1e-5)
    for way in ("reverse", "js"):
        more = asked(f"distill.divergence={way}", "distill.relations_of=minilmv2", "distill.hidden_style=patient")
        made(tmp_path, trained_run, reviews_dir, way, "--student", str(trained_run), *settings, *more, steps="1")
        assert curve(tmp_path / way)[0] == pytest.approx(0, abs=1e-5)


def test_cached_and_live_teachers_give_the_same_curve_and_so_does_padding(
    tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    """For a student of another width and number of heads, made of the teacher."""
    settings = [*asked(*EVERY_TERM, "student.heads=1", "student.ffn=0.5", "regularize.dropout=0"), "--lr", "1e-4"]
    made(tmp_path, trained_run, reviews_dir, "cached", *settings, "--epochs", "2", steps="12")
    assert list((tmp_path / "answers").iterdir())
    made(
        tmp_path,
        trained_run,
        reviews_dir,
        "live",
        *settings,
        *asked("teacher.cache=none", "teacher.batch_size=3"),
        steps="12",
    )
    made(tmp_path, trained_run, reviews_dir, "padded", *settings, *asked("train.unpadded=false"), steps="12")
    cached = curve(tmp_path / "cached")
    assert len(cached) == 12
    assert curve(tmp_path / "live") == pytest.approx(cached, rel=1e-5)
    assert curve(tmp_path / "padded") == pytest.approx(cached, rel=1e-4)
    assert cached[-1] < cached[0]
    config = json.loads((tmp_path / "cached" / "model" / "config.json").read_text())
    assert (config["num_attention_heads"], config["hidden_size"], config["intermediate_size"]) == (1, 16, 32)


def test_answers_are_shared_between_students(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    first = distill(tmp_path, trained_run, reviews_dir, "one", *asked("student.layers=1"), steps="20")
    second = distill(tmp_path, trained_run, reviews_dir, "two", *asked("student.layers=[1]"), steps="20")
    assert "from the cache" not in first.stderr
    assert "teacher on train" in first.stderr
    assert f"teacher {trained_run} on train: from the cache" in second.stderr
    few = distill(
        tmp_path, trained_run, reviews_dir, "few", *asked("student.layers=1", "teacher.cache=null"), steps="2"
    )
    assert "is asked at every step: it sees 16 of 96 rows" in few.stderr


@pytest.mark.parametrize("how", ["states", "average"])
def test_a_stopped_run_goes_on_as_if_it_had_not(
    how: str, tmp_path: Path, trained_run: Path, reviews_dir: Path, tiny_bert_dir: Path
) -> None:
    from ftcli.runs import distill as work
    from ftcli.trackers.console import Console

    given = {
        "states": {"teacher.name": str(trained_run), "student.heads": 1, "distill.hidden": 1, "distill.cosine": "1->0"},
        "average": {"teacher.name": "self", "model.name": str(tiny_bert_dir), "teacher.ema": 0.9},
    }[how]
    common = {
        "data.name": str(reviews_dir), "train.max_steps": 12, "train.batch_size": 8, "checkpoint.every": 5,
        "log.every": 1, "optimizer.lr": 1e-3, "teacher.cache": str(tmp_path / "answers"),
        "distill.baseline": how == "states",
    }  # fmt: skip
    quiet = Console(quiet=True)
    recipes = {out: resolve(None, {**given, **common, "out": str(tmp_path / out)}) for out in ("whole", "parts")}
    work.run(recipes["whole"], quiet)
    with suppress(Stopped):
        work.run(recipes["parts"], quiet, stop_at=7)
    assert not (tmp_path / "parts" / "report.json").exists()
    work.run(recipes["parts"], quiet, resume=True)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    for file in (
        "model/model.safetensors",
        "checkpoints/last/model.safetensors",
        "checkpoints/last/optimizer.safetensors",
    ):
        one, other = (load_file(tmp_path / out / file) for out in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one), file
    assert any(
        "distillation" in name for name in load_file(tmp_path / "whole" / "checkpoints" / "last" / "model.safetensors")
    )
    again = work.run(recipes["parts"], quiet, resume=True)
    assert again.report is None, "it is finished"


def test_weights_and_the_average_of_the_student_move_with_the_steps(
    tmp_path: Path, trained_run: Path, reviews_dir: Path, tiny_bert_dir: Path
) -> None:
    for out, soft in (("even", "1"), ("ends", "1 -> 0 @ 0.5"), ("ended", "1 -> 0 @ 0.1")):
        settings = asked("student.layers=1", "distill.labels=0", f"distill.soft={soft}", "regularize.dropout=0")
        made(tmp_path, trained_run, reviews_dir, out, *settings, steps="11")
    even, ends, ended = (curve(tmp_path / out) for out in ("even", "ends", "ended"))
    assert even[0] == ends[0] == ended[0] > 0
    assert min(even) > 0
    assert [loss > 0 for loss in ends] == [True] * 5 + [False] * 6
    assert ended[1:] == [0.0] * 10
    settings = asked("teacher.ema=0.5", "checkpoint.every=5")
    made(tmp_path, "self", reviews_dir, "own", "--student", str(tiny_bert_dir), *settings, steps="10")
    saved = [load_file(file) for file in sorted((tmp_path / "own" / "checkpoints").glob("step-*/model.safetensors"))]
    places = [name for name in saved[0] if name.startswith("distillation.")]
    assert places
    assert all(not saved[0][name].equal(saved[1][name]) for name in places if saved[0][name].ndim == 2)


def test_until_the_smallest_student_that_is_enough(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    ladder = asked("student.ladder=[layers=1 ffn=0.1, layers=1 ffn=0.5, layers=1, layers=2]")
    bounds = ("--until", "f1_macro >= 0.5 * teacher and parameters <= teacher")
    late = distill(tmp_path, trained_run, reviews_dir, "found", *ladder, *bounds, "--budget", "1s", steps="20")
    assert late.code == 75, late.stderr
    assert "--resume --out found" in late.stderr
    done = distill(tmp_path, trained_run, reviews_dir, "found", *ladder, *bounds, "--resume", steps="20")
    assert done.code == 0, done.stderr
    report = json.loads((tmp_path / "found" / "report.json").read_text())
    about = report["distillation"]
    assert about["chosen"] == about["frontier"][-1]["student"]
    assert len(about["frontier"]) < 4
    assert all(gate["passed"] for gate in report["gates"])
    assert (tmp_path / "found" / "frontier.png").read_bytes()[:4] == b"\x89PNG"
    assert "students tried" in (tmp_path / "found" / "report.txt").read_text()
    scored = run_cli("evaluate", "found", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]


def test_until_nothing_is_enough(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    more = [
        *asked("student.ladder=[layers=1 ffn=0.5, layers=1]"),
        "--until",
        "f1_macro >= teacher + 2 and cpu_ms_per_row <= 1e9",
    ]
    done = distill(tmp_path, trained_run, reviews_dir, "never", *more)
    assert done.code == 4
    assert "f1_macro >= " in done.stderr
    report = json.loads((tmp_path / "never" / "report.json").read_text())
    assert [entry["student"] for entry in report["distillation"]["frontier"]] == ["layers=1 ffn=0.5", "layers=1"]
    assert report["distillation"]["chosen"] is None
    assert (tmp_path / "never" / "frontier.png").is_file()
    assert not (tmp_path / "never" / "model").exists()
    again = distill(tmp_path, trained_run, reviews_dir, "never", *more, "--resume")
    assert again.code == 4, "a finished run that was not enough is not enough the next time either"


def test_unlabelled_rows_and_changed_copies(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    rows = [{"text": row["text"]} for row in tiny_reviews(40, 9)]
    held = json.loads((reviews_dir / "test.jsonl").read_text().splitlines()[0])
    more = write_jsonl([*rows, {"text": held["text"]}], tmp_path / "more.jsonl")
    settings = asked("student.layers=1", "distill.augment=2", "data.limit_train=20", "distill.cosine=1")
    done = distill(
        tmp_path, trained_run, reviews_dir, "run", *settings, "--unlabelled", str(more), "--epochs", "1", steps="1000"
    )
    assert done.code == 0, done.stderr
    assert "40 unlabelled rows" in done.stderr
    assert "1 left out that are in the validation or test split" in done.stderr
    about = json.loads((tmp_path / "run" / "report.json").read_text())["distillation"]
    assert about["rows"] == {"train": 20, "unlabelled": 40, "changed": 40, "changed unlabelled": 80}
    assert len(curve(tmp_path / "run")) == (20 + 40 + 40 + 80) // 8 + 1


def test_images_and_two_teachers(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        tuned = run_cli(
            "finetune", "--model", "preset:vit-digits", "--data", "builtin:digits", "--max-steps", "3", "--limit", "40",
            "--seed", seed, "--out", f"t{seed}", cwd=tmp_path,
        )  # fmt: skip
        assert tuned.code == 0, tuned.stderr
    done = run_cli(
        "distill", "--teacher", "t1=3,t2=1", "--data", "builtin:digits", "--limit", "40", "--epochs", "2", "--out",
        "run", *asked(*EVERY_TERM, "student.layers=[0, 3]", "student.ffn=0.5", "student.heads=2"), cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"]) == (2, 2, 64)
    scored = run_cli("evaluate", "run", "--data", "builtin:digits", "--limit", "40", "--json", cwd=tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "electra"])
def test_other_architectures_cut_down(kind: str, tmp_path: Path, reviews_dir: Path) -> None:
    teacher = tiny_model(kind, tmp_path / "teacher", labels=["negative", "positive"])
    heads = () if kind == "distilbert" else ("student.heads=1",)
    report = made(
        tmp_path, teacher, reviews_dir, "run", "--max-length", "32",
        *asked(*EVERY_TERM, "student.layers=1", "student.ffn=0.5", *heads, "teacher.max_length=32"),
    )  # fmt: skip
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_a_trimmed_vocabulary_writes_the_training_texts_as_before(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from ftcli.models.trim import trim_tokenizer
    from ftcli.runs.students import used_tokens

    folder = tiny_model(kind, tmp_path / "model")
    texts = [row["text"] for row in tiny_reviews(10, 3)]
    whole, trimmed = (AutoTokenizer.from_pretrained(folder) for _ in range(2))
    kept = trim_tokenizer(trimmed, used_tokens(trimmed, texts), kind)
    assert len(kept) < len(whole)
    trimmed.save_pretrained(tmp_path / "trimmed")
    again = AutoTokenizer.from_pretrained(tmp_path / "trimmed")
    for text in (*texts, "superb new wordss"):
        pieces = again(text)["input_ids"]
        if text in texts:
            assert [kept[i] for i in pieces] == whole(text)["input_ids"]
        assert max(pieces) < len(kept)
    assert again.pad_token_id == kept.index(whole.pad_token_id)


def test_a_student_with_a_trimmed_vocabulary(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    report = made(tmp_path, trained_run, reviews_dir, "run", *asked("student.trim_vocabulary=true", "distill.hidden=1"))
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]
    sizes = [
        json.loads((run / "model" / "config.json").read_text())["vocab_size"] for run in (tmp_path / "run", trained_run)
    ]
    assert sizes[0] < sizes[1]


def test_a_student_with_another_tokenizer(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    other = ("--student", str(tiny_model("roberta", tmp_path / "student")))
    texts = asked("distill.cosine=1", "distill.contrastive=1", "distill.hidden=1", "distill.hidden_style=patient")
    done = distill(tmp_path, trained_run, reviews_dir, "run", *other, *texts)
    assert done.code == 0, done.stderr
    assert "compares first tokens" in done.stderr
    refused = distill(tmp_path, trained_run, reviews_dir, "no", *other, *asked("distill.relations=1"))
    assert refused.code == 2
    assert "distill.relations compares states token by token" in refused.stderr
    settings = asked("student.layers=1", "distill.relations=1")
    cut = distill(tmp_path, trained_run, reviews_dir, "cut", *settings, "--max-length", "12")
    assert cut.code == 2
    assert "another number of tokens" in cut.stderr
    alike = distill(
        tmp_path, trained_run, reviews_dir, "alike", *settings, "--max-length", "12", *asked("teacher.max_length=12")
    )
    assert alike.code == 0, alike.stderr


def test_dry_run_writes_nothing(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    done = distill(
        tmp_path, trained_run, reviews_dir, "dry", *asked(*EVERY_TERM, "student.layers=1"), "--dry-run", "--json"
    )
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "no student given"),
        (("--set", "student.layers=3"), "student.layers is 3"),
        (("--set", "student.layers=[0, 2]"), "has layers 0 to 1"),
        (tuple(asked("student.layers=1", "distill.soft=0", "distill.labels=0")), "nothing is left to learn"),
        (("--set", "student.layers=1", "--set", "distill.hidden=1->"), "distill.hidden is '1->'"),
        (("--set", "student.layers=1", "--set", "regularize.r_drop=1"), "regularize.r_drop does not go with"),
        (("--set", "student.layers=1", "--until", "f1_macro >= 0.5"), "there is none"),
        (("--until", "f1 >= 0.5", "--set", "student.ladder=[layers=1]"), "nothing is measured as 'f1'"),
        (("--until", "f1_macro >= 0.5", "--set", "student.ladder=[depth=1]"), "'depth=1' in 'depth=1'"),
        (tuple(asked("student.layers=1", "distill.relation_heads=3", "distill.relations=1")), "does not divide"),
        (("--task", "regression", *asked("student.layers=1")), "does text-classification, the student regression"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    more: tuple[str, ...], said: str, tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    done = distill(tmp_path, trained_run, reviews_dir, "run", *more)
    assert done.code == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_teachers_that_tell_other_labels_are_refused(tmp_path: Path, trained_run: Path, reviews_dir: Path) -> None:
    other = tiny_model("bert", tmp_path / "other", labels=["positive", "negative", "neutral"])
    done = distill(tmp_path, f"{trained_run},{other}", reviews_dir, "run", *asked("student.layers=1"))
    assert done.code == 2
    assert "'neutral' is in one only" in done.stderr
    swapped = tiny_model("bert", tmp_path / "swapped", labels=["positive", "negative"])
    both = distill(tmp_path, f"{trained_run}=9,{swapped}=1", reviews_dir, "both", *asked("student.layers=1"))
    assert both.code == 0, both.stderr


def test_a_teacher_that_is_an_adapter_beside_its_base(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    tuned = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--method", "lora", "--max-steps", "8",
        "--out", "lora", cwd=tmp_path,
    )  # fmt: skip
    assert tuned.code == 0, tuned.stderr
    settings = asked(*EVERY_TERM, "student.layers=1")
    report = made(tmp_path, tmp_path / "lora", reviews_dir, "run", *settings)
    teacher, own = report["distillation"]["models"]
    assert own["size_bytes"] < teacher["size_bytes"]
    scored = run_cli("evaluate", "run", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(scored.stdout)["metrics"] == report["metrics"]


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_cut_student_that_an_adapter_is_learnt_beside(
    method: str, tmp_path: Path, trained_run: Path, reviews_dir: Path
) -> None:
    """What it was cut to is the base of what was learnt, and goes wherever the run folder goes."""
    settings = asked("student.layers=1", "student.ffn=0.5", "student.trim_vocabulary=true")
    report = made(tmp_path, trained_run, reviews_dir, "run", "--method", method, *settings, "--baseline", steps="12")
    told = json.loads((tmp_path / "run" / "model" / "base.json").read_text())
    assert told["relative"] == "../base"
    (tmp_path / "run").rename(tmp_path / "moved")
    scored = run_cli("evaluate", "moved", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert scored.code == 0, scored.stderr
    assert json.loads(scored.stdout)["metrics"] == pytest.approx(report["metrics"])
    alone = run_cli("evaluate", "moved/baseline", "--data", str(reviews_dir), "--json", cwd=tmp_path)
    assert json.loads(alone.stdout)["metrics"] == pytest.approx(report["distillation"]["models"][2]["metrics"])
    if method == "lora":
        tuned = run_cli(
            "finetune", "--model", "moved", "--data", str(reviews_dir), "--max-steps", "2", "--out", "on", cwd=tmp_path
        )  # fmt: skip
        assert tuned.code == 0, tuned.stderr
        refused = distill(tmp_path, trained_run, reviews_dir, "no", "--method", method, *settings,
                          *asked("method.quantize=nf4"))  # fmt: skip
        assert refused.code == 2, refused.stderr
