import io
import json
import math
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from sklearn.metrics import classification_report

from ftcli.contract import Evaluation
from ftcli.metrics.report import classification
from ftcli.reports import REPORTS, json_report
from ftcli.reports import classification_report as ours
from ftcli.reports.markdown import escape

NASTY = [
    "plain", "电影评论很好", "pipe|and`tick`", "<script>alert(1)</script>", "line\nbreak", "\x1b[31mred\x1b[0m",
    "\u202etxt.exe", "x" * 300, "", "[bold]markup[/bold]", "e\u0301", "👩\u200d🚀", "\ud800", "a\tb\r",
]  # fmt: skip


def report_of(names, rows=None, **parts):
    classes = len(names)
    true = [index % classes for index in range(rows or 5 * classes)]
    predicted = [label if index % 3 else (label + 1) % classes for index, label in enumerate(true)]
    scored = Evaluation(**classification(true, predicted, names, bootstrap=50, seed=0))
    scored.metrics["loss"] = parts.pop("loss", 0.25)
    data = {"name": "films", "split": "test", "rows": len(true), "fingerprint": "abc"}
    return json_report.build(
        command="evaluate",
        task="text-classification",
        model="runs/x",
        data=data,
        evaluation=scored,
        seconds=2.0,
        **parts,
    )


def terminal(report, width=80, colour=True):
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="truecolor" if colour else None,
    )
    console.print(ours.as_rich(report))
    return stream.getvalue()


def harmless(text):
    return all(character == "\n" or unicodedata.category(character) not in {"Cc", "Cs", "Zl"} for character in text)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_the_text_is_scikit_learns_line_for_line(rows):
    names = ["a", "quite a long class name", "c", "d"]
    true, predicted = [row[0] for row in rows], [row[1] for row in rows]
    scored = Evaluation(**classification(true, predicted, names, bootstrap=0, seed=0))
    report = json_report.build(command="evaluate", task="t", model="m", data={"rows": 1}, evaluation=scored)
    theirs = classification_report(
        true, predicted, labels=range(4), target_names=names, zero_division=0, digits=4
    ).rstrip("\n").split("\n")  # fmt: skip
    lines = ours.as_text(report).split("\n")[: len(theirs) + 1]
    # scikit-learn writes supports as "1.0" where nothing at all was right
    assert [line for line in lines if "micro avg" not in line] == [
        re.sub(r"  (\s*\d+)\.0$", r"    \1", t) for t in theirs
    ]
    assert lines[7].split() == ["accuracy", f"{scored.metrics['accuracy']:.4f}", str(len(rows))]
    assert lines[8].split()[:2] == ["micro", "avg"]


def test_report_has_the_contracts_shape():
    gates = [{"metric": "accuracy", "op": ">=", "value": 0.9, "actual": 0.6, "passed": False}]
    report = report_of(["negative", "positive"], gates=gates)
    assert list(report) == [
        "schema", "command", "task", "model", "data", "metrics", "intervals", "classes", "confusion_matrix", "gates",
        "timing",
    ]  # fmt: skip
    assert report["schema"] == 1
    assert report["gates"] == gates
    assert list(report["classes"][0]) == ["label", "precision", "recall", "f1", "support"]
    assert report["timing"] == {"seconds": 2.0, "samples_per_second": 5.0}
    assert isinstance(report["intervals"]["accuracy"], list)
    assert json.loads(json_report.dumps(report)) == report


def test_json_is_strict_and_deterministic():
    report = report_of(NASTY, loss=math.nan)
    assert report["metrics"]["loss"] is None
    written = json_report.dumps(report)
    assert written == json_report.dumps(report_of(NASTY, loss=math.nan))
    assert written.isascii()
    assert json.loads(written, parse_constant=pytest.fail) == report
    with pytest.raises(ValueError, match="JSON"):
        json_report.dumps({"loss": math.inf})


@pytest.mark.parametrize("name", list(REPORTS))
@pytest.mark.parametrize("labels", [["only"], ["negative", "positive"], NASTY, [f"intent {i}" for i in range(77)]])
def test_every_rendering_takes_every_report(name, labels):
    text = REPORTS.part(name)(report_of(labels))
    assert text.endswith("\n")
    assert harmless(text)


@pytest.mark.parametrize("name", list(REPORTS))
def test_a_task_without_classes_is_rendered_too(name):
    scored = Evaluation(metrics={"mse": 0.5, "pearson": math.nan}, intervals={"mse": (0.4, 0.6)})
    report = json_report.build(
        command="evaluate", task="regression", model="m", data={"name": "d", "rows": 3}, evaluation=scored
    )
    text = REPORTS.part(name)(report)
    assert "mse" in text
    assert "precision" not in text
    assert "mse" in terminal(report)


def test_text_says_intervals_gates_and_mistakes():
    gates = [{"metric": "accuracy", "op": ">=", "value": 0.9, "actual": None, "passed": False}]
    text = ours.as_text(report_of(["negative", "positive"], gates=gates))
    assert "loss 0.2500\n" in text
    assert "accuracy 0.6000 (95 % interval 0." in text
    assert "gate accuracy >= 0.9: FAILED (n/a)" in text
    assert "confusion matrix (rows: true, columns: predicted)" in text
    assert "most frequent mistakes" in ours.as_text(report_of([f"intent {i}" for i in range(77)]))


def test_wide_labels_stay_aligned():
    lines = ours.as_text(report_of(NASTY)).split("\n")
    table = lines[2 : 2 + len(NASTY)]
    assert len({cell_len(line) for line in table}) == 1
    matrix = lines[next(i for i, line in enumerate(lines) if line.startswith("confusion")) + 2 :][: len(NASTY) + 1]
    assert len({cell_len(line) for line in matrix}) == 1


@pytest.mark.parametrize(
    "labels",
    [["negative", "positive"], NASTY, *([f"intent number {i:02d} of many" for i in range(n)] for n in (8, 12, 20, 77))],
)
def test_a_terminal_of_80_columns_suffices(labels):
    lines = terminal(report_of(labels), colour=False).split("\n")
    assert max(map(cell_len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert harmless("\n".join(lines))


def test_the_weakest_class_is_marked_without_colour():
    report = report_of(["a", "b", "never"])
    report["classes"][0].update(f1=0.5)
    report["classes"][1].update(f1=0.1)
    report["classes"][2].update(f1=0.0, support=0)
    marked = [line for line in terminal(report, colour=False).split("\n") if "<- weakest" in line]
    assert [line.split()[0] for line in marked] == ["b"]
    assert "\x1b[1;31m" in terminal(report)


def test_many_classes_name_the_weakest_again_below():
    report = report_of([f"intent {i}" for i in range(77)])
    report["classes"][40].update(f1=0.01)
    assert "weakest class: intent 40 (f1-score 0.0100" in terminal(report, colour=False)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("a|b", r"a\|b"), ("f1_macro", "f1_macro"),
        (":smile:", r"\:smile:"), ("<b>&", "&lt;b&gt;&amp;"), ("x\ny", r"x\\ny"), ("*_`[x](y)", r"\*\_\`\[x\](y)"),
        ("\x1b[0m", r"\\x1b\[0m"),
    ],
)  # fmt: skip
def test_markdown_is_escaped(label, expected):
    assert escape(label) == expected


def test_markdown_tables_have_the_same_cells_in_every_row():
    text = REPORTS.part("markdown")(report_of(NASTY))
    blocks = [block.split("\n") for block in text.rstrip().split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for rows in blocks:
        assert len({row.replace(r"\|", "").count("|") for row in rows}) == 1
