"""How the processes of a run share a step: which rows are whose, and how gradients become those of all rows.

A step's rows are drawn for all, then dealt. As losses are sums that are divided by the counts of the whole step,
gradients are added up over the processes: what comes out is what one process would have got.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ftcli.engine import world
from ftcli.models.methods.base import Method
from ftcli.models.whole import whole

BUCKET = 25 << 20
"""Bytes of gradients that are added up at a time."""


class Held(Protocol):
    """Examples of which each process holds some."""

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """(rows,) the process that holds each."""


class Ranks:
    """One process: all rows are its own."""

    strategy = "none"

    def __init__(self) -> None:
        self.size, self.rank = world.size(), world.rank()
        self.seconds = 0.0
        """Spent on waiting for the others and on telling them, since the beginning."""
        self.held: Held | None = None
        """The examples, where each process holds some of them only."""

    def own(self, rows: np.ndarray) -> np.ndarray:
        """The share of a step's rows that is this process': every so many, so that all have rows of like lengths.

        Where each process holds some of the examples, its rows are those. One that has none of a step's rows gets one
        that belongs to another, without weight (see `weights`).
        """
        share = rows[self.rank :: self.size] if self.held is None else rows[self.held.owners(rows) == self.rank]
        return share if len(share) else rows[:1]

    def weights(self, rows: np.ndarray, per_pass: int) -> list[int]:
        """For each forward pass of this process over its share of a step's `rows`: 1, or 0 where what it computes
        counts for nothing and is there for others to wait for."""
        mine = self._shares(rows)[self.rank]
        return [1] * -(-mine // per_pass) if mine else [0]

    def _shares(self, rows: np.ndarray) -> list[int]:
        """How many of a step's rows each process has."""
        if self.held is None:
            return [len(rows[rank :: self.size]) for rank in range(self.size)]
        shares: list[int] = np.bincount(self.held.owners(rows), minlength=self.size).tolist()
        return shares

    def counts(self, own: Mapping[str, int]) -> dict[str, int]:
        """Targets per loss term over all processes."""
        return dict(own)

    def add_up(self, model: nn.Module, loss: Tensor, tokens: int, computed: int) -> tuple[Tensor, int, int]:
        """Gradients of the whole step into `model`; its loss, and its real and computed tokens."""
        return loss, tokens, computed

    def asked(self, *questions: bool) -> tuple[bool, ...]:
        """What any process asks for."""
        return questions

    def whole(self, model: nn.Module, method: Method) -> tuple[nn.Module, Method]:
        """The model, and what knows how it was adapted, to be saved by rank 0; everybody has to ask."""
        return model, method


def _timed(work: Callable[..., Any]) -> Callable[..., Any]:
    """A method of ranks whose time is that of telling and waiting."""

    @wraps(work)
    def counted(self: Ranks, *given: Any) -> Any:
        began = time.perf_counter()
        found = work(self, *given)
        self.seconds += time.perf_counter() - began
        return found

    return counted


class _Several(Ranks):
    """What all ways to share have in common."""

    def counts(self, own: Mapping[str, int]) -> dict[str, int]:
        terms = sorted(own)
        sums: list[int] = self._told(torch.tensor([own[term] for term in terms], dtype=torch.int64)).tolist()
        return dict(zip(terms, sums, strict=True))

    def asked(self, *questions: bool) -> tuple[bool, ...]:
        return world.any_of(*questions)

    @_timed
    def _told(self, tensor: Tensor) -> Tensor:
        """`tensor`, on the host, added up over all processes."""
        return world.summed(tensor)

    def _facts(self, *numbers: float) -> list[float]:
        found: list[float] = self._told(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return found


class Replicated(_Several):
    """Data parallel: each process has the whole model, and gradients are added up over all of them.

    What DistributedDataParallel does (Li et al. 2020, arXiv:2006.15704), with sums in the place of means and after
    the last backward pass of a step, however many passes there were: regularisers make several.
    """

    strategy = "ddp"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for tensor in (*model.parameters(), *model.buffers()):  # tied ones once
            dist.broadcast(tensor.detach(), src=0)

    def add_up(self, model: nn.Module, loss: Tensor, tokens: int, computed: int) -> tuple[Tensor, int, int]:
        parameters = [p for p in model.parameters() if p.requires_grad]
        *there, real, done = self._facts(*(p.grad is not None for p in parameters), tokens, computed)
        shared = [p for p, count in zip(parameters, there, strict=True) if count]
        for parameter in shared:  # a part that no row of this process went through
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._add_gradients(shared, loss)
        return loss, int(real), int(done)

    @_timed
    def _add_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> None:
        dense: list[Tensor] = [loss]
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            if gradient.is_sparse:
                parameter.grad = _summed_rows(gradient.coalesce())
            else:
                dense.append(gradient)
        waiting = []
        for bucket in _buckets(dense):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            waiting.append((dist.all_reduce(flat, async_op=True), flat, bucket))
        for handle, flat, bucket in waiting:
            assert handle is not None
            handle.wait()
            for gradient, part in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))


