"""Digits equal scikit-learn's for absent, unseen and single classes; evaluate's traps are closed."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report, confusion_matrix

from ftcli.metrics import METRICS
from ftcli.metrics.base import LabelMetric, NumberMetric, SetMetric, TagMetric, TextMetric
from ftcli.metrics.gates import lower_is_better
from ftcli.metrics.report import classification


@st.composite
def answers(draw):
    """(references, predictions, number of classes); few rows, so classes are often absent, unseen or alone."""
    classes = draw(st.integers(1, 6))
    ids = st.integers(0, classes - 1)
    rows = draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=30))
    return [true for true, _ in rows], [predicted for _, predicted in rows], classes


def test_equal_to_sklearn_over_random_labels():
    examples = []

    @given(answers())
    @settings(max_examples=60, deadline=None)
    def check(case):
        references, predictions, classes = case
        examples.append(case)
        names = [f"class {index}" for index in range(classes)]
        labels = list(range(classes))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = classification_report(
                references, predictions, labels=labels, target_names=names, zero_division=0, output_dict=True
            )
            matrix = confusion_matrix(references, predictions, labels=labels)
        ours = classification(references, predictions, names, bootstrap=0, seed=0)
        for row in ours["classes"]:
            line = theirs[row["label"]]
            assert (row["precision"], row["recall"], row["f1"]) == (line["precision"], line["recall"], line["f1-score"])
            assert row["support"] == line["support"]
        metrics = ours["metrics"]
        assert metrics["accuracy"] == theirs["accuracy"] == metrics["f1_micro"]
        for average in ("macro", "weighted"):
            for name, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert metrics[f"{name}_{average}"] == theirs[f"{average} avg"][key]
        assert ours["confusion_matrix"] == {"labels": names, "rows": matrix.tolist()}

    check()
    assert any(len(set(true)) < classes for true, _, classes in examples), "no absent class was tried"
    assert any(set(predicted) - set(true) for true, predicted, _ in examples), "no class seen in predictions only"
    assert any(classes == 1 for *_, classes in examples), "no single class was tried"


ANSWERS = {
    LabelMetric: ([0, 1, 2, 1], {"labels": [0, 1, 2]}),
    NumberMetric: ([0.0, 1.5, 2.0], {}),
    TagMetric: ([["B-a", "I-a", "O"], ["B-b"]], {}),
    SetMetric: ([[0, 1], [1, 1], [0, 0]], {}),
    TextMetric: (["a text of some words", "and one more of these"], {}),
}
OF_THEIR_OWN = {
    "answer_scores": [["a cat"], ["two dogs"]],
    "rankings": [[1.0, 0.0], [0.0, 0.0, 1.0]],
    "transcript_errors": ["seven eight", "one"],
}
"""Answers of metrics whose rows are of another form than their kind's."""


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_scores_a_perfect_answer(name):
    kind = METRICS.part(name)
    if name in OF_THEIR_OWN:
        answers, options = OF_THEIR_OWN[name], {}
    else:
        answers, options = next(of_kind for base, of_kind in ANSWERS.items() if issubclass(kind, base))
    scores = kind().compute(predictions=answers, references=answers, **options)
    assert scores
    best = {"bleu": 100.0, "chrf": 100.0}  # as these are counted everywhere
    for metric, value in scores.items():
        assert value == pytest.approx(best.get(metric, float(not lower_is_better(metric)))), metric


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1.5], r"predictions\[1\] is 1.5 \(float\)"),
        ([0, None], r"predictions\[1\] is None"),
        ([0, "1"], r"predictions\[0\] is 0|predictions\[1\] is '1'"),
        (np.array([0.0, 1.0]), r"predictions\[0\] is .*0.0"),
        ([[0], [1]], "one label id per row"),
        ([0], "1 predictions for 2 references"),
        ([], "predictions is empty"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        METRICS.part("accuracy")().compute(predictions=values, references=[0, 1])


def test_nothing_to_score_is_said():
    metric = METRICS.part("accuracy")()
    with pytest.raises(ValueError, match="nothing to score"):
        metric.compute()
    with pytest.raises(ValueError, match="references are missing"):
        metric.compute(predictions=[1])
    with pytest.raises(ValueError, match="empty"):
        classification([], [], ["a"], bootstrap=10, seed=0)


def test_label_out_of_range_is_refused():
    with pytest.raises(ValueError, match="label id 2 among the references is none of the 2 classes"):
        classification([0, 2], [0, 1], ["a", "b"], bootstrap=0, seed=0)


def test_rows_may_be_added_before():
    metric = METRICS.part("accuracy")()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add(prediction=1, reference=1)
    with pytest.raises(ValueError, match="whole numbers"):
        metric.add(prediction=0.5, reference=1)
    assert metric.compute() == {"accuracy": pytest.approx(2 / 3)}


def test_offline_leaves_no_files_and_transformers_intact(tmp_path):
    script = (
        "import sys; from ftcli.metrics import METRICS; m = METRICS.part('accuracy')();"
        "assert m.compute(predictions=[1], references=[1]) == {'accuracy': 1.0};"
        "assert 'transformers.pipelines' not in sys.modules and 'transformers' not in sys.modules;"
        "import transformers; assert transformers.__version__"
    )
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "TMPDIR": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert [path for path in tmp_path.rglob("*") if "metric" in path.name] == []


def test_scores_are_the_same_where_evaluate_is_not_installed():
    script = (
        "import sys; sys.modules.update(evaluate=None, datasets=None);"
        "from ftcli.metrics.report import classification;"
        "print(classification([0, 1, 1], [0, 1, 0], ['a', 'b'], bootstrap=20, seed=0))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(classification([0, 1, 1], [0, 1, 0], ["a", "b"], bootstrap=20, seed=0))
