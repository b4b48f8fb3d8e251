"""Every published network has a price on every target that graphopt ships, and the same one as before.

`prices.csv` holds what was priced at 32 x 32, of the small chain on every GPU and of each network on three phones. A
row changes where a formula, a fact or what TVM makes of a graph is changed on purpose: the test says the new figures.
"""

from __future__ import annotations

import csv
import importlib.util
import math
from pathlib import Path

import onnx
import pytest
import torch

from graphopt.backends.registry import backend_class, open_backend
from graphopt.backends.targets import list_targets
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.cost.target import Target
from graphopt.ir.canonical import canonical
from graphopt.models.source import export_module, export_random
from graphopt.models.zoo import NETWORKS, build

TARGETS = {target.name: target for target in list_targets()}
GPUS = [target for target in TARGETS.values() if target.kind == "opencl"]
HAS_NPU_COMPILER = importlib.util.find_spec("onnxruntime_qnn") is not None
SIZE = (32, 32)
with (Path(__file__).parent / "prices.csv").open(newline="") as stream:
    KNOWN = {
        (row.pop("network"), row.pop("target")): {k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices") / "costs")


def check(name: str, cost: NetworkCost, target: Target, parameters: int) -> None:
    assert 0 < cost.low_ms <= cost.latency_ms <= cost.high_ms < math.inf
    assert cost.provenance == backend_class(target.kind).provenance
    assert cost.macs > 0
    assert cost.peak_memory_bytes > 0
    assert cost.parameters > 0.95 * parameters  # untrained norms share equal weights; SwinIR's tables count as weights
    assert [kernel.name for kernel in cost.kernels if kernel.kind == "refused"] == []
    if (name, target.name) in KNOWN:
        known = KNOWN[name, target.name]
        assert {key: getattr(cost, key) for key in known} == pytest.approx(known, rel=1e-6)


def test_what_is_pinned() -> None:
    pinned = {target for name, target in KNOWN if name == "small"}
    assert pinned == {target.name for target in GPUS}
    assert {name for name, target in KNOWN if target == "exynos2100-mali-g78"} >= {*NETWORKS, "small"}


class Chain(torch.nn.Module):
    """Small forms of networks, one after the other: one export and one lowering price them all."""

    def __init__(self) -> None:
        super().__init__()
        small = {
            "mier": {"width": 8, "blocks": 1},
            "nafnet-width32": {"width": 4, "encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (1,)},
        }
        torch.manual_seed(0)
        self.networks = torch.nn.Sequential(*(build(name, options) for name, options in small.items()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        restored: torch.Tensor = self.networks(image)
        return restored


@pytest.fixture(scope="module")
def chain() -> tuple[onnx.ModelProto, int]:
    module = Chain()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return canonical(export_module(module, (1, 3, *SIZE), "restored"), None, "chain"), parameters


@pytest.mark.parametrize("target", GPUS, ids=lambda target: target.name)
def test_small_networks_have_a_price_on_every_gpu(
    target: Target, chain: tuple[onnx.ModelProto, int], cache: CostCache
) -> None:
    model, parameters = chain
    check("small", open_backend(target, cache).price(model), target, parameters)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_price_on_every_target(name: str, target: Target, cache: CostCache) -> None:
    if target.kind == "qnn" and not HAS_NPU_COMPILER:
        pytest.skip("onnxruntime-qnn is not installed (graphopt[qnn])")
    model = export_random(name, SIZE, cache.folder.parent / "exports")
    with torch.device("meta"):
        trained = sum(parameter.numel() for parameter in build(name).parameters())
    check(name, open_backend(target, cache).price(model), target, trained)
