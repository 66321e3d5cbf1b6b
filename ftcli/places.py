"""Which of several processes this one is: read from what a launcher (torchrun, srun, mpirun, Kubernetes) leaves."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from ftcli.errors import UsageError

Environ = Mapping[str, str]
OWN_ROLE = "ftcli"
"""Role (torch's ROLE_NAME) of workers that `--nproc-per-node` started: their parent speaks for them when they fail."""
LOCALHOST = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """A process among those of a run."""

    rank: int
    """From 0 on, over all hosts."""
    size: int
    """Processes of the run."""
    local_rank: int
    """From 0 on, on this host: which of its GPUs is this process's."""
    local_size: int
    """Processes of the run on this host."""
    launcher: str
    """Who started it: ftcli (by --nproc-per-node), torchrun, slurm, mpi or environment (RANK and WORLD_SIZE alone)."""
    address: str
    """Host of rank 0, where the processes find each other."""
    port: int
    """Its port; 0, any free one, of a process that is alone."""
    restarts: int = 0
    """How often the launcher has started the processes anew after a failure."""

    @property
    def first(self) -> bool:
        """True for the one process that speaks and writes."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size}, started by {_LAUNCHERS[self.launcher]}"


_LAUNCHERS = {
    "ftcli": "--nproc-per-node",
    "torchrun": "torchrun",
    "slurm": "srun",
    "mpi": "mpirun",
    "environment": "RANK and WORLD_SIZE in the environment",
}


def recognise(environ: Environ) -> Place | None:
    """The place that a launcher gave this process; None for one that was started by itself.

    Asked in turn: torchrun's variables (RANK and WORLD_SIZE, as Kubernetes operators set them too), Open MPI's, those
    of a step of SLURM. MASTER_ADDR and MASTER_PORT go before what SLURM or MPI would give. A single task of SLURM, and
    the shell of a batch job, are no step of several. UsageError for variables that are half set or cannot be.
    """
    if "RANK" in environ:
        return _checked(_of_torch(environ), "RANK", "WORLD_SIZE")
    if "OMPI_COMM_WORLD_SIZE" in environ or "OMPI_COMM_WORLD_RANK" in environ:
        if _number(environ, "OMPI_COMM_WORLD_SIZE", least=1) == 1:
            return None
        return _checked(_of_mpi(environ), "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
        if tasks not in environ or _number(environ, tasks, least=1) == 1:
            return None
        return _checked(_of_slurm(environ, tasks), "SLURM_PROCID", tasks)
    if "WORLD_SIZE" in environ and _number(environ, "WORLD_SIZE", least=1) > 1:
        raise _missing("RANK", "WORLD_SIZE")
    return None


def started_anew(environ: Environ = os.environ) -> bool:
    """True in a process that its launcher started again after a failure: it goes on with what there is."""
    place = recognise(environ)
    return place is not None and place.restarts > 0


def export(place: Place, environ: MutableMapping[str, str] | None = None) -> None:
    """Put down what torch's ``env://`` looks for, whoever started this process; a worker of torchrun has it already."""
    own = os.environ if environ is None else environ
    own.update(
        RANK=str(place.rank),
        WORLD_SIZE=str(place.size),
        LOCAL_RANK=str(place.local_rank),
        LOCAL_WORLD_SIZE=str(place.local_size),
        MASTER_ADDR=place.address,
        MASTER_PORT=str(place.port),
    )


def _of_torch(environ: Environ) -> Place:
    rank, size = _number(environ, "RANK"), _number(environ, "WORLD_SIZE", least=1, beside="RANK")
    elastic = "TORCHELASTIC_RUN_ID" in environ
    own = elastic and environ.get("ROLE_NAME") == OWN_ROLE
    # Kubernetes operators start a process a pod and leave the local ones out.
    here = _number(environ, "LOCAL_WORLD_SIZE", 1, least=1)
    return Place(
        rank,
        size,
        _number(environ, "LOCAL_RANK", rank % here),
        here,
        OWN_ROLE if own else "torchrun" if elastic else "environment",
        *_meeting(environ, size),
        restarts=_number(environ, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _of_mpi(environ: Environ) -> Place:
    size = _number(environ, "OMPI_COMM_WORLD_SIZE", least=1)
    here = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", least=1)
    job = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_ess_base_jobid")
    address = LOCALHOST if here == size else None
    return Place(
        _number(environ, "OMPI_COMM_WORLD_RANK"),
        size,
        _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK"),
        here,
        "mpi",
        *_meeting(environ, size, address, None if job is None else _port(zlib.crc32(job.encode()))),
    )


def _of_slurm(environ: Environ, tasks: str) -> Place:
    rank, size, local = _number(environ, "SLURM_PROCID"), _number(environ, tasks), _number(environ, "SLURM_LOCALID")
    lists = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    name = next((name for name in lists if environ.get(name)), None)
    address = next(hosts(environ[name], name)) if name is not None else None
    job = _number(environ, "SLURM_JOB_ID", _number(environ, "SLURM_JOBID", 0))
    port = _port(31 * job + _number(environ, "SLURM_STEP_ID"))
    return Place(rank, size, local, _tasks_here(environ, size, local), "slurm", *_meeting(environ, size, address, port))


def _tasks_here(environ: Environ, size: int, local: int) -> int:
    """Tasks of the step on this node: ``2(x3),1`` stands for 2,2,2,1, node by node."""
    listed = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    if listed:
        node = _number(environ, "SLURM_NODEID", 0)
        for part in listed.split(","):
            found = re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,9})\))?", part)
            if found is None:
                raise _impossible("SLURM_STEP_TASKS_PER_NODE", listed, "counts like 4(x2),3")
            times = int(found[2] or 1)
            if node < times:
                return int(found[1])
            node -= times
        raise _impossible("SLURM_NODEID", environ["SLURM_NODEID"], f"a node of {listed}")
    if environ.get("SLURM_NTASKS_PER_NODE"):
        return min(size, max(local + 1, _number(environ, "SLURM_NTASKS_PER_NODE", least=1)))
    nodes = _number(environ, "SLURM_STEP_NUM_NODES", _number(environ, "SLURM_NNODES", 1, least=1), least=1)
    return max(local + 1, -(-size // nodes))


def _meeting(environ: Environ, size: int, address: str | None = None, port: int | None = None) -> tuple[str, int]:
    """Where the processes find each other; a process that is alone needs nothing."""
    if size == 1:
        address, port = address or LOCALHOST, 0 if port is None else port
    address = environ.get("MASTER_ADDR") or address
    if address is None:
        raise _missing("MASTER_ADDR", "WORLD_SIZE", "the host of rank 0")
    if not environ.get("MASTER_PORT"):
        if port is None:
            raise _missing("MASTER_PORT", "WORLD_SIZE", "a free port of rank 0's host, e.g. 29500")
        return address, port
    port = _number(environ, "MASTER_PORT")
    if port > 65535 or (port == 0 and size > 1):
        raise _impossible("MASTER_PORT", environ["MASTER_PORT"], "a port from 1 to 65535")
    return address, port


def _checked(place: Place, rank: str, size: str) -> Place:
    if place.rank >= place.size:
        raise _impossible(rank, str(place.rank), f"a number below {size} = {place.size}")
    if place.local_rank >= place.local_size:
        raise _impossible("the local rank", str(place.local_rank), f"a number below {place.local_size}, those here")
    if place.local_size > place.size:
        raise _impossible("the local size", str(place.local_size), f"at most {size} = {place.size}")
    return place


def _port(number: int) -> int:
    """A port that every process of a job comes to, and that another job on the host is unlikely to.

    They lie below those that Linux hands out by itself (from 32768 on).
    """
    return 20_000 + number % 10_000


def _number(environ: Environ, name: str, default: int | None = None, *, least: int = 0, beside: str = "") -> int:
    text = environ.get(name, "")
    if not text:
        if default is None:
            raise _missing(name, beside or "the other variables of its launcher")
        return default
    if re.fullmatch(r"\d{1,12}", text, re.ASCII) is None or int(text) < least:
        raise _impossible(name, text, f"a whole number from {least} on")
    return int(text)


def _missing(name: str, beside: str, what: str = "") -> UsageError:
    return UsageError(
        f"{beside} is set in the environment, {name} is not" + (f" ({what})" if what else ""),
        hint=f"start ftcli by torchrun, srun or --nproc-per-node, which set what is needed; set {name} too; "
        "or unset RANK, WORLD_SIZE and their like to run one process",
    )


def _impossible(name: str, value: str, expected: str) -> UsageError:
    return UsageError(
        f"{name} is '{value[:80]}' in the environment; expected {expected}",
        hint="unset RANK, WORLD_SIZE and their like to run one process; torchrun and srun set them as they have to be",
    )


_LISTED = re.compile(r"(?:[^\[\],]|\[[^\[\]]*\])+")
_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


def hosts(text: str, name: str = "the list of nodes") -> Iterator[str]:
    """The hosts of SLURM's compressed list, one after the other: ``node[01-03,7],gpu2``. UsageError for no such list.

    Several brackets in one name count like digits: the last one runs fastest.
    """
    parts = _LISTED.findall(text)
    spans = [_SPAN.fullmatch(span) for part in parts for found in _BRACKET.findall(part) for span in found.split(",")]
    if not parts or ",".join(parts) != text or not all(s and int(s[1]) <= int(s[2] or s[1]) for s in spans):
        raise _impossible(name, text, "hosts like node[01-03,7],gpu2")
    return (host for part in parts for host in _expanded(part))


_BRACKET = re.compile(r"\[([^\[\]]*)\]")


def _expanded(part: str) -> Iterator[str]:
    """Each name that brackets stand for, none of them made before it is asked for."""
    found = _BRACKET.search(part)
    if found is None:
        yield part
        return
    for span in found[1].split(","):
        low, _, high = span.partition("-")
        for number in range(int(low), int(high or low) + 1):
            for rest in _expanded(part[found.end() :]):
                yield f"{part[: found.start()]}{number:0{len(low)}d}{rest}"
