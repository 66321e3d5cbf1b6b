"""Models and data by their Hub names, from a small Hub on this machine, from the cache, and from nowhere."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import Hub, running
from tests.tiny import Done, run_cli_process, tiny_bert, tiny_model, tiny_reviews

QUICK = ("--max-steps", "2", "--set", "eval.bootstrap=0")


def parquet(path: Path, count: int, seed: int, *, labelled: bool = True, named: bool = True) -> None:
    """Rows as on the real Hub: whole numbers, with the labels' names in the schema."""
    names = ["neg", "pos"]
    rows = [
        {"text": row["text"], "label": int(row["label"] == "positive") if labelled else -1}
        for row in tiny_reviews(count, seed)
    ]
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.Table.from_pylist(rows)
    if named:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    models, data = root / "models", root / "datasets"
    model = tiny_bert(models / "google-bert" / "bert-base-cased")
    tiny_bert(models / "someone" / "classifier", labels=["negative", "positive"])
    for split, count in (("train", 60), ("test", 20), ("unsupervised", 10)):
        file = data / "stanfordnlp" / "imdb" / "plain_text" / f"{split}-00000-of-00001.parquet"
        parquet(file, count, len(split), labelled=split != "unsupervised")
        parquet(data / "bare" / f"{split}.parquet", count, len(split), labelled=split != "unsupervised")
    shutil.rmtree(data / "bare" / "unsupervised.parquet", ignore_errors=True)
    for config in ("easy", "hard"):
        parquet(data / "someone" / "two" / config / "train.parquet", 40, 1)
        parquet(data / "someone" / "two" / config / "test.parquet", 20, 2)
    lines = "".join(
        f"- config_name: {c}\n  data_files:\n  - {{split: train, path: {c}/train.parquet}}\n"
        f"  - {{split: test, path: {c}/test.parquet}}\n"
        for c in ("easy", "hard")
    )
    (data / "someone" / "two" / "README.md").write_text(f"---\nconfigs:\n{lines}---\n", encoding="utf-8")
    for split in ("train", "validation", "test"):
        file = data / "someone" / "letters" / "ro-en" / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        texts = [row["text"] for row in tiny_reviews(12, len(split))]
        rows = [{"translation": {"en": text, "ro": f"ro {text}"}} for text in texts]
        pq.write_table(pa.Table.from_pylist(rows), file)
    letters = "".join(f"  - {{split: {s}, path: ro-en/{s}.parquet}}\n" for s in ("train", "validation", "test"))
    (data / "someone" / "letters" / "README.md").write_text(
        "---\nconfigs:\n- config_name: ro-en\n  data_files:\n" + letters + "dataset_info:\n- config_name: ro-en\n"
        "  features:\n  - name: translation\n    dtype:\n      translation:\n        languages:\n        - ro\n"
        "        - en\n---\n",
        encoding="utf-8",
    )
    (data / "someone" / "script").mkdir()
    (data / "someone" / "script" / "script.py").write_text("raise SystemExit('run')\n", encoding="utf-8")
    for name in ("pickled", "coded", "closed"):
        shutil.copytree(model, models / "someone" / name)
    (models / "someone" / "pickled" / "model.safetensors").rename(models / "someone" / "pickled" / "pytorch_model.bin")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    own = {**config, "model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (models / "someone" / "coded" / "config.json").write_text(json.dumps(own), encoding="utf-8")
    with running(root) as served:
        served.gated = {"someone/closed"}
        yield served


def ftcli(hub: Hub, cache: Path, cwd: Path, *arguments: str, stdin: str = "") -> Done:
    return run_cli_process(*arguments, cwd=cwd, env=hub.environment(cache), stdin=stdin)


@pytest.fixture(scope="module")
def flagship(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Done]:
    """Cache, folder and outcome of the command people are told to type, these words alone."""
    cache, folder = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("work")
    return cache, folder, ftcli(hub, cache, folder, "finetune", "--model", "bert-base-cased", "--data", "imdb")


def test_a_translation_set(hub: Hub, tmp_path: Path) -> None:
    """The task is recognised, the direction the data set's own and said, and turned on request."""
    tiny_model("t5", tmp_path / "t5")
    flags = ("--model", "t5", "--data", "someone/letters:ro-en", "--json", "--set", "seq2seq.max_target_length=8")
    done = ftcli(hub, tmp_path / "cache", tmp_path, "finetune", *flags, "--out", "run", *QUICK)
    assert done.code == 0, done.stderr
    assert "task seq2seq, since 'translation' holds a text in each of en, ro" in done.stderr
    assert "source 'translation.ro', target 'translation.en'; the other way round: --columns source=" in done.stderr
    shown = json.loads(done.stdout)["details"]["examples"][0]
    assert shown["source"] == f"ro {shown['target']}"
    turned = ("--columns", "text=translation.en,target=translation.ro", "--dry-run")
    done = ftcli(hub, tmp_path / "cache", tmp_path, "finetune", *flags, *turned)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["columns"] == {"source": "translation.en", "target": "translation.ro"}
    line = json.dumps({"translation": {"en": "a film", "ro": "ro a film"}})
    said = ftcli(hub, tmp_path / "cache", tmp_path, "predict", "run", stdin=line)
    assert said.code == 0, said.stderr
    assert json.loads(said.stdout)["translation"]["ro"] == "ro a film"


def test_the_flagship_command(flagship: tuple[Path, Path, Done]) -> None:
    _, folder, done = flagship
    assert done.code == 0, done.stderr
    run = folder / "runs" / "finetune-bert-base-cased-imdb"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert [entry["label"] for entry in report["classes"]] == ["neg", "pos"]
    assert (report["data"]["name"], report["data"]["split"], report["data"]["rows"]) == ("imdb", "test", 20)
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "neg", "1": "pos"}
    assert "neg" in done.stdout
    assert not any(word in done.stderr for word in ("Warning", "shards", "Downloading", "http://", "Traceback"))