class Sharded(_Several):
    """Fully sharded data parallel, torch's FSDP2 (Zhao et al. 2023, arXiv:2304.11277): each process holds a share of
    every weight, gradient and moment; a layer's weights are put together while it computes."""

    strategy = "fsdp"

    def __init__(
        self, model: nn.Module, method: Method, device: torch.device, *, cpu_offload: bool, gather: torch.dtype
    ) -> None:
        # Here, so that runs of one process, whose start should be quick, do not wait for it.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import (
            CPUOffloadPolicy,
            FSDPModule,
            MixedPrecisionPolicy,
            OffloadPolicy,
            fully_shard,
        )

        super().__init__()
        self._saved = _copy(model, method) if self.rank == 0 else None
        """What is filled with the whole weights to be saved."""
        settings: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (self.size,)),
            # Activations are what autocast makes them, in every strategy.
            "mp_policy": MixedPrecisionPolicy(gather, torch.float32, cast_forward_inputs=False),
            "offload_policy": CPUOffloadPolicy() if cpu_offload and device.type == "cuda" else OffloadPolicy(),
        }
        for layer in layers(model):
            fully_shard(layer, **settings)
        fully_shard(model, **settings)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo has no other

    def weights(self, rows: np.ndarray, per_pass: int) -> list[int]:
        mine = super().weights(rows, per_pass)
        return mine + [0] * (-(-max(self._shares(rows)) // per_pass) - len(mine))

    def add_up(self, model: nn.Module, loss: Tensor, tokens: int, computed: int) -> tuple[Tensor, int, int]:
        real, done = self._facts(tokens, computed)
        dist.all_reduce(loss)
        return loss, int(real), int(done)

    def whole(self, model: nn.Module, method: Method) -> tuple[nn.Module, Method]:
        tensors = {name: whole(tensor.detach()).cpu() for name, tensor in model.state_dict(keep_vars=True).items()}
        if self._saved is None:
            return model, method
        saved, its_method = self._saved
        saved.load_state_dict(tensors)
        device = next(model.parameters()).device
        own, changed = getattr(saved, "config", None), getattr(model, "config", None)
        vars(own).update(vars(changed))  # what a task settled after training
        return saved.to(device), its_method


ALONE = Ranks()


def _copy(model: nn.Module, method: Method) -> tuple[nn.Module, Method]:
    """Both on the host, the one knowing the other as before."""
    copied: tuple[nn.Module, Method] = copy.deepcopy((model, method))
    return copied[0].cpu(), copied[1]


def layers(model: nn.Module) -> list[nn.Module]:
    """The layers of `model`'s stacks, outermost stacks only."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            found += [layer for layer in child if any(True for _ in layer.parameters())]
        else:
            found += layers(child)
    return found


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type and place together, last ones first, as many as a bucket holds."""
    bucket: list[Tensor] = []
    held = 0
    for gradient in reversed(gradients):
        size = gradient.numel() * gradient.element_size()
        if bucket and (
            held + size > BUCKET or (gradient.dtype, gradient.device) != (bucket[0].dtype, bucket[0].device)
        ):
            yield bucket
            bucket, held = [], 0
        bucket.append(gradient)
        held += size
    if bucket:
        yield bucket


def _summed_rows(gradient: Tensor) -> Tensor:
    """A gradient that is there for some rows only, added up over all processes: each tells its rows, and they are put
    together in the order of ranks, so that all get the same bits."""
    indices, values = gradient.indices(), gradient.values()
    lengths = [int(n) for n in world.summed(_at_own_place(len(values[:, 0]) if values.numel() else 0)).tolist()]
    most = max(lengths)
    room = values.new_zeros((most, *values.shape[1:]))
    places = indices.new_zeros((indices.shape[0], most))
    room[: len(values)], places[:, : indices.shape[1]] = values, indices
    all_values = [torch.empty_like(room) for _ in lengths]
    all_places = [torch.empty_like(places) for _ in lengths]
    dist.all_gather(all_values, room)
    dist.all_gather(all_places, places)
    together = torch.cat([part[:n] for part, n in zip(all_values, lengths, strict=True)])
    rows = torch.cat([part[:, :n] for part, n in zip(all_places, lengths, strict=True)], dim=1)
    return torch.sparse_coo_tensor(rows, together, gradient.shape).coalesce()


def _at_own_place(number: int) -> Tensor:
    found = torch.zeros(world.size(), dtype=torch.int64)
    found[world.rank()] = number
    return found
