"""Where a process is among those of its run, from what launchers leave in the environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ftcli.errors import UsageError
from ftcli.places import Place, export, hosts, recognise

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a", "MASTER_PORT": "29400", "TORCHELASTIC_RUN_ID": "1",
    "TORCHELASTIC_RESTART_COUNT": "2", "ROLE_NAME": "default",
}  # fmt: skip
SLURM = {
    "SLURM_PROCID": "5", "SLURM_NTASKS": "7", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "node[01-03,7],gpu2", "SLURM_STEP_TASKS_PER_NODE": "4,2,1", "SLURM_JOB_ID": "1234",
}  # fmt: skip
MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prterun-host-7@1",
}  # fmt: skip


def test_torchrun() -> None:
    assert recognise(TORCHRUN) == Place(3, 4, 1, 2, "torchrun", "a", 29400, restarts=2)
    own = recognise({**TORCHRUN, "ROLE_NAME": "ftcli"})
    assert own is not None
    assert own.launcher == "ftcli"
    assert str(own) == "process 3 of 4, started by --nproc-per-node"


def test_kubernetes() -> None:
    """A process a pod: the local ones are left out."""
    pods = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"}
    assert recognise(pods) == Place(1, 2, 0, 1, "environment", "job-master-0", 23456)


def test_slurm() -> None:
    place = recognise(SLURM)
    assert place == Place(5, 7, 1, 2, "slurm", "node01", 20000 + 31 * 1234 % 10000)
    assert recognise({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3(x2),1", "SLURM_NODEID": "1"}) == Place(
        5, 7, 1, 3, "slurm", "node01", place.port
    )
    named = recognise({**SLURM, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7000", "WORLD_SIZE": "7"})
    assert named == Place(5, 7, 1, 2, "slurm", "10.0.0.1", 7000)
    other = recognise({**SLURM, "SLURM_STEP_ID": "1"})
    assert other is not None
    assert other.port != place.port, "two steps of a job do not meet"


def test_mpi() -> None:
    place = recognise(MPI)
    assert place is not None
    assert (place.rank, place.size, place.local_rank, place.local_size) == (1, 2, 1, 2)
    assert (place.launcher, place.address) == ("mpi", "127.0.0.1")
    with pytest.raises(UsageError, match="MASTER_ADDR is not"):
        recognise({**MPI, "OMPI_COMM_WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MASTER_ADDR": "a", "MASTER_PORT": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "node[1-2]"},
        {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
    ],
    ids=["nothing", "an address alone", "the shell of a batch job", "one task", "one process of MPI"],
)
def test_a_process_alone(environ: dict[str, str]) -> None:
    assert recognise(environ) is None


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"RANK": "0"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({**TORCHRUN, "RANK": "4"}, "RANK is '4'.*WORLD_SIZE = 4"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK is '-1'"),
        ({**TORCHRUN, "RANK": "x"}, "RANK is 'x'"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "local rank is '2'"),
        ({**TORCHRUN, "MASTER_ADDR": ""}, "MASTER_ADDR is not"),
        ({**TORCHRUN, "MASTER_PORT": ""}, "MASTER_PORT is not"),
        ({**TORCHRUN, "MASTER_PORT": "65536"}, "MASTER_PORT is '65536'"),
        ({**SLURM, "SLURM_LOCALID": ""}, "SLURM_LOCALID"),
        ({**SLURM, "SLURM_STEP_NODELIST": "node[3-1]"}, "SLURM_STEP_NODELIST is 'node"),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "many"}, "SLURM_STEP_TASKS_PER_NODE is 'many'"),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_RANK": ""}, "OMPI_COMM_WORLD_LOCAL_RANK"),
    ],
)
def test_what_cannot_be_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        recognise(environ)
    assert "torchrun" in str(caught.value.hint)


def test_exported_for_torch() -> None:
    """What was read of SLURM is what torch's own reader gets."""
    environ: dict[str, str] = {}
    place = recognise(SLURM)
    assert place is not None
    export(place, environ)
    again = recognise(environ)
    assert again is not None
    assert (again.rank, again.size, again.local_rank, again.local_size) == (5, 7, 1, 2)
    assert (again.address, again.port) == (place.address, place.port)


def test_a_list_of_hosts() -> None:
    assert list(hosts("node[01-03,7],gpu2")) == ["node01", "node02", "node03", "node7", "gpu2"]
    assert list(hosts("r[1-2]n[9-10]-ib")) == ["r1n9-ib", "r1n10-ib", "r2n9-ib", "r2n10-ib"]
    assert next(hosts("c[000000001-999999999]")) == "c000000001", "none is made before it is asked for"
    for wrong in ("", ",", "a,,b", "n[", "n[1", "n]", "n[]", "n[1-]", "n[a-b]", "n[2-1]", "n[1,[2]]"):
        with pytest.raises(UsageError):
            hosts(wrong)


PREFIX = some.text("abcdefgh-.", min_size=1, max_size=5)


@given(
    some.lists(
        some.tuples(PREFIX, some.integers(0, 9999), some.integers(0, 30), some.integers(1, 5)), min_size=1, max_size=4
    )
)
def test_lists_are_written_and_read(groups: list[tuple[str, int, int, int]]) -> None:
    """As SLURM writes runs of numbers with leading zeros, so they are read."""
    written = ",".join(f"{name}[{low:0{width}d}-{low + more:0{width}d}]" for name, low, more, width in groups)
    expected = [f"{name}{low + i:0{width}d}" for name, low, more, width in groups for i in range(more + 1)]
    assert list(hosts(written)) == expected


@given(some.text("ab1029[]-, ", max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = hosts(text)
    except UsageError:
        return
    assert next(found)
