"""Places metrics go, by name: each is made with the run folder and takes flat records (`contract.Tracker`)."""

from ftcli.registry import Table

TRACKERS = Table(
    "tracker",
    {
        "jsonl": "ftcli.trackers.jsonl:Jsonl",
        "tensorboard": "ftcli.trackers.tensorboard:TensorBoard",
    },
)
