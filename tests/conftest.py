"""What the tests share: caches of their own, one thread each, a tiny model, tiny data, one trained run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

_CACHE = tempfile.mkdtemp(prefix="ftcli-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ.update(
    HF_HOME=_CACHE,
    XDG_CACHE_HOME=_CACHE,
    HF_ENDPOINT="http://127.0.0.1:9",  # nothing listens there: a test that needs a Hub starts its own
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    NO_COLOR="1",
)


@pytest.fixture(scope="session")
def reviews_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of split files that a tiny model can learn."""
    from tests.tiny import tiny_reviews, write_jsonl

    folder = tmp_path_factory.mktemp("data") / "reviews"
    folder.mkdir()
    for split, count, seed in (("train", 96, 0), ("validation", 24, 1), ("test", 40, 2)):
        write_jsonl(tiny_reviews(count, seed), folder / f"{split}.jsonl")
    return folder


@pytest.fixture(scope="session")
def tiny_bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers with a vocabulary of its own."""
    from tests.tiny import tiny_bert

    return tiny_bert(tmp_path_factory.mktemp("model") / "tiny-bert")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, reviews_dir: Path) -> Path:
    """A finished fine-tuning run."""
    from tests.tiny import run_cli

    run = tmp_path_factory.mktemp("run") / "trained"
    done = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--out", str(run),
        "--epochs", "3", "--lr", "2e-3", "--batch-size", "8",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return run
