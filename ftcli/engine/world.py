"""The processes of a run: who they are, and what they tell each other. Alone, all of it does nothing.

Values go over gloo on the host, so that nobody waits for a GPU; gradients go over what their device has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ftcli.errors import FtcliError

T = TypeVar("T")


_LONG = timedelta(days=7)
_patient: list[Any] = []
"""The group for waiting on work that may take hours; who died is noticed there as well."""

_writing: list[Any] = []
"""The group of the threads that write checkpoints while training goes on."""


def several() -> bool:
    """True where this process has others beside it."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if several() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if several() else 0


def leads() -> bool:
    """True in the one process that speaks and writes."""
    return rank() == 0


@contextmanager
def joined(rank: int, size: int, local_rank: int, seconds: float, attempt: str = "") -> Iterator[None]:
    """The process group of a run, found by torch's environment variables; `seconds` are its patience.

    Processes started anew may find the store where those before them met: with an `attempt` of their own they do not
    take the addresses of the dead for each other's. Where something fails the group is left as it is: the others notice
    when this process ends.
    """
    if size == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    patience = timedelta(seconds=seconds)
    store, _, _ = next(rendezvous("env://", rank, size, timeout=patience))
    if attempt:
        store = PrefixStore(attempt, store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    _patient.append(dist.new_group(backend="gloo", timeout=_LONG))
    _writing.append(dist.new_group(backend="gloo", timeout=_LONG))
    yield
    _patient.clear()
    _writing.clear()
    with suppress(RuntimeError):  # the others may have ended already
        dist.destroy_process_group()


def summed(tensor: Tensor) -> Tensor:
    """The sum of `tensor`, in its place, over all processes."""
    if several():
        dist.all_reduce(tensor)
    return tensor


def any_of(*asked: bool) -> tuple[bool, ...]:
    """What any process asks for, question by question."""
    if not several():
        return asked
    return tuple(bool(count) for count in summed(torch.tensor(asked, dtype=torch.int32)).tolist())


def from_lead(value: T) -> T:
    """The value that rank 0 has."""
    if not several():
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def gathered(value: T) -> list[T]:
    """Everybody's value, in the order of ranks."""
    if not several():
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value)
    return found


def dealt(values: list[T] | None) -> T:
    """The one of rank 0's values that is this process'; alone, the only one. It may be long in coming."""
    if not several():
        assert values is not None
        return values[0]
    held: list[Any] = [None]
    dist.scatter_object_list(held, values if leads() else None, src=0, group=_patient[0])
    return cast(T, held[0])


def at_lead(value: T) -> list[T] | None:
    """In rank 0 everybody's value, in the order of ranks; None elsewhere."""
    if not several():
        return [value]
    found: list[Any] | None = [None] * size() if leads() else None
    dist.gather_object(value, found, dst=0)
    return found


def led(work: Callable[[], T]) -> T:
    """What `work` gives where rank 0 alone does it. An error it raises for the user is raised by all."""
    if not several():
        return work()
    outcome: tuple[Any, FtcliError | None] = (None, None)
    failed: BaseException | None = None
    if leads():
        try:
            outcome = (work(), None)
        except FtcliError as error:
            outcome, failed = (None, error), error
    value, told = from_lead(outcome)
    if failed is not None:
        raise failed
    if told is not None:
        raise told
    return cast(T, value)


def first_of_host(work: Callable[[], T]) -> T:
    """`work` done by one process of each host before its others do it, who find what it left in a cache."""
    if not several() or os.environ.get("LOCAL_RANK") is None:
        return work()
    local = int(os.environ["LOCAL_RANK"])
    value = work() if local == 0 else None
    wait(patiently=True)
    return cast(T, value if local == 0 else work())


def wait(*, patiently: bool = False) -> None:
    """Until everybody is here, however long that takes where `patiently`."""
    if several():
        dist.all_reduce(torch.zeros(1), group=_patient[0] if patiently else None)


def writing() -> Any:
    """The process group of threads that write checkpoints."""
    return _writing[0] if _writing else None
