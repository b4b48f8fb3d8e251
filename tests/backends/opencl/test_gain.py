"""How many times faster a network is on a GPU, with the bounds of the ratio."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_models import CONV, CONV_NODE, model, normalised

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.ratio import Ratio, independent


@pytest.mark.parametrize("name", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_the_bounds_of_a_ratio_are_narrower_than_those_of_the_prices(tmp_path: Path, name: str) -> None:
    backend = open_backend(load_target(name), CostCache(tmp_path))
    before, after = normalised(), model(f"y = {CONV_NODE}", **CONV)
    assert backend.compare(before, normalised(seed=1)) == Ratio(1.0, 1.0, 1.0, "estimated")
    found = backend.compare(before, after)
    old, new = backend.price(before), backend.price(after)
    assert found.value == old.latency_ms / new.latency_ms > 1
    assert found.low <= found.value <= found.high
    widest = independent(old, new)
    assert found.high / found.low < (widest.high / widest.low) ** 0.5
    other_way = backend.compare(after, before)
    assert (1 / other_way.high, 1 / other_way.low) == pytest.approx((found.low, found.high), rel=0.01)


def test_a_comparison_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone, before, after = load_target("sm8650-adreno750"), normalised(), model(f"y = {CONV_NODE}", **CONV)
    found = open_backend(phone, CostCache(tmp_path)).compare(before, after)
    monkeypatch.setattr("graphopt.backends.opencl.gain.network_kernels", None)
    assert open_backend(phone, CostCache(tmp_path)).compare(before, after) == found
