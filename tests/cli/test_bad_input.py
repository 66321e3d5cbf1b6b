"""What people get wrong: each mistake has its exit code and a message that names what and where."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.bad_files import make_bad_files
from tests.tiny import run_cli

TRAIN = "finetune --model {d}/../model --max-steps 1"
GOOD = "--data {d}/good"


@dataclass(frozen=True)
class Case:
    """A command line, the exit code it has to have and words its message has to hold."""

    command: str
    code: int
    words: tuple[str, ...]
    stdin: str = ""


def case(command: str, code: int, *words: str, stdin: str = "") -> Case:
    return Case(command, code, words, stdin)


def trained_on(data: str, code: int, *words: str) -> Case:
    return Case(f"{TRAIN} --data {{d}}/{data}", code, words)


FLAGS = [
    case("fine-tune", 2, "fine-tune", "finetune"),
    case("finetune --epoch 3", 2, "--epoch", "--epochs"),
    case("finetune --epochs many", 2, "--epochs", "many"),
    case(f"{TRAIN} {GOOD} --epochs 0", 2, "epochs", "0"),
    case(f"{TRAIN} {GOOD} --epochs nan", 2, "epochs", "nan"),
    case(f"{TRAIN} {GOOD} --batch-size 0", 2, "batch_size", "0"),
    case(f"{TRAIN} {GOOD} --max-steps -1", 2, "max_steps", "-1"),
    case(f"{TRAIN} {GOOD} --lr -0.1", 2, "lr", "-0.1"),
    case(f"{TRAIN} {GOOD} --lr inf", 2, "lr", "inf"),
    case(f"{TRAIN} {GOOD} --limit 0", 2, "limit", "0"),
    case(f"{TRAIN} {GOOD} --max-length 100000", 2, "100000", "512"),
    case(f"{TRAIN} {GOOD} --precision fp8", 2, "fp8", "bf16"),
    case(f"{TRAIN} {GOOD} --device gpu", 2, "gpu", "cuda"),
    case(f"{TRAIN} {GOOD} --device cuda:7", 2, "cuda:7"),
    case(f"{TRAIN} {GOOD} --task text-clasification", 2, "text-clasification", "text-classification"),
    case(f"{TRAIN} {GOOD} --method lora-x", 2, "lora-x", "adalora"),
    case(f"{TRAIN} {GOOD} --seed -1", 2, "seed", "-1"),
    case(f"{TRAIN} {GOOD} --set train.epochs", 2, "train.epochs", "="),
    case(f"{TRAIN} {GOOD} --set train.epoch=2", 2, "train.epoch", "train.epochs"),
    case(f"{TRAIN} {GOOD} --set optimizer.lr=fast", 2, "optimizer.lr", "fast"),
    case(f"{TRAIN} {GOOD} --set eval.metric=f2", 2, "f2", "f1_macro"),
    case(f"{TRAIN} {GOOD} --set schedule.name=linar", 2, "linar", "linear"),
    case(f"{TRAIN} {GOOD} --set log.trackers=jsonl,tensorbord --dry-run", 2, "tensorbord", "tensorboard"),
    case(f"{TRAIN} {GOOD} --set model.config=3", 2, "model.config", "holds keys"),
    case(f"{TRAIN} {GOOD} --set model.config.hidden_sise=3", 2, "hidden_sise", "hidden_size"),
    case(f"{TRAIN} {GOOD} --encoding utf-9", 2, "utf-9"),
    case(f"{TRAIN} {GOOD} --on-bad-row ignore", 2, "ignore", "skip"),
    case(f"{TRAIN} {GOOD} --columns text", 2, "text"),
    case(f"{TRAIN} {GOOD} --columns txt=text", 2, "txt", "text"),
    case(f"{TRAIN} {GOOD} --text-column body", 3, "body", "text"),
    case(f"{TRAIN} {GOOD} --label-column text --text-column text", 2, "text"),
    case("evaluate {d}/run --fail-under f1_macro", 2, "f1_macro", "="),
    case("evaluate {d}/run --fail-under f1=high", 2, "high"),
    case("evaluate {d}/run --fail-under f2_macro=0.5", 4, "f2_macro"),
    case("evaluate {d}/run --fail-under accuracy=1.01", 4, "accuracy", "1.01"),
    case("evaluate {d}/run --split tset", 2, "tset", "test"),
    case("evaluate", 2, "RUN|M"),
]

PLACES = [
    case(f"{TRAIN} {GOOD} --out {{d}}/good.csv", 2, "good.csv", "file"),
    case(f"{TRAIN} {GOOD} --out {{d}}/taken", 2, "taken", "--resume"),
    case(f"{TRAIN} {GOOD} --out {{d}}/good.csv/run", 2, "good.csv"),
    case(f"{TRAIN} {GOOD} --out /proc/ftcli", 2, "/proc/ftcli"),
    case(f"{TRAIN} --data somewhere --out somewhere", 2, "--out 'somewhere'", "the data", "hint: choose another"),
    case(f"{TRAIN} {GOOD} --out {{d}}/good/../good", 2, "the data", "hint: choose another"),
    case(f"{TRAIN} {GOOD} --out {{d}}/../model", 2, "the model", "hint: choose another"),
    case("predict {d}/run --output {d}/absent/out.jsonl", 2, "absent", stdin="a film\n"),
    case("predict {d}/run --output {d}/good", 2, "good", stdin="a film\n"),
    case("evaluate {d}/run --out {d}/good.csv", 2, "good.csv"),
]

RECIPES = [
    case("finetune {d}/absent.yaml", 2, "absent.yaml"),
    case("finetune {d}/good", 2, "good"),
    case("finetune {d}/tabs.yaml", 2, "tabs.yaml", "line 2"),
    case("finetune {d}/list.yaml", 2, "list.yaml"),
    case("finetune {d}/unknown_key.yaml", 2, "unknown_key.yaml", "epoch", "epochs"),
    case("finetune {d}/unknown_section.yaml", 2, "trian", "train"),
    case("finetune {d}/wrong_type.yaml", 2, "train.epochs", "many"),
    case("finetune {d}/twice.yaml", 2, "seed", "line 2"),
    case("finetune {d}/extends_nothing.yaml", 2, "absent.yaml"),
    case("finetune {d}/extends_itself.yaml", 2, "extends_itself.yaml"),
    case("finetune {d}/unset_variable.yaml", 2, "FTCLI_TEST_NOT_SET"),
    case("finetune {d}/python_tag.yaml", 2, "python_tag.yaml"),
    case("finetune {d}/scalar_section.yaml", 2, "train"),
    case("finetune {d}/latin.yaml", 2, "latin.yaml"),
    case("recipe show {d}/absent.yaml", 2, "absent.yaml"),
]

MODELS = [
    case(f"finetune {GOOD}", 2, "model", "--model"),
    case(f"finetune --model {{d}}/absent {GOOD}", 2, "absent"),
    case(f"finetune --model no-such-model {GOOD}", 2, "no-such-model"),
    case(f"finetune --model preset:bert-tinny {GOOD}", 2, "bert-tinny", "bert-tiny"),
    case(f"finetune --model {{d}}/good.csv {GOOD}", 2, "good.csv"),
    case(f"finetune --model {{d}}/empty_folder {GOOD}", 2, "config.json"),
    case(f"finetune --model {{d}}/pickle {GOOD}", 2, "pickle", "safetensors"),
    case(f"finetune --model {{d}}/no_weights {GOOD}", 2, "no_weights", "model.safetensors"),
    case(f"finetune --model {{d}}/cut_weights {GOOD}", 2, "cut_weights", "damaged"),
    case(f"finetune --model {{d}}/bad_config {GOOD}", 2, "config.json", "JSON"),
    case(f"finetune --model {{d}}/odd_type {GOOD}", 2, "odd_type", "brt"),
    case(f"finetune --model {{d}}/remote_code {GOOD}", 2, "remote_code", "--trust-remote-code"),
    case(f"finetune --model {{d}}/no_tokenizer {GOOD}", 2, "no_tokenizer", "tokenizer"),
    case("evaluate {d}/absent --data {d}/good", 2, "absent"),
    case("evaluate {d}/../model --data {d}/good", 2, "head", "finetune"),
    case("evaluate preset:bert-tiny --data {d}/good", 2, "preset:bert-tiny"),
    case("predict {d}/unfinished", 2, "unfinished", "--resume", stdin="a film\n"),
]

DATA = [
    case(TRAIN, 2, "data", "--data"),
    trained_on("absent.csv", 2, "absent.csv"),
    case(f"{TRAIN} --data builtin:review", 2, "review", "reviews"),
    case(f"{TRAIN} --data no-such-data", 2, "no-such-data"),
    case(f"{TRAIN} --data {{d}}/goood.csv", 2, "does not exist", "hint: in", "good.csv"),
    case(f"{TRAIN} --data {{d}}/good/nowhere.csv", 2, "does not exist", "hint: in", "/good there is"),
    case(f"{TRAIN} --data {{d}}/nowhere/at/all.csv", 2, "there is no folder", "hint: in"),
    case(f"{TRAIN} --data csv", 2, "csv"),
    trained_on("empty.csv", 3, "empty.csv", "empty"),
    trained_on("empty.jsonl", 3, "empty.jsonl", "empty"),
    trained_on("header_only.csv", 3, "header_only.csv", "no rows"),
    trained_on("no_label.csv", 3, "no_label.csv", "label"),
    trained_on("no_text.csv", 3, "no_text.csv", "text"),
    trained_on("two_texts.csv --task text-classification", 3, "first", "second", "--text-column"),
    trained_on("wide.csv", 3, "wide.csv", "line 3"),
    trained_on("narrow.csv", 3, "narrow.csv", "line 3"),
    trained_on("open_quote.csv", 3, "open_quote.csv", "line 3"),
    trained_on("same_names.csv", 3, "same_names.csv", "text"),
    trained_on("empty_text.csv", 3, "empty_text.csv", "line 3"),
    trained_on("empty_label.csv", 3, "empty_label.csv", "line 3"),
    trained_on("one_class.csv", 3, "positive", "one"),
    trained_on("fractions.csv --task text-classification", 3, "fractions.csv", "label"),
    trained_on("latin.csv", 3, "latin.csv", "line 3", "--encoding"),
    trained_on("nul.csv", 3, "nul.csv"),
    trained_on("utf16.csv", 3, "utf16.csv", "--encoding"),
    trained_on("cut.csv.gz", 3, "cut.csv.gz"),
    trained_on("no_gzip.csv.gz", 3, "no_gzip.csv.gz", "gzip"),
    trained_on("broken.jsonl", 3, "broken.jsonl", "line 2"),
    trained_on("not_objects.jsonl", 3, "not_objects.jsonl", "line 2"),
    trained_on("missing_field.jsonl", 3, "missing_field.jsonl", "line 2", "text"),
    trained_on("missing_label.jsonl", 3, "missing_label.jsonl", "line 2", "label"),
    trained_on("null_text.jsonl", 3, "null_text.jsonl", "line 2"),
    trained_on("number_text.jsonl", 3, "number_text.jsonl", "line 2"),
    trained_on("list_label.jsonl", 3, "list_label.jsonl", "line 2"),
    trained_on("mixed_labels.jsonl", 3, "mixed_labels.jsonl", "line 21", "bad"),
    trained_on("many_faults.jsonl", 3, "line 3", "line 12", "4 more", "--on-bad-row skip"),
    trained_on("object.json", 3, "object.json"),
    trained_on("broken.json", 3, "broken.json"),
    trained_on("not_parquet.parquet", 3, "not_parquet.parquet"),
    trained_on("cut.parquet", 3, "cut.parquet"),
    trained_on("not_arrow.arrow", 3, "not_arrow.arrow"),
    trained_on("no_text.parquet", 3, "no_text.parquet", "text"),
    trained_on("null_label.parquet", 3, "null_label.parquet", "row 1"),
    trained_on("plain.txt", 3, "plain.txt", "label"),
    trained_on("table.xlsx", 3, "table.xlsx", ".csv"),
    trained_on("empty_folder", 3, "empty_folder"),
    trained_on("pictures", 3, "pictures"),
    trained_on("classes", 3, "3.txt", "--encoding"),
    trained_on("one_class_folder", 3, "pos"),
    trained_on("unseen_label", 3, "surprising", "test.jsonl", "line 9"),
    trained_on("no_train", 3, "no_train", "train"),
    trained_on("empty_test", 3, "test.jsonl", "empty"),
    trained_on("other_columns", 3, "test.jsonl", "text"),
    case("evaluate {d}/run --data {d}/no_test", 3, "test", "train"),
    case("evaluate {d}/run --data {d}/unseen_label", 3, "surprising"),
    case("predict {d}/run {d}/absent.jsonl", 2, "absent.jsonl"),
    case("predict {d}/run {d}/no_text.parquet", 3, "no_text.parquet"),
    case("predict {d}/run", 3, "1", "error", stdin="\n"),
    case("predict {d}/run", 3, "1", "error", stdin='{"text": 3}\n'),
]

ALL = [*FLAGS, *PLACES, *RECIPES, *MODELS, *DATA]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, trained_run: Path) -> Path:
    made = tmp_path_factory.mktemp("bad") / "files"
    made.mkdir()
    (made.parent / "model").symlink_to(tiny_bert_dir)
    make_bad_files(made, tiny_bert_dir, trained_run)
    return made


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.command)
def test_a_mistake_is_named(case: Case, folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = run_cli(*shlex.split(case.command.replace("{d}", str(folder))), stdin=case.stdin, cwd=tmp_path)
    assert done.code == case.code, done.stderr
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert "error" in said.lower()
    for word in case.words:
        assert word in said
    assert not list(tmp_path.rglob("*")), "a command that failed before it began leaves nothing behind"
    assert sorted(folder.rglob("*")) == before


def test_there_are_enough_cases_and_none_twice() -> None:
    assert len({case.command + case.stdin for case in ALL}) == len(ALL) >= 60


def _process(command: str, folder: Path, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("{d}", str(folder)))
    return subprocess.run(
        [sys.executable, "-m", "ftcli", *words], stderr=subprocess.PIPE, text=True, cwd=cwd, env=dict(os.environ),
        timeout=120, check=False, **options,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout(folder: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = _process("predict {d}/run {d}/plain.txt", folder, tmp_path, stdout=full)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "No space left" in done.stderr


def test_a_full_disk_under_a_run(folder: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = _process(f"{TRAIN} {GOOD} --out run", folder, tmp_path, stdout=subprocess.DEVNULL, preexec_fn=limit)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "cannot write" in done.stderr
