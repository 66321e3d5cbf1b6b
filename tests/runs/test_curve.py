"""`ftcli curve` through the command line: cells, table, picture; stopped and gone on with; mistakes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.forked import start
from tests.runs.test_interruption import sends
from tests.runs.test_stages import target, written
from tests.tiny import Done, run_cli

__all__ = ["target"]
SMALL = ("--sizes", "8,all", "--seeds", "1,2", "--limit", "16", "--max-steps", "4", "--set", "eval.bootstrap=0")


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert_dir: Path, trained_run: Path, reviews_dir: Path
) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("whole")
    done = run_cli(*command(tiny_bert_dir, trained_run, reviews_dir), "--out", "curve", "--json", cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "curve", done


def command(model: Path, source: Path, data: Path) -> tuple[str, ...]:
    return ("curve", "--model", str(model), "--data", str(data), "--source", str(source), *SMALL)


def cells(text: str) -> list[tuple[str, str, int, float]]:
    return [(c["arm"], c["size"], c["seed"], c["value"]) for c in json.loads(text)["cells"]]


def test_cells_and_files(whole: tuple[Path, Done], reviews_dir: Path) -> None:
    run, done = whole
    curve = json.loads(done.stdout)
    assert done.stdout == (run / "curve.json").read_text()
    assert [cell[:3] for cell in cells(done.stdout)] == [
        (arm, size, seed) for size in ("8", "all") for seed in (1, 2) for arm in ("target_only", "transfer")
    ]
    assert (curve["metric"], curve["split"], curve["better"]) == ("f1_macro", "test", "higher")
    assert curve["data"] == str(reviews_dir)
    assert curve["rows"] == {"8": 8, "all": 16}
    point = curve["points"][0]
    own = {arm: [v for a, s, _, v in cells(done.stdout) if (a, s) == (arm, "8")] for arm in ("target_only", "transfer")}
    assert point["transfer"]["values"] == own["transfer"]
    assert point["gain"]["mean"] == pytest.approx(sum(own["transfer"]) / 2 - sum(own["target_only"]) / 2)
    assert curve["points"][1]["gain"]["mean"] > 0.1, "the source knows the words already"
    assert {p.name for p in run.iterdir()} == {"cells", "curve.json", "curve.md", "curve.png", "log.txt"}
    places = sorted(run.glob("cells/*"))
    assert len(places) == 8
    assert all((place / "report.json").is_file() and not (place / "model").exists() for place in places)
    rows = [json.loads((p / "environment.json").read_text())["fingerprints"]["data"]["train"] for p in places]
    assert len(set(rows)) == 4, "both ways see the same rows, and each seed others"


def test_stopped_and_gone_on_with(
    whole: tuple[Path, Done], tmp_path: Path, tiny_bert_dir: Path, trained_run: Path, reviews_dir: Path
) -> None:
    asked = (*command(tiny_bert_dir, trained_run, reviews_dir), "--out", "curve")
    child = start(*asked, cwd=tmp_path, before=sends(signal.SIGTERM, "ftcli.engine.loop:Loop", "_forward_backward", 10))
    assert child.wait() == 75, child.said()
    assert "error: target only, 8 rows, seed 2: stopped" in child.said()
    assert "--resume --out curve\n" in child.said()
    assert len(cells((tmp_path / "curve" / "curve.json").read_text())) == 2
    refused = run_cli(*asked, cwd=tmp_path)
    assert refused.code == 2
    assert "already holds a run" in refused.stderr
    resumed = run_cli(*asked, "--resume", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert resumed.stderr.count("(done before)") == 2
    assert cells((tmp_path / "curve" / "curve.json").read_text()) == cells(whole[1].stdout)
    assert "rows" in resumed.stdout
    assert "gain" in resumed.stdout
    more = run_cli(*asked, "--resume", "--sizes", "4,8,300,all", "--seeds", "2", cwd=tmp_path)
    assert more.code == 0, more.stderr
    assert more.stderr.count("(done before)") == 4
    assert "has 16 rows to train on: 300 left out" in more.stderr
    other = run_cli(*asked, "--resume", "--source", str(tiny_bert_dir), cwd=tmp_path)
    assert other.code == 2
    assert "began from" in other.stderr


def test_of_a_chain(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path) -> None:
    """The last stage is the target, those before it are trained once."""
    file = written(tmp_path / "chain.yaml", tiny_bert_dir, reviews_dir, target)
    asked = ("curve", str(file), "--sizes", "all", "--seeds", "3", "--limit", "16", "--max-steps", "2")
    looked = run_cli(*asked, "--dry-run", "--json", cwd=tmp_path)
    assert looked.code == 0, looked.stderr
    facts = json.loads(looked.stdout)
    assert facts["cells"] == 2
    assert [stage["name"] for stage in facts["source"]["stages"]] == ["words", "source"]
    done = run_cli(*asked, "--out", "curve", cwd=tmp_path)
    assert done.code == 0, done.stderr
    run = tmp_path / "curve"
    assert sorted(p.name for p in (run / "source" / "stages").iterdir()) == ["1-words", "2-source"]
    model = {p.name.split("-all")[0]: (p / "recipe.yaml").read_text().split("  name: ")[2] for p in run.glob("cells/*")}
    assert model["target-only"].startswith(f"{tiny_bert_dir}\n")
    assert model["transfer"].startswith("curve/source\n")
    again = run_cli(*asked, "--out", "curve", "--resume", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert again.stdout == done.stdout
    assert again.stderr.count("(done before)") == 2


def test_source_data_and_none(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, target: Path) -> None:
    asked = ("curve", "--model", str(tiny_bert_dir), "--data", str(target), "--sizes", "all", "--seeds", "1",
             "--limit", "16", "--max-steps", "2", "--set", "stage_cache=none")  # fmt: skip
    both = run_cli(*asked, "--source-data", str(reviews_dir), "--out", "both", cwd=tmp_path)
    assert both.code == 0, both.stderr
    assert "gain" in both.stdout
    assert "transfer from both/source" in both.stdout
    alone = run_cli(*asked, "--out", "alone", cwd=tmp_path)
    assert alone.code == 0, alone.stderr
    assert "gain" not in alone.stdout
    assert not (tmp_path / "alone" / "source").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--sizes", "8,8"), "--sizes is '8,8'"),
        (("--sizes", "many"), "--sizes is 'many'"),
        (("--sizes", "1"), "--sizes is '1'"),
        (("--seeds", "x"), "--seeds is 'x'"),
        (("--seeds", "-1"), "--seeds is '-1'"),
        (("--sizes", "5000"), "--sizes has 5000; "),
        (("--source", "runs/nowhere/else"), "source: no model at 'runs/nowhere/else'"),
        (("--source", "a", "--source-data", "b"), "one of the two"),
        (("--source-data", "no.csv"), "source: stage 1 (source): data 'no.csv' does not exist"),
    ],
)
def test_mistakes(more: tuple[str, ...], message: str, tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    done = run_cli("curve", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), *more, cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "runs").exists(), "nothing is left of it"
