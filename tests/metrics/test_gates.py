import math

import pytest

from ftcli.errors import UsageError
from ftcli.metrics.gates import Gate, check, check_margin, failures, parse, parse_margin


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("f1_macro=0.9", Gate("f1_macro", ">=", 0.9)),
        ("accuracy>=0.9", Gate("accuracy", ">=", 0.9)),
        ("accuracy<=0.9", Gate("accuracy", "<=", 0.9)),
        ("loss<=0.3", Gate("loss", "<=", 0.3)),
        ("loss=0.3", Gate("loss", "<=", 0.3)),
        ("wer = 1e-2", Gate("wer", "<=", 0.01)),
        ("loss>=0.3", Gate("loss", ">=", 0.3)),
        ("ndcg@10=0.5", Gate("ndcg@10", ">=", 0.5)),
        ("pearson=-0.5", Gate("pearson", ">=", -0.5)),
    ],
)
def test_parse(text, gate):
    assert parse(text) == gate


@pytest.mark.parametrize(
    "text", ["", "accuracy", "=0.9", "accuracy=", "accuracy>0.9", "accuracy==0.9", "accuracy=high", "accuracy=nan",
             "accuracy=inf", "accuracy=0.9=1", "accuracy != 1", "a b=1"],
)  # fmt: skip
def test_malformed_gates_are_refused_with_a_hint(text):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "METRIC=VALUE" in (caught.value.hint or "")


def test_check_has_the_shape_of_the_contract():
    results = check([parse("accuracy=0.9"), parse("loss=0.2")], {"accuracy": 0.9, "loss": 0.21})
    assert results == [
        {"metric": "accuracy", "op": ">=", "value": 0.9, "actual": 0.9, "passed": True},
        {"metric": "loss", "op": "<=", "value": 0.2, "actual": 0.21, "passed": False},
    ]
    assert failures(results) == ["loss <= 0.2: loss is 0.21"]


def test_missing_and_nan_metrics_fail():
    results = check([parse("acuracy=0.1"), parse("f1_macro=0.1")], {"accuracy": 0.9, "f1_macro": math.nan})
    assert [(result["actual"], result["passed"]) for result in results] == [(None, False), (None, False)]
    assert results[0]["hint"] == "did you mean 'accuracy'?"
    missing, nan = failures(results)
    assert "no metric 'acuracy'" in missing
    assert "not a finite number" in nan


def test_margins_are_read():
    assert parse_margin("f1_macro=0.005") == ("f1_macro", 0.005)
    assert parse_margin(" loss = 0 ") == ("loss", 0.0)
    for text in ("f1_macro", "f1_macro>=0.1", "f1_macro=-0.1", "f1_macro=nan", "=1", "f1_macro=a"):
        with pytest.raises(UsageError, match="is no margin"):
            parse_margin(text)


@pytest.mark.parametrize(
    ("metric", "margin", "before", "after", "passed"),
    [
        ("accuracy", 0.005, 0.905, 0.9, True),  # exactly the margin, whatever the last bit of 0.905 - 0.9
        ("accuracy", 0.005, 0.8735, 0.8685, True),
        ("accuracy", 0.005, 0.905, 0.8999, False),
        ("accuracy", 0.0, 0.9, 0.95, True),
        ("loss", 0.1, 0.3, 0.4, True),
        ("loss", 0.1, 0.3, 0.41, False),
        ("loss", 0.0, 0.3, 0.2, True),
        ("accuracy", 1.0, math.nan, 0.9, False),
        ("accuracy", 1.0, 0.9, math.nan, False),
        ("accuracy", 1.0, None, 0.9, False),
    ],
)
def test_worse_by_more_than_the_margin(metric, margin, before, after, passed):
    found = check_margin(metric, margin, {metric: before}, {metric: after})
    assert found["passed"] is passed
    assert bool(failures([found])) is not passed


def test_a_baseline_that_is_no_number_is_said():
    found = check_margin("accuracy", 1.0, {"accuracy": math.nan}, {"accuracy": 0.9})
    assert failures([found]) == ["accuracy: that of the baseline is not a finite number"]


def test_a_metric_that_one_of_them_lacks_fails():
    assert check_margin("f1", 1, {}, {"f1": 0.5})["passed"] is False
    missing = check_margin("f1_makro", 1, {"f1_macro": 0.5}, {"f1_macro": 0.5})
    assert missing["passed"] is False
    assert "there is no metric 'f1_makro'" in failures([missing])[0]
    assert "did you mean 'f1_macro'?" in failures([missing])[0]
