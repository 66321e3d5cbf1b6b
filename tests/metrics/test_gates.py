import math

import pytest

from ftcli.errors import UsageError
from ftcli.metrics.gates import Gate, check, failures, parse


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
