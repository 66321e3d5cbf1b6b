"""Metrics by name. Each is an `evaluate.Metric` that needs no network; one file per family."""

from ftcli.registry import Table

METRICS = Table(
    "metric",
    {
        "accuracy": "ftcli.metrics.classification:Accuracy",
        "precision_recall_f1": "ftcli.metrics.classification:PrecisionRecallF1",
        "balanced_accuracy": "ftcli.metrics.classification:BalancedAccuracy",
        "mcc": "ftcli.metrics.classification:MatthewsCorrelation",
    },
)
