"""The page on scaling: its recipe shows what the script prints, and the script counts as the literature does."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "pretrain" / "bert-large-many-gpus.yaml"


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling", Path(__file__).with_name("scaling.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module
    spec.loader.exec_module(module)
    return module


def test_the_recipe_shows_what_the_script_prints(scaling: ModuleType) -> None:
    shown = [line[2:] if line.startswith("# ") else line.strip("#") for line in RECIPE.read_text().splitlines()]
    printed = scaling.report(scaling.Inputs())
    start = shown.index(printed[0])
    assert shown[start : start + len(printed)] == printed
    assert sum("assumed" in line for line in printed) >= 9, "what is assumed is said to be"


def test_weights_are_those_of_the_architecture(scaling: ModuleType) -> None:
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from ftcli.models.presets import PRESETS

    shape = {key: value for key, value in PRESETS["bert-large"].items() if key != "model_type"}
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig(vocab_size=30_522, **shape))
    assert scaling.weights(scaling.Inputs())[0] == sum(p.numel() for p in model.parameters())


def test_by_hand(scaling: ModuleType) -> None:
    """Round numbers: a GB of gradients, links of 100 GB/s that are used in full, no latency."""
    own = replace(
        scaling.Inputs(), gradient_bytes=4, nvlink_gb_s=100.0, network_gb_s=1.0, link_share=1.0, near_us=0.0, far_us=0.0
    )
    size = 4 * scaling.weights(own)[0]
    assert scaling.replicated(own, 8, 32).sent == pytest.approx(1e3 * 2 * 7 / 8 * size / 100e9)
    assert scaling.replicated(own, 16, 32).sent == pytest.approx(1e3 * 2 * 15 / 16 * size / 8e9), "eight ports a host"
    assert scaling.sharded(own, 8, 32).sent == pytest.approx(1e3 * 2 * 7 / 8 * size / 100e9), "half, half and whole"
    assert scaling.sharded(own, 8, 64).sent == pytest.approx(2 * scaling.sharded(own, 8, 32).sent), "once a pass"


def test_latency_grows_with_the_ring_and_with_the_depth_of_trees(scaling: ModuleType) -> None:
    own = replace(scaling.Inputs(), near_us=1.0, far_us=10.0)
    assert scaling.ring_ms(own, 8) == pytest.approx(7e-3)
    assert scaling.ring_ms(own, 16) == pytest.approx((13 + 2 * 10) / 1e3)
    assert scaling.tree_ms(own, 1024) == pytest.approx(2 * (7 + 7 * 10) / 1e3)


def test_where_it_stops_paying(scaling: ModuleType) -> None:
    rates = [2.0**i for i in range(8)]
    assert scaling.stops(rates).startswith("pays up to 1,024")
    assert scaling.stops([1.0, 1.9, 2.5, *rates[3:]]).startswith("stops paying at 16 GPUs: twice as many make 1.32")
