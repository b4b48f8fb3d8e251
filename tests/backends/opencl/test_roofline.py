"""Where the time goes: parts that add up, and the roofline beside them, by hand."""

from pathlib import Path

import onnx_graphsurgeon as gs
import pytest

from graphopt.backends.opencl.roofline import by_block, limit_ms
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.record import KernelCost
from graphopt.ir.canonical import to_model

MALI = load_target("exynos2100-mali-g78")  # 1362 GFLOPS in fp16, 51.2 GB/s  # 1362 GFLOPS in fp16, 51.2 GB/s


def test_the_limit_is_the_slower_of_arithmetic_and_traffic() -> None:
    busy = KernelCost("a", "conv", 2, 9.9, macs=681_000_000, bytes_read=512, bytes_written=512)
    moving = KernelCost("b", "elementwise", 1, 9.9, macs=0, bytes_read=25_600_000, bytes_written=25_600_000)
    assert limit_ms(busy, MALI) == pytest.approx(1.0)  # 2 x 681e6 FLOP at 1362e9 a second
    assert limit_ms(moving, MALI) == pytest.approx(1.0)  # 51.2 MB at 51.2 GB/s


@pytest.mark.parametrize("phone", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_kinds_and_blocks_add_up_to_the_network(nafnet_graph: gs.Graph, phone: str, tmp_path: Path) -> None:
    model, backend = to_model(nafnet_graph), open_backend(load_target(phone), CostCache(tmp_path))
    cost = backend.price(model)
    found = backend.break_down(cost, model)
    assert found is not None
    assert found.limit_ms is not None
    assert found.additivity is not None
    assert sum(part.latency_ms for part in found.kinds) == pytest.approx(cost.latency_ms)
    assert sum(part.macs for part in found.kinds) == cost.macs
    names = ["intro", "encoders.0.0", "downs.0", "middle_blks.0", "ups.0.0", "ups.0.1", "decoders.0.0", "ending"]
    assert [part.name for part in found.blocks] == names
    assert sum(part.latency_ms for part in found.blocks) == pytest.approx(cost.latency_ms * (1 + found.additivity))
    assert abs(found.additivity) < 0.05
    assert 0 < found.limit_ms < cost.latency_ms
    assert found.limit_ms == pytest.approx(sum(part.limit_ms for part in found.kinds))
    assert all(part.limit_ms <= part.latency_ms for part in (*found.kinds, *found.blocks))


def test_blocks_of_one_shape_are_priced_once(nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    cache = CostCache(tmp_path)
    parts = {part.name: part for part in by_block(to_model(nafnet_graph), MALI, open_backend(MALI, cache).price)}
    assert parts["encoders.0.0"].latency_ms == parts["decoders.0.0"].latency_ms
    assert parts["middle_blks.0"].latency_ms != parts["encoders.0.0"].latency_ms
    assert cache.hits > 0


def test_without_blocks_nothing_more_is_compiled(nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    backend = open_backend(MALI, CostCache(tmp_path))
    cost = backend.price(to_model(nafnet_graph))
    misses = backend.cache.misses
    found = backend.break_down(cost)
    assert backend.cache.misses == misses
    assert found is not None
    assert (found.blocks, found.additivity) == ((), None)
    assert found.kernels == cost.kernels
