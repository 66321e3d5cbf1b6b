"""A peer that dies or stops answering: what torch raises is recognised, told, and told within its time."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ftcli.errors import LostWorkerError, UsageError
from ftcli.places import Place, started_anew

TIMEOUT = 2.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def peer(rank: int, port: int, word: Path, work: Callable[[], None], before: Callable[[], None] | None) -> int:
    """A forked process of two that works with the other until something is wrong, and writes down what."""
    pid = os.fork()
    if pid:
        return pid
    try:
        import torch.distributed as dist

        from ftcli.runs.lost import lost_workers_named

        with lost_workers_named(Place(rank, 2, rank, 2, "torchrun", "127.0.0.1", port), Path("runs/x")):
            if before is not None:
                before()
            dist.init_process_group(
                "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=TIMEOUT)
            )
            while True:
                work()
                word.with_suffix(".works").touch()
    except LostWorkerError as error:
        word.write_text(f"{error.exit_code} {error.message}\n{error.hint}")
    except BaseException:
        word.write_text(traceback.format_exc())
    os._exit(0)


def sums() -> None:
    import torch
    import torch.distributed as dist

    dist.all_reduce(torch.zeros(10_000))


def objects() -> None:
    import torch.distributed as dist

    dist.broadcast_object_list([1], src=0)


@pytest.mark.parametrize(
    ("work", "victim", "how"),
    [(sums, 1, signal.SIGKILL), (objects, 0, signal.SIGKILL), (sums, 0, signal.SIGSTOP)],
    ids=["killed in a sum", "the first killed", "halted"],
)
def test_the_other_one_says_so(work: Callable[[], None], victim: int, how: signal.Signals, tmp_path: Path) -> None:
    import torch.distributed  # noqa: F401  once, here

    port, words = free_port(), [tmp_path / f"{rank}.txt" for rank in range(2)]
    pids = [peer(rank, port, words[rank], work, None) for rank in range(2)]
    try:
        deadline = time.monotonic() + 30
        while not all(word.with_suffix(".works").exists() for word in words) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(pids[victim], how)
        began = time.monotonic()
        os.waitpid(pids[1 - victim], 0)
        assert time.monotonic() - began < TIMEOUT + 5
    finally:
        os.kill(pids[victim], signal.SIGKILL)
        os.waitpid(pids[victim], 0)
    said = words[1 - victim].read_text()
    assert said.startswith("7 another process of this run has ended or does not answer; "), said
    assert f"seen by process {1 - victim} of 2 on " in said
    assert "--resume --out runs/x" in said


def test_one_that_never_comes(tmp_path: Path) -> None:
    import torch.distributed  # noqa: F401

    word = tmp_path / "word.txt"
    os.waitpid(peer(0, free_port(), word, sums, None), 0)
    assert word.read_text().startswith("7 another process of this run has ended or does not answer")


def test_other_errors_stay_what_they_are() -> None:
    import torch

    from ftcli.runs.lost import lost_peer, lost_workers_named

    place = Place(0, 2, 0, 2, "torchrun", "localhost", 1)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), UsageError("no"), ValueError("timed out")):
        assert not lost_peer(error)
        with pytest.raises(type(error)), lost_workers_named(place):
            raise error
    assert not lost_peer(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError), lost_workers_named(None):
        raise RuntimeError("Connection closed by peer")


NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3690, remote process exited or there was "
    "a network error, NCCL version 2.21.5\nncclRemoteError: A call failed possibly due to a network error or a remote "
    "process exiting prematurely.",
    "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3, OpType=ALLREDUCE) ran for 60000 ms",
    "NCCL communicator was aborted on rank 1.",
)


@pytest.mark.parametrize("text", NCCL, ids=["remote error", "watchdog", "aborted"])
def test_words_of_nccl(text: str) -> None:
    """As its documentation and reports have them; there are no two GPUs here."""
    import torch.distributed as dist

    from ftcli.runs.lost import lost_peer

    assert lost_peer(dist.DistBackendError(text))


def test_each_process_has_a_log(tmp_path: Path) -> None:
    import logging

    from ftcli.runs.folder import RunFolder, open_folder

    for rank, name in ((0, "log.txt"), (3, "log-rank3.txt")):
        folder = RunFolder(tmp_path)
        folder.open_log(rank)
        logging.getLogger("ftcli.test").info("here")
        folder.close_log()
        assert "here" in (tmp_path / name).read_text()
    made = open_folder(str(tmp_path / "made"), "finetune", "m", "d")
    for rank in (0, 1):
        RunFolder(made.path).open_log(rank)
    logging.getLogger().handlers[-2:] = []
    made.discard_if_empty()
    assert not made.path.exists(), "a folder of nothing but logs is no run"


def test_started_anew_with_nothing_to_go_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that died before it wrote anything does not go on with another one that lies there."""
    from ftcli.runs.folder import open_folder

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "finetune-m-d").mkdir(parents=True)
    assert open_folder(None, "finetune", "m", "d", resumes=lambda _: False).path.name == "finetune-m-d"
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("TORCHELASTIC_RESTART_COUNT", "1")):
        monkeypatch.setenv(name, value)
    assert started_anew()
    assert open_folder(None, "finetune", "m", "d", resumes=lambda _: False).path.name == "finetune-m-d-2"
    assert open_folder(None, "finetune", "m", "d", resumes=lambda path: path.name == "finetune-m-d").path.name == (
        "finetune-m-d"
    )
