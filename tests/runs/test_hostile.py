"""Labels, texts and recipes made to do harm: nothing leaves the run folder, drives a terminal or becomes markup."""

from __future__ import annotations

import json
import re
import shutil
import time
import unicodedata
from pathlib import Path

import pytest
import yaml

from tests.tiny import run_cli, tiny_reviews, write_jsonl

LABELS = (
    "../../x", "/etc/x", "a\x1b[31mred", "<script>alert(1)</script>", "c1 \x9b31m", "\u202eback", "bell\x07 del\x7f",
    "line\u2028end", "| pipe `tick` [link](javascript:x)", "CON", "", "{[(", "a\\nb", "a\nb",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose labels and texts are made to do harm."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    folder.mkdir()
    labels = [label for label in LABELS if label]
    for split, count, seed in (("train", 78, 0), ("validation", 26, 1), ("test", 26, 2)):
        rows = [{**row, "text": f"{row['text']} \x1b]0;title\x07 \x9b2J <b>", "label": labels[i % len(labels)]}
                for i, row in enumerate(tiny_reviews(count, seed))]  # fmt: skip
        write_jsonl(rows, folder / f"{split}.jsonl")
    return folder


def assert_harmless(text: str, where: object) -> None:
    found = CONTROL.search(text)
    assert found is None, f"{where}: {text[max(0, found.start() - 40) : found.end() + 20]!r}"


def test_labels_and_texts(hostile: Path, tmp_path: Path, tiny_bert_dir: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    train = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", str(hostile), "--max-steps", "3", "--out",
                    "run", cwd=inside)  # fmt: skip
    assert train.code == 0, train.stderr
    score = run_cli("evaluate", "run", "--out", "scores", cwd=inside)
    assert score.code == 0, score.stderr
    stream = (hostile / "test.jsonl").read_text(encoding="utf-8")
    answers = run_cli("predict", "run", stdin=stream, cwd=inside)
    assert answers.code == 0, answers.stderr
    dry = run_cli("finetune", "--model", str(tiny_bert_dir), "--data", str(hostile), "--dry-run", cwd=inside)
    assert dry.code == 0, dry.stderr
    for done in (train, score, answers, dry):
        assert_harmless(done.stdout, "stdout")
        assert_harmless(done.stderr, "stderr")
    texts = [json.loads(line)["text"] for line in answers.stdout.splitlines()]
    assert texts == [json.loads(line)["text"] for line in stream.splitlines()], "escaped, and not changed"
    names = {path.name for folder in (tmp_path, inside.parent, inside) for path in folder.iterdir()}
    assert names == {"a", "b", "run", "scores"}
    shown = 0
    for file in inside.rglob("*"):
        if file.suffix in {".json", ".jsonl", ".md", ".txt", ".yaml", ".html", ".xml"}:
            assert_harmless(file.read_text(encoding="utf-8"), file)
            shown += 1
        if file.suffix in {".md", ".html", ".xml"}:
            assert "<script>" not in file.read_text(encoding="utf-8")
    assert shown >= 15
    assert set(json.loads((inside / "run/report.json").read_text())["confusion_matrix"]["labels"]) == set(LABELS) - {""}


def test_bad_rows_are_named_without_their_controls(hostile: Path, tmp_path: Path, tiny_bert_dir: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_bytes((hostile / f"{split}.jsonl").read_bytes())
    rows = [*tiny_reviews(1), {"text": "good", "label": "\x1b[2Junknown\x9b"}]
    rows[0]["label"] = LABELS[0]
    write_jsonl(rows, data / "test.jsonl")
    asked = ("finetune", "--model", str(tiny_bert_dir), "--data", str(data), "--max-steps", "1", "--out", "run")
    refused = run_cli(*asked, cwd=tmp_path)
    assert refused.code == 3, refused.stderr
    assert_harmless(refused.stderr, "stderr")
    skipped = run_cli(*asked, "--on-bad-row", "skip", cwd=tmp_path)
    assert skipped.code == 0, skipped.stderr
    assert_harmless((tmp_path / "run" / "skipped.txt").read_text(encoding="utf-8"), "skipped.txt")
    assert "unknown" in (tmp_path / "run" / "skipped.txt").read_text(encoding="utf-8")


BOMBS = {
    "aliases": "a: &a [x, x]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]\n" for n in range(1, 30)),
    "merge": "model: &m {name: x}\ndata: {<<: *m}\n",
    "huge": "# comment\n" * 100_000,
    "dense": "model: {config: {" + ", ".join(f"k{i}: {i}" for i in range(13_000)) + "}}\nnothing: 1",
    "nested lists": "model: " + "[" * 100_000,
    "nested mappings": "model: " + "{a: " * 40_000,
    "nested blocks": "\n".join(" " * i + "a:" for i in range(600)),
    "huge number": "seed: " + "9" * 100_000,
    "sexagesimal": "seed: 1" + ":59" * 60_000,
    "huge float": "optimizer: {lr: 1e99999}",
    "object": "model: !!python/object/apply:os.system ['touch pwned']",
    "name": "model: {name: !!python/name:os.system ''}",
    "module": "model: !!python/module:os ''",
    "long key": "a" * 1000 + ": 1",
    "long value": "seed: '" + "A\\x1b" * 40_000 + "'",
    "escape": 'seed: "\\x1b[2J\\x9b"',
    "binary": "model: !!binary aGVsbG8=",
    "nul": "model: a\x00b",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_recipes(name: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(BOMBS[name], encoding="utf-8")
    began = time.monotonic()
    done = run_cli("recipe", "show", "r.yaml", cwd=tmp_path)
    assert time.monotonic() - began < 10
    assert done.code == 2, done.stderr
    assert len(done.stderr) < 10_000
    assert_harmless(done.stderr, "stderr")
    assert {path.name for path in tmp_path.iterdir()} == {"r.yaml"}


def test_times_of_day_are_texts(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: x\ndata: {revision: 1:30, name: 12:30:00.5}", encoding="utf-8")
    done = run_cli("recipe", "show", "r.yaml", cwd=tmp_path)
    assert done.code == 0, done.stderr
    shown = yaml.safe_load(done.stdout)["data"]
    assert (shown["revision"], shown["name"]) == ("1:30", "12:30:00.5")


def test_what_is_shown_is_printable() -> None:
    from ftcli.text import json_line

    nasty = "".join(chr(code) for code in range(0x110000) if not 0xD800 < code < 0xE000)  # one lone surrogate
    written = json_line({"text": nasty, nasty[:50]: 1})
    assert json.loads(written)["text"] == nasty
    hidden = {c for c in written if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert hidden == {"\u200c", "\u200d"}, "joiners of real words stay"


def test_a_recipe_cannot_have_code_run(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    """Only who types the command can; what was allowed is written down."""
    asked = ("--model", "coded", "--data", str(reviews_dir), "--max-steps", "1", "--out", "run")
    shutil.copytree(tiny_bert_dir, tmp_path / "coded")
    config = json.loads((tmp_path / "coded" / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoConfig": "own.Config"}
    config["model_type"] = "own"
    (tmp_path / "coded" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "coded" / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import BertConfig\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\nclass Config(BertConfig):\n    model_type = 'own'\n"
    )
    (tmp_path / "base.yaml").write_text("model: {trust_remote_code: true}\n", encoding="utf-8")
    (tmp_path / "r.yaml").write_text("extends: base.yaml\n", encoding="utf-8")
    for recipe in ("base.yaml", "r.yaml"):
        refused = run_cli("finetune", recipe, *asked, cwd=tmp_path)
        assert refused.code == 2, refused.stderr
        assert "a recipe may not run code" in refused.stderr
        assert "hint: --trust-remote-code" in refused.stderr
    assert run_cli("recipe", "show", "r.yaml", cwd=tmp_path).code == 0
    assert run_cli("finetune", *asked, cwd=tmp_path).code == 2
    assert not (tmp_path / "ran").exists()
    run_cli("finetune", "r.yaml", *asked, "--trust-remote-code", cwd=tmp_path)
    assert (tmp_path / "ran").exists(), "the test's own code is code that would run"
    plain = run_cli("finetune", "r.yaml", *asked, "--model", str(tiny_bert_dir), "--trust-remote-code", cwd=tmp_path)
    assert plain.code == 0, plain.stderr
    facts = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert facts["trust_remote_code"] is True