def test_again_from_the_cache_with_the_hub_gone(flagship: tuple[Path, Path, Done]) -> None:
    cache, folder, _ = flagship
    gone = Hub(folder, "http://127.0.0.1:9")
    done = ftcli(gone, cache, folder, "finetune", "--model", "bert-base-cased", "--data", "imdb", *QUICK)
    assert done.code == 0, done.stderr
    assert done.stderr.count("could not be reached") == 2, "the model's and the data's age is not known: said"


@pytest.mark.parametrize(
    ("model", "what"), [("bert-base-cased", "bert-base-cased"), ("preset:bert-tiny", "stanfordnlp/imdb")]
)
def test_no_hub_and_no_cache(tmp_path: Path, model: str, what: str) -> None:
    gone = Hub(tmp_path, "http://127.0.0.1:9")
    began = time.monotonic()
    done = ftcli(gone, tmp_path / "cache", tmp_path, "finetune", "--model", model, "--data", "imdb")
    assert done.code == 2
    assert "reached" in done.stderr
    assert what in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 60, "no minutes of retries"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("endpoint", ["http://hub.invalid", "no-url"])
def test_a_hub_whose_name_leads_nowhere(tmp_path: Path, endpoint: str) -> None:
    """A machine without a network cannot even look the name up: that is no bug of ours."""
    gone = Hub(tmp_path, endpoint)
    done = ftcli(gone, tmp_path / "cache", tmp_path, "finetune", "--model", "preset:bert-tiny", "--data", "imdb")
    assert done.code == 2, done.stderr
    assert f"the Hub ({endpoint}) could not be reached" in done.stderr


CASES = {
    "unknown model": (("--model", "someone/nothing", "--data", "imdb"), 2, ("someone/nothing", "hint:")),
    "unknown data": (("--model", "bert-base-cased", "--data", "someone/nothing"), 2, ("someone/nothing", "hint:")),
    "near name": (("--model", "bert-base-cased", "--data", "imbd"), 2, ("imbd", "did you mean 'imdb'")),
    "pickle": (("--model", "someone/pickled", "--data", "imdb"), 2, ("someone/pickled", "safetensors", "hint:")),
    "own code": (("--model", "someone/coded", "--data", "imdb"), 2, ("someone/coded", "--trust-remote-code")),
    "gated": (("--model", "someone/closed", "--data", "imdb"), 2, ("gated", "hf auth login")),
    "several configurations": (
        ("--model", "bert-base-cased", "--data", "someone/two"), 2, ("easy, hard", "--data someone/two:easy"),
    ),
    "no such configuration": (("--model", "bert-base-cased", "--data", "someone/two:hart"), 2, ("someone/two:hard",)),
    "script": (("--model", "bert-base-cased", "--data", "someone/script"), 2, ("Python script", "never run")),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_the_hub_refuses(name: str, hub: Hub, flagship: tuple[Path, Path, Done], tmp_path: Path) -> None:
    arguments, code, words = CASES[name]
    done = ftcli(hub, flagship[0], tmp_path, "finetune", *arguments, *QUICK)
    assert done.code == code, done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["stanfordnlp/imdb", "someone/two:hard", "bare"])
def test_other_names(name: str, hub: Hub, flagship: tuple[Path, Path, Done], tmp_path: Path) -> None:
    """An owner's name, a configuration, and a data set that has no owner."""
    done = ftcli(hub, flagship[0], tmp_path, "finetune", "--model", "bert-base-cased", "--data", name, "--json", *QUICK)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["data"]["rows"] == 20


def test_a_hub_model_scores_and_predicts(hub: Hub, flagship: tuple[Path, Path, Done], tmp_path: Path) -> None:
    predicted = ftcli(hub, flagship[0], tmp_path, "predict", "someone/classifier", stdin="a fine film\n")
    assert predicted.code == 0, predicted.stderr
    assert set(json.loads(predicted.stdout)["scores"]) == {"negative", "positive"}
    scored = ftcli(hub, flagship[0], tmp_path, "evaluate", "someone/classifier", "--data", "imdb", "--json")
    assert scored.code == 0, scored.stderr
    assert "labels (neg, pos) are taken in their order for the model's (negative, positive)" in scored.stderr
