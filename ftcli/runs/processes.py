"""Several processes of one command on this machine, under torch's elastic agent: watched, and started anew."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from ftcli.endings import Ending, cause, ending, restartable
from ftcli.engine.host import usable_cores
from ftcli.places import OWN_ROLE

PASSED_ON = {
    name: signal.SIGTERM if name == "SIGHUP" else getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
}
"""Signals of the parent that its workers get; a terminal that closes asks them to stop, which it does not do itself."""
Arguments = Callable[[], Sequence[str]]


def processes_here(device: str | None) -> int:
    """What ``--nproc-per-node auto`` takes: as many as there are GPUs; one where there are none, whose threads use
    all cores."""
    if device is not None and not device.startswith(("cuda", "auto")):
        return 1
    return max(1, torch.cuda.device_count())


def run(
    program: str, arguments: Arguments, count: int, *, restarts: int = 0, note: Callable[[str], None]
) -> list[Ending]:
    """Run `count` processes of a command until they end; those that did not end well, none where all is well.

    All are stopped when one fails, and started anew up to `restarts` times where that may help, with what `arguments`
    gives then. Signals go to all of them; stdin and the streams are this process's own. Each gets its share of the
    cores as OMP_NUM_THREADS where that is not set.
    """
    if count > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    parameters = RendezvousParameters(
        "c10d", "localhost:0", str(uuid.uuid4()), min_nodes=1, max_nodes=1, local_addr="localhost"
    )
    rendezvous = get_rendezvous_handler(parameters)
    spec = WorkerSpec(
        OWN_ROLE, count, rendezvous, entrypoint=program, max_restarts=restarts, monitor_interval=0.1,
        local_addr="localhost",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ftcli-workers-") as folder, _alone():
        agent = _Agent(spec, DefaultLogsSpecs(folder), arguments, note)
        try:
            result = agent.run()
        except SignalException as error:  # while they were being started
            return [Ending(0, -int(error.sigval), 0.0)]
        finally:
            rendezvous.shutdown()
        return _endings(result) if result is not None else []


class _Agent(LocalElasticAgent):
    """torch's agent, which also passes on signals and leaves alone what starting anew would not mend."""

    def __init__(self, spec: WorkerSpec, logs: DefaultLogsSpecs, arguments: Arguments, note: Callable[[str], None]):
        super().__init__(spec, logs)
        self._arguments = arguments
        self._note = note
        self._asked: int | None = None
        self._workers: Sequence[int] = ()

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        # The agent replaces ${local_rank}; a dollar sign of the user's stays one.
        worker_group.spec.args = tuple(text.replace("$", "$$") for text in self._arguments())
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN if hasattr(signal, "SIGHUP") else False
        started: dict[int, Any] = super()._start_workers(worker_group)
        self._workers = tuple(started.values())
        for name, number in PASSED_ON.items():
            own = getattr(signal, name)
            signal.signal(own, signal.SIG_IGN if name == "SIGHUP" and ignored else self._passing_on(number))
        if self._asked is not None:  # in between
            self._pass_on(self._asked)
        return started

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.is_failed() and self._remaining_restarts > 0:
            endings = _endings(result)
            if self._asked is not None or not restartable(endings):
                self._remaining_restarts = 0
            else:
                self._tell(cause(endings), worker_group.spec)
        return result

    def _tell(self, first: Ending, spec: WorkerSpec) -> None:
        said = f": {first.word['message']}" if first.word is not None else f" {first.told()}"
        number = spec.max_restarts - self._remaining_restarts + 1
        self._note(f"process {first.rank} of {spec.local_world_size}{said}; start {number} of {spec.max_restarts} anew")

    def _passing_on(self, number: int) -> Callable[[int, FrameType | None], None]:
        return lambda *_: self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self._asked = number
        for worker in self._workers:
            with suppress(OSError):  # it has ended
                os.kill(worker, number)


def _endings(result: RunResult) -> list[Ending]:
    """The failures of the agent, in the order in which they were found."""
    return [
        ending(rank, failure.exitcode, float(failure.timestamp), failure.error_file_data)
        for rank, failure in result.failures.items()
    ]


@contextmanager
def _alone() -> Iterator[None]:
    """The agent's own warnings unsaid, and this process's signal handlers put back when the workers are gone."""
    numbers = [getattr(signal, name) for name in (*PASSED_ON, "SIGQUIT") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    silent = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(silent)
        for number, handler in before.items():
            signal.signal(number, handler)
