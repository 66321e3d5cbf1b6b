"""What pretraining BERT-large on many GPUs would bring: a prediction on paper, from counts, datasheets and assumptions.

    python tests/bench/scaling.py                   # the tables that recipes/pretrain/bert-large-many-gpus.yaml shows
    python tests/bench/scaling.py --mfu 0.5         # with a rate of your own, measured on one GPU of yours

No number here was measured on several GPUs. Every input is listed with where it is from: counted (from the
architecture), published (by the makers of the hardware), or assumed. Change one and the tables follow.

Compute: 6 FLOPs a weight and token for both passes (Kaplan et al. 2020, arXiv:2001.08361) and 12 per layer, hidden unit
and token for each token attended to. Communication, in bytes through each GPU's link: a ring all-reduce moves
2 (n - 1) / n times the gradients (Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of
workstations"); a full shard gathers the weights before the forward and before the backward pass and scatters the sums
of gradients, (n - 1) / n times each (Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054). Latency: an all-reduce over
many nodes goes through trees, logarithmic in their number; gathers and scatters go round a ring, once a layer.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields, replace

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_GAIN = 1.5
"""A strategy pays as long as twice the GPUs make at least so many times the rows per second."""


@dataclass(frozen=True)
class Inputs:
    """What the prediction rests on; each comment says where a value is from."""

    layers: int = 24  # counted: layers of BERT-large
    hidden: int = 1024  # counted: hidden units
    vocabulary: int = 30_522  # counted: tokens it knows
    tokens: int = 512  # assumed: tokens a row, without padding
    masked: float = 0.15  # assumed: share of the tokens that the head answers for
    rows_strong: int = 4096  # assumed: rows a step, all GPUs together, of the table with a fixed step
    rows_weak: int = 32  # assumed: rows a step and GPU of the table with a growing step
    rows_a_pass: int = 32  # assumed: rows that one pass of a GPU takes at most
    peak_tflops: float = 989.0  # published: H100 SXM, dense bf16 products, TFLOP/s
    mfu: float = 0.40  # assumed: share of the peak that large passes reach on one GPU
    half_tokens: int = 2048  # assumed: tokens a pass at which half of that is reached
    memory_gb_s: float = 3350.0  # published: H100 SXM memory, GB/s
    update_bytes: int = 28  # counted: AdamW reads weight, gradient, two moments and writes three, fp32
    gradient_bytes: int = 4  # counted: bytes a gradient, added up in fp32
    gather_bytes: int = 2  # counted: bytes a weight that fsdp puts together, in bf16
    scatter_bytes: int = 4  # counted: bytes a gradient that fsdp adds up and scatters, in fp32
    gpus_a_node: int = 8  # assumed: GPUs a host
    nvlink_gb_s: float = 450.0  # published: NVLink 4, GB/s a GPU and direction
    network_gb_s: float = 50.0  # published: one 400 Gb/s InfiniBand port a GPU, GB/s
    link_share: float = 0.80  # assumed: share of a link's rate that collectives reach
    near_us: float = 3.0  # assumed: microseconds a hop inside a host
    far_us: float = 10.0  # assumed: microseconds a hop between hosts
    ddp_overlap: float = 0.0  # counted: share of the last backward pass that sums hide behind; ftcli begins after it
    fsdp_overlap: float = 0.90  # assumed: share of a pass that gathers and scatters of its neighbour layers hide behind
    bucket_mib: float = 25.0  # counted: MiB of gradients that are added up at a time


@dataclass(frozen=True)
class Step:
    """Milliseconds of one step."""

    compute: float
    sent: float
    """Communication, hidden or not."""
    waited: float
    """What of it is not hidden."""

    @property
    def total(self) -> float:
        return self.compute + self.waited


def weights(own: Inputs) -> tuple[int, int]:
    """Weights in all, and those of the layers that every token is multiplied with."""
    layer = 12 * own.hidden**2 + 13 * own.hidden
    embeddings = (own.vocabulary + 512 + 2) * own.hidden + 2 * own.hidden
    head = own.hidden**2 + 3 * own.hidden + own.vocabulary  # its large matrix is that of the embeddings
    return own.layers * layer + embeddings + head, own.layers * layer


def flops_per_token(own: Inputs) -> float:
    """Both passes."""
    head = own.masked * (own.hidden**2 + own.hidden * own.vocabulary)
    return 6 * (weights(own)[1] + head) + 12 * own.layers * own.hidden * own.tokens


def compute_ms(own: Inputs, rows: float, shards: int) -> tuple[float, float]:
    """Passes forward and backward over `rows` on one GPU, and the update of its share of the weights."""
    a_pass = rows / passes(own, rows) * own.tokens
    rate = own.peak_tflops * 1e12 * own.mfu * a_pass / (a_pass + own.half_tokens)
    update = weights(own)[0] * own.update_bytes / shards / (own.memory_gb_s * 1e9)
    return 1e3 * rows * own.tokens * flops_per_token(own) / rate, 1e3 * update


def passes(own: Inputs, rows: float) -> int:
    """Forward passes that one GPU takes its rows of a step in."""
    return math.ceil(rows / own.rows_a_pass)


def bandwidth(own: Inputs, gpus: int) -> float:
    """Bytes a second round a ring: of NVLink in a host, else of the slower of it and a host's ports together."""
    near = own.nvlink_gb_s
    return 1e9 * own.link_share * (near if gpus <= own.gpus_a_node else min(near, own.network_gb_s * own.gpus_a_node))


