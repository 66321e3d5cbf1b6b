"""What a pass takes is counted, not guessed; measuring leaves no trace; containers' limits count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ftcli.engine.memory import host_memory, largest_that_runs, measure, portions, probe
from ftcli.engine.precision import pick_precision
from tests.engine.test_loop import make_examples, make_model, make_task

FP32 = pick_precision("fp32", torch.device("cpu"))


def test_a_few_rows_foretell_many() -> None:
    """The need of 12 rows, foretold from one and two, is the one counted, within a tenth."""
    task = make_task()
    model = make_model(task)
    examples = make_examples(task, [40] * 12, 0)
    need = measure(task, model, FP32, examples)
    counted = max(probe(task, model, FP32, examples))
    assert need.fixed + 12 * need.per_row == pytest.approx(counted, rel=0.1)
    assert need.rows_within(counted) in {11, 12, 13}
    shorter = measure(task, model, FP32, make_examples(task, [10] * 2, 0))
    assert shorter.per_row < 0.5 * need.per_row


def test_measuring_leaves_no_trace() -> None:
    task = make_task()
    model = make_model(task)
    model.register_buffer("mean", torch.zeros(3))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    model.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    measure(task, model, FP32, make_examples(task, [20, 20], 0))
    assert torch.get_rng_state().equal(random)
    assert not any(module.training for module in model.modules())
    assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is not None and p.grad.eq(1).all() for p in model.parameters())


def test_portions_make_whole_steps() -> None:
    assert portions(12) == [12, 6, 4, 3, 2, 1]
    tried: list[int] = []

    def run(size: int) -> None:
        tried.append(size)
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")

    assert largest_that_runs(portions(16), run, lambda e: isinstance(e, torch.OutOfMemoryError)) == 4
    assert tried == [16, 8, 4]
    with pytest.raises(RuntimeError, match="another"):
        largest_that_runs([2, 1], fail, lambda e: False)


def fail(size: int) -> None:
    raise RuntimeError("another fault")


def test_the_host_s_memory_and_the_container_s(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n")
    assert host_memory(tmp_path, meminfo) == 4000 * 1024
    v1 = tmp_path / "memory"
    v1.mkdir()
    (v1 / "memory.limit_in_bytes").write_text("3000000\n")
    (v1 / "memory.usage_in_bytes").write_text("2000000\n")
    (v1 / "memory.stat").write_text("cache 5\ntotal_inactive_file 500000\n")
    assert host_memory(tmp_path, meminfo) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 100\n")
    v1.rename(tmp_path / "gone")
    assert host_memory(tmp_path, meminfo) == 4000 * 1024
    (tmp_path / "memory.max").write_text("1200000\n")
    assert host_memory(tmp_path, meminfo) == 200_100
