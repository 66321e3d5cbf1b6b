import json
import sys
import types

import pytest

from ftcli.errors import UsageError
from ftcli.trackers import TRACKERS
from ftcli.trackers.jsonl import Jsonl


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_per_record_written_at_once(tmp_path):
    tracker = Jsonl(tmp_path / "run")
    tracker.log({"step": 1, "loss": float("nan")})
    assert records(tracker.path) == [{"step": 1, "loss": None}]
    tracker.close()


def test_resuming_drops_later_and_broken_lines(tmp_path):
    tracker = Jsonl(tmp_path)
    for step in (1, 2, 3):
        tracker.log({"step": step})
    tracker.close()
    with tracker.path.open("a") as file:
        file.write('{"step": 4, "lo')
    again = Jsonl(tmp_path)
    assert [record["step"] for record in records(again.path)] == [1, 2, 3]
    again.truncate_after(2)
    again.log({"step": 3, "loss": 0.5})
    again.close()
    assert records(again.path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_tensorboard_missing_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as caught:
        TRACKERS.part("tensorboard")(tmp_path)
    assert caught.value.hint == "pip install tensorboard"


def test_tensorboard_writes_numbers_as_curves(tmp_path, monkeypatch):
    points = []

    class Writer:
        def __init__(self, log_dir, purge_step=None):
            self.log_dir = log_dir
            points.append(("purge", purge_step))

        def add_scalar(self, name, value, step):
            points.append((name, value, step))

        def close(self):
            points.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    tracker = TRACKERS.part("tensorboard")(tmp_path)
    tracker.log({"step": 3, "epoch": 0.5, "split": "train", "loss": 0.25, "note": "text", "best": True})
    tracker.truncate_after(2)
    tracker.close()
    assert points == [("purge", None), ("train/loss", 0.25, 3), "closed", ("purge", 3), "closed"]
