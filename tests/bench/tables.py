"""Results as people read them: Markdown tables and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contenders import CONTENDERS

BASES = ("trainer", "trainer-grouped", "trainer-bf16")
"""What the others are compared with, in the same round."""
SHORT = {"trainer": "Trainer", "trainer-grouped": "grouped", "trainer-bf16": "grouped, bf16"}
GAPS = {
    ("ftcli", "trainer"): ("ftcli / Trainer", "#1b6ca8"),
    ("ftcli", "trainer-grouped"): ("ftcli / Trainer grouped by length", "#7fb6dc"),
    ("ftcli", "trainer-bf16"): ("ftcli / Trainer grouped by length, bf16", "#4a9c6d"),
    ("ftcli", "trainer-best"): ("ftcli / Trainer, best", "#c9a227"),
    ("trainer-grouped", "trainer"): ("Trainer grouped by length / Trainer", "#b8b8b8"),
}


def values(part: Mapping[str, Any], name: str, what: str) -> list[float]:
    """A number of a contender in each round."""
    return [float(r["runs"][name][what]) for r in part["rounds"]]


def ratios(part: Mapping[str, Any], name: str, base: str, what: str) -> list[float]:
    """A contender's rate over another's, round by round: what slows the machine down slows both."""
    return [a / b for a, b in zip(values(part, name, what), values(part, base, what), strict=True)]


def utilisation(part: Mapping[str, Any], name: str) -> list[float]:
    """Model FLOPs per second of training over the ceiling of its precision measured before the same round."""
    per_row = part["facts"]["train_flops"] / part["rows"]
    ceilings = [r["ceiling"][r["runs"][name]["precision"]]["flops_per_s"] for r in part["rounds"]]
    return [rate * per_row / top for rate, top in zip(values(part, name, "train"), ceilings, strict=True)]


def names(part: Mapping[str, Any]) -> list[str]:
    """The contenders of a set, in the order of the tables."""
    return [name for name in CONTENDERS if name in part["rounds"][0]["runs"]]


def heading(results: Mapping[str, Any]) -> str:
    """What it was measured on and with."""
    machine, versions = results["hardware"], results["versions"]
    lines = [
        f"{machine['cpu']}, {count(machine['cores'], 'core')}, {count(machine['threads'], 'thread')}, "
        f"{machine['memory_gib']:.0f} GiB"
        + (f", {machine['gpu']}" if machine.get("gpu") else "")
        + f"; Python {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}",
    ]
    if results.get("start_up"):
        lines.append("; ".join(f"`{what}` {took * 1000:.0f} ms" for what, took in results["start_up"].items()))
    job = results["settings"]
    lines.append(
        f"{job['model_name']}, batch {job['batch_size']}, warm-up {job['warmup']:g}, weight decay "
        f"{job['weight_decay']:g}, the model's own dropout; rounds differ by seed, contenders take turns; ratios are "
        "medians over the rounds (min to max)"
    )
    return "\n\n".join(lines)


def table(part: Mapping[str, Any]) -> str:
    """The Markdown table of one set."""
    found = names(part)
    bases = [base for base in BASES if base in found]
    last = part["epochs"] > 1
    tops = {
        kind: statistics.median(r["ceiling"][kind]["flops_per_s"] for r in part["rounds"])
        for kind in part["rounds"][0]["ceiling"]
        if any(r["runs"][name]["precision"] == kind for r in part["rounds"] for name in found)
    }
    reached = " and ".join(f"{top / 1e9:,.0f} GFLOP/s in {kind}" for kind, top in tops.items())
    intro = (
        f"**{part['name']}**: {part['rows']:,} training rows ({part['facts']['train_tokens']:,} tokens), "
        f"{part['test_rows']:,} test rows, {part['labels']} labels, at most {part['max_length']} tokens, "
        f"{count(part['epochs'], 'epoch')}, lr {part['lr']:g}, {count(len(part['rounds']), 'round')}; "
        f"matrix products reach {reached}"
    )
    over = [f"over {SHORT[base]}" for base in bases]
    header = ["", "trains in", "train rows/s", *over, *(["last epoch rows/s"] if last else []), "tokens/s",
              "padding", "MFU", "predict rows/s", *over, "peak memory", "test accuracy"]  # fmt: skip
    rows = []
    for name in found:
        rate, mean_tokens = values(part, name, "train"), part["facts"]["train_tokens"] / part["rows"]
        rows.append(
            [
                CONTENDERS[name],
                part["rounds"][0]["runs"][name]["precision"],
                number(statistics.median(rate)),
                *(gap(part, name, base, "train") for base in bases),
                *([number(statistics.median(values(part, name, "train_last_epoch")))] if last else []),
                f"{statistics.median(rate) * mean_tokens:,.0f}",
                f"{statistics.mean(values(part, name, 'padding')):.1%}",
                f"{statistics.median(utilisation(part, name)):.0%}",
                number(statistics.median(values(part, name, "predict"))),
                *(gap(part, name, base, "predict") for base in bases),
                f"{max(values(part, name, 'peak_mib')):,.0f} MiB",
                spread(values(part, name, "accuracy")),
            ]
        )
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *rows]
    return intro + "\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def gap(part: Mapping[str, Any], name: str, base: str, what: str) -> str:
    """A ratio and its range; nothing of a contender to itself."""
    if name == base:
        return ""
    found = ratios(part, name, base, what)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def spread(found: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    return f"{statistics.mean(found):.4f}" + (f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else "")


def count(number: int, what: str) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(results: Mapping[str, Any], file: Path) -> None:
    """Bars of the ratios per set, whiskers from the least to the greatest of the rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = results["sets"]
    figure, axes = pyplot.subplots(1, 2, figsize=(6 + 1.6 * len(parts), 4.2), sharey=True, layout="constrained")
    for axis, (what, title) in zip(axes, (("train", "training"), ("predict", "prediction")), strict=True):
        gaps = [g for g in GAPS if all(set(g) <= set(names(part)) for part in parts)]
        width = 0.8 / max(1, len(gaps))
        for i, key in enumerate(gaps):
            label, color = GAPS[key]
            found = [ratios(part, *key, what) for part in parts]
            middle = [statistics.median(r) for r in found]
            whiskers = [[m - min(r) for m, r in zip(middle, found, strict=True)],
                        [max(r) - m for m, r in zip(middle, found, strict=True)]]  # fmt: skip
            places = [j + (i - (len(gaps) - 1) / 2) * width for j in range(len(parts))]
            axis.bar(places, middle, width * 0.94, yerr=whiskers, capsize=3, label=label, color=color)
            for x, m, r in zip(places, middle, found, strict=True):
                axis.annotate(f"{m:.2f}", (x, max(r)), ha="center", va="bottom", fontsize=8, xytext=(0, 3),
                              textcoords="offset points", bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(parts)), [part["name"] for part in parts])
        axis.set_title(f"{title}: ratio of rows per second")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[0].margins(y=0.12)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    machine = results["hardware"]
    figure.suptitle(
        f"{results['settings']['model_name']}, "
        f"{machine.get('gpu') or machine['cpu']}, {count(machine['threads'], 'thread')}",
        fontsize=9,
    )
    figure.savefig(file, dpi=130)
