"""What models learn to do: one file and one line here per task."""

from ftcli.registry import Table

TASKS = Table(
    "task",
    {
        "text-classification": "ftcli.tasks.text_classification:TextClassification",
        "pair": "ftcli.tasks.pair:PairClassification",
        "image-classification": "ftcli.tasks.image_classification:ImageClassification",
    },
)
