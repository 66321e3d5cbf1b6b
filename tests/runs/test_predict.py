"""`ftcli predict` as a stream: order, errors in place, pipes that close, memory that stays flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tiny import run_cli, tiny_reviews, write_csv, write_jsonl


def test_lines_in_order_with_scores(trained_run: Path, tmp_path: Path) -> None:
    texts = [r["text"] for r in tiny_reviews(100, seed=5)]
    done = run_cli("predict", str(trained_run), stdin="\n".join(texts) + "\n", cwd=tmp_path)
    assert done.code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["text"] for a in answers] == texts
    for answer in answers:
        assert set(answer["scores"]) == {"negative", "positive"}
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["score"] == max(answer["scores"].values()) == answer["scores"][answer["prediction"]]


def test_bad_records_stay_in_place(trained_run: Path, tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "a fine film"}', "{broken", '{"id": 3}', '{"id": 4, "text": "dull"}']
    done = run_cli("predict", str(trained_run), "-", stdin="\n".join(lines), cwd=tmp_path)
    assert done.code == 3
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a.get("id") for a in answers] == [1, None, None, 4]
    assert [a.get("line") for a in answers] == [None, 2, 3, None]
    assert "error" in answers[1]
    assert "error" in answers[2]


def test_output_file_is_whole_or_absent(trained_run: Path, tmp_path: Path) -> None:
    write_jsonl(tiny_reviews(10, seed=5), tmp_path / "in.jsonl")
    done = run_cli("predict", str(trained_run), "in.jsonl", "--output", "out.jsonl", cwd=tmp_path)
    assert done.code == 0
    assert done.stdout == ""
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 10
    failed = run_cli("predict", str(trained_run), "in.jsonl", "--output", "/dev/full", cwd=tmp_path)
    assert failed.code == 2
    assert "cannot write" in failed.stderr


def test_fields_that_json_or_utf8_cannot_hold(trained_run: Path, tmp_path: Path) -> None:
    """NaN among a table's other columns, half a surrogate pair in a JSON field: neither ends the stream."""
    table = pa.table({"text": ["a fine film", "a dull one"], "price": [float("nan"), 1.5], "raw": [[float("inf")], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    done = run_cli("predict", str(trained_run), "in.parquet", "-q", cwd=tmp_path)
    assert done.code == 0, done.stderr
    answers = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
    assert [(a["price"], a["raw"]) for a in answers] == [(None, [None]), (1.5, [])]
    line = '{"text": "a fine film", "half": "\\ud800", "none": NaN}\n'
    done = run_cli("predict", str(trained_run), "-q", "--output", "out.jsonl", stdin=line, cwd=tmp_path)
    assert done.code == 0, done.stderr
    answer = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert (answer["half"], answer["none"]) == ("\ud800", None)


def test_closed_pipe_ends_quietly(trained_run: Path, tmp_path: Path) -> None:
    command = f"yes 'a fine film' | head -20000 | {sys.executable} -m ftcli predict {trained_run} | head -1"
    done = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[2]}}"], capture_output=True, text=True,
                          cwd=tmp_path, timeout=120, check=False)  # fmt: skip
    answer, code = done.stdout.splitlines()
    assert json.loads(answer)["text"] == "a fine film"
    assert code == "0"
    assert done.stderr == ""


def test_answers_come_before_the_input_ends(trained_run: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ftcli", "predict", str(trained_run), "-q"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for text in ("a fine film", "a dull one"):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.slow
def test_memory_stays_flat(trained_run: Path, tmp_path: Path) -> None:
    """The peak of 120,000 lines is that of 20,000, within 32 MiB."""
    probe = (
        "import resource, sys; from ftcli.cli.app import main\n"
        "sys.argv = ['ftcli', 'predict', sys.argv[1], '-q']\n"
        "try: main()\n"
        "finally: sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    peaks = []
    for lines in (20_000, 120_000):
        command = f"yes 'a fine film' | head -{lines} | {sys.executable} -c \"$PROBE\" {trained_run} | wc -l"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path,
                              env={**os.environ, "PROBE": probe}, check=True)  # fmt: skip
        assert int(done.stdout) == lines
        peaks.append(int(done.stderr))
    assert peaks[1] - peaks[0] < 32 * 1024


def test_how_the_training_data_was_read_says_nothing_of_other_input(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """A run on lines of Latin-1, by position, answers UTF-8 text, JSON lines and tables with headers all the same."""
    rows = tiny_reviews(40)
    lines = "".join(f"{row['label']}\tcaf\u00e9 {row['text']}\n" for row in rows)
    (tmp_path / "own.txt").write_text(lines, encoding="latin-1")
    trained = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "own.txt", "--columns", "label=0,text=1",
        "--encoding", "latin-1", "--max-steps", "1", "--out", "run", "-q", cwd=tmp_path,
    )  # fmt: skip
    assert trained.code == 0, trained.stderr
    write_csv([{"id": 1, "text": "caf\u00e9"}], tmp_path / "other.csv")
    for stdin, source in (("caf\u00e9\n", "-"), ('{"text": "caf\u00e9"}\n', "-"), ("", "other.csv")):
        done = run_cli("predict", "run", source, stdin=stdin, cwd=tmp_path)
        assert done.code == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["text"] == "caf\u00e9"
        assert ("--encoding=latin-1" in done.stderr) == (source != "-"), "what may be missing is said"
    own = run_cli("predict", "run", str(tmp_path / "own.txt"), "-q", cwd=tmp_path)
    assert json.loads(own.stdout.splitlines()[0])["1"].startswith("caf\u00e9"), "the run's own data, by another path"


def test_the_column_of_the_training_data_comes_first(tmp_path: Path, tiny_bert_dir: Path) -> None:
    """Where other input has the column the run was trained on, that one; where it has not, the usual names."""
    rows = [{"text": "x", "story": row["text"], "kind": row["label"]} for row in tiny_reviews(40)]
    write_csv(rows, tmp_path / "own.csv")
    write_csv(rows, tmp_path / "other.csv")
    trained = run_cli(
        "finetune", "--model", str(tiny_bert_dir), "--data", "own.csv", "--text-column", "story",
        "--label-column", "kind", "--max-steps", "1", "--out", "run", "-q", cwd=tmp_path,
    )  # fmt: skip
    assert trained.code == 0, trained.stderr
    own, other = (
        json.loads(run_cli("evaluate", "run", "--data", name, "--json", "-q", cwd=tmp_path).stdout)["metrics"]
        for name in ("own.csv", "other.csv")
    )
    assert own == other
    lines = '{"text": "x", "story": "a fine film"}\n{"story": "a fine film"}\n'
    with_both = run_cli("predict", "run", "-q", stdin=lines, cwd=tmp_path).stdout.splitlines()
    assert json.loads(with_both[0])["scores"] == json.loads(with_both[1])["scores"]
    usual = run_cli("predict", "run", "-q", stdin='{"text": "a fine film"}\n', cwd=tmp_path)
    assert usual.code == 0
    assert json.loads(usual.stdout)["scores"] == pytest.approx(json.loads(with_both[0])["scores"], abs=1e-6)
