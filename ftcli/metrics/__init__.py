"""Metrics by name. Each is an `evaluate.Metric` that needs no network; one file per family."""

from ftcli.registry import Table

METRICS = Table(
    "metric",
    {
        "accuracy": "ftcli.metrics.classification:Accuracy",
        "precision_recall_f1": "ftcli.metrics.classification:PrecisionRecallF1",
        "balanced_accuracy": "ftcli.metrics.classification:BalancedAccuracy",
        "set_f1": "ftcli.metrics.multi_label:SetF1",
        "average_precision": "ftcli.metrics.multi_label:AveragePrecision",
        "answer_scores": "ftcli.metrics.squad:AnswerScores",
        "rankings": "ftcli.metrics.ranking:Rankings",
        "entity_f1": "ftcli.metrics.spans:EntityF1",
        "correlations": "ftcli.metrics.regression:Correlations",
        "distances": "ftcli.metrics.regression:Distances",
        "transcript_errors": "ftcli.metrics.transcripts:TranscriptErrors",
        "bleu": "ftcli.metrics.written:Bleu",
        "chrf": "ftcli.metrics.written:ChrF",
        "rouge": "ftcli.metrics.written:Rouge",
        "mcc": "ftcli.metrics.classification:MatthewsCorrelation",
    },
)