def ring_ms(own: Inputs, gpus: int) -> float:
    """Latency of one way round all GPUs."""
    nodes = math.ceil(gpus / own.gpus_a_node)
    far = nodes if nodes > 1 else 0
    return ((gpus - 1 - far) * own.near_us + far * own.far_us) / 1e3


def tree_ms(own: Inputs, gpus: int) -> float:
    """Latency up and down the trees of an all-reduce: round each host, then over the hosts."""
    local, nodes = min(gpus, own.gpus_a_node), math.ceil(gpus / own.gpus_a_node)
    return 2 * ((local - 1) * own.near_us + math.log2(nodes) * own.far_us) / 1e3


def replicated(own: Inputs, gpus: int, rows: float) -> Step:
    """DDP: gradients are summed once a step; what begins before the last backward pass ends can hide behind it."""
    work, update = compute_ms(own, rows, 1)
    size = weights(own)[0] * own.gradient_bytes
    portions = math.ceil(size / (own.bucket_mib * 2**20))
    sent = 1e3 * 2 * (gpus - 1) / gpus * size / bandwidth(own, gpus) + portions * tree_ms(own, gpus)
    hidden = own.ddp_overlap * work / passes(own, rows) * 2 / 3
    return Step(work + update, sent, max(sent / portions, sent - hidden))


def sharded(own: Inputs, gpus: int, rows: float) -> Step:
    """FSDP2: in every pass a layer's weights are gathered ahead of it both ways, and its gradients scattered after."""
    work, update = compute_ms(own, rows, gpus)
    times, parts = passes(own, rows), own.layers + 1
    a_byte = 1e3 * (gpus - 1) / gpus * weights(own)[0] / bandwidth(own, gpus)
    round_all = parts * ring_ms(own, gpus)
    gather, scatter = (a_byte * size + round_all for size in (own.gather_bytes, own.scatter_bytes))
    hidden = own.fsdp_overlap * work / times
    ahead = max(gather / parts, gather - hidden / 3)
    back = max(scatter / parts, gather + scatter - hidden * 2 / 3)
    return Step(work + update, times * (2 * gather + scatter), times * (ahead + back))


STRATEGIES = {"ddp": replicated, "fsdp": sharded}


def table(own: Inputs, *, strong: bool) -> list[str]:
    """Rows a second and their share of what as many times eight GPUs would make without waiting, by number of GPUs."""
    title = f"{own.rows_strong:,} rows a step in all" if strong else f"{own.rows_weak} rows a step and GPU"
    lines = [f"{title}, {own.tokens} tokens each", f"{'':>5} {'rows':>6} " + "".join(f"| {n:<38}" for n in STRATEGIES)]
    lines.append(f"{'GPUs':>5} {'a GPU':>6} " + "| compute   sent waited   rows/s   share " * len(STRATEGIES))
    rates: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    base = own.rows_strong / SIZES[0] if strong else own.rows_weak
    alone = base / sum(compute_ms(own, base, 1))
    for gpus in SIZES:
        rows = own.rows_strong / gpus if strong else float(own.rows_weak)
        line = f"{gpus:>5,} {rows:>6g} "
        for name, step_of in STRATEGIES.items():
            step = step_of(own, gpus, rows)
            rate = gpus * rows / step.total
            rates[name].append(rate)
            share = rate / gpus / alone
            line += f"| {step.compute:7.1f} {step.sent:6.1f} {step.waited:6.1f} {1e3 * rate:8,.0f}  {share:5.0%} "
        lines.append(line)
    return [*(line.rstrip() for line in lines), *(f"{name} {stops(found)}" for name, found in rates.items())]


def stops(rates: list[float]) -> str:
    """From which size on twice the GPUs are not worth it."""
    for size, rate, doubled in zip(SIZES, rates, rates[1:], strict=False):
        if doubled < LEAST_GAIN * rate:
            return f"stops paying at {size:,} GPUs: twice as many make {doubled / rate:.2f} times the rows a second"
    last = rates[-1] / rates[-2]
    return f"pays up to {SIZES[-1]:,} GPUs: the last doubling still makes {last:.2f} times the rows a second"


def inputs(own: Inputs) -> list[str]:
    """Every input with its origin, from the comments of the class, and what is counted from them."""
    import inspect

    total, _ = weights(own)
    said = [line.partition("#")[2].strip() for line in inspect.getsource(Inputs).splitlines() if " = " in line]
    default = Inputs()
    lines = []
    for field, comment in zip(fields(own), said, strict=True):
        value = getattr(own, field.name)
        origin, _, text = comment.partition(": ")
        origin = origin if value == getattr(default, field.name) else "given"
        lines.append(f"{origin:<9} {value:>9,g}  {text}")
    lines.append(f"{'counted':<9} {total / 1e6:>9,.1f}  million weights")
    return [*lines, f"{'counted':<9} {flops_per_token(own) / 1e9:>9,.2f}  GFLOPs a token, both passes"]


def report(own: Inputs) -> list[str]:
    """Inputs, both tables, and what would change where sums were hidden as well as gathers are."""
    hidden = table(replace(own, ddp_overlap=own.fsdp_overlap), strong=True)
    return [
        *inputs(own), "", *table(own, strong=True), "", *table(own, strong=False), "",
        "times in ms a step; share: of the rows/s that as many GPUs would make that never wait and each update it all",
        f"with sums hidden behind {own.fsdp_overlap:.0%} of the backward pass, steps of one size: {hidden[-2]}",
    ]  # fmt: skip


def main() -> None:
    """Print the page, with inputs of one's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Inputs):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    print("\n".join(report(replace(Inputs(), **vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
