"""The NPU's regression, by hand, and its fit to measured latencies."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npu import FACTS, hexagon, with_parameters

from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.regression import breakdown, exchanged_ms, price
from graphopt.cost.record import NetworkCost

ROOT = Path(__file__).parents[3]
CALIBRATION = (
    Path(os.environ.get("GRAPHOPT_CALIBRATION", ROOT.parent / "shared" / "calibration"))
    / "sm8650_npu_fp16_compiled_vs_measured.csv"
)


def test_a_price_by_hand() -> None:
    target = with_parameters(
        launch=0.25, per_gmac=0.1, per_megabyte=0.0125, per_supertile=0.03, supertile_exponent=0.5,
        calibrated_supertiles=100, spread=1.5, spread_beyond=4,
    )  # fmt: skip
    # 0.25 + 2 GMAC x 0.1 + 40 MB x 0.0125 + sqrt(100) x 0.03
    assert price(FACTS, 2_000_000_000, target) == pytest.approx((1.25, 1.25 / 1.5, 1.25 * 1.5))
    rows = breakdown(FACTS, 2_000_000_000, target)
    assert [(row.name, row.ms) for row in rows] == [
        ("launch", pytest.approx(0.25)),
        ("arithmetic", pytest.approx(0.2)),
        ("memory", pytest.approx(34 * 0.0125)),
        ("spills", pytest.approx(6 * 0.0125)),
        ("supertiles", pytest.approx(0.3)),
    ]
    assert (rows[1].macs, rows[2].bytes_read, rows[2].bytes_written) == (2_000_000_000, 26_000_000, 8_000_000)
    assert (rows[3].bytes_read, rows[3].bytes_written) == (4_000_000, 2_000_000)


def test_a_part_of_a_network_is_exchanged() -> None:
    """The launch goes out of the difference, spills stay as they are in the whole, and supertiles add up."""
    target = with_parameters(launch=0.25, per_gmac=0.1, per_megabyte=0.0125, per_supertile=0.03, supertile_exponent=0.5)

    def priced(megabytes: int, spilled: int, supertiles: int, gmac: int) -> NetworkCost:
        spills = spilled * 1_000_000
        facts = CompiledFacts(megabytes * 1_000_000, spills, spills, 0, supertiles, 0, 0, 0, graphs=1)
        counts = (gmac * 10**9, 0, 0)
        return NetworkCost(
            *price(facts, counts[0], target), "estimated", *counts, kernels=breakdown(facts, counts[0], target)
        )

    whole, kept, put = priced(100, 7, 100, 5), priced(10, 3, 40, 2), priced(6, 1, 4, 1)
    # 64 supertiles are left of 100, 4 MB less and 1 GMAC less
    assert exchanged_ms(whole, kept, put, target) == pytest.approx(-4 * 0.0125 - 0.1 - (10 - 8) * 0.03)
    assert exchanged_ms(whole, kept, kept, target) == 0


def test_the_band_is_wider_where_nothing_was_calibrated() -> None:
    target = with_parameters(calibrated_supertiles=99, spread=1.5, spread_beyond=4)
    middle, low, high = price(FACTS, 0, target)
    assert (middle / low, high / middle) == pytest.approx((4, 4))


def _benchmark() -> Any:
    path = ROOT / "benchmarks" / "costs" / "npu.py"
    spec = importlib.util.spec_from_file_location("benchmarks_costs_npu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_fit_finds_the_parameters_of_noiseless_rows() -> None:
    benchmark = _benchmark()
    generator = np.random.default_rng(0)
    rest, base = generator.random((10, 3)), 1 + 9 * generator.random(10)
    matrices = [np.column_stack([np.ones(10), rest[:, :2], base**power]) for power in (0.5, 0.75, 1.0)]
    parameters = np.array([0.3, 0.1, 0.0, 0.02])  # one is at the bound
    measured = matrices[1] @ parameters
    found, best = benchmark.fit(matrices, measured, np.ones(10, dtype=bool))
    assert (found, best) == (pytest.approx(parameters, abs=1e-12), 1)
    assert benchmark.leave_one_out(matrices, measured) == pytest.approx(np.ones(10))
    measured[3] *= 2  # a row that the others do not explain is not in its own fit
    assert benchmark.leave_one_out(matrices, measured)[3] == pytest.approx(0.5)


@pytest.mark.skipif(not CALIBRATION.exists(), reason="no measured latencies: set GRAPHOPT_CALIBRATION to their folder")
def test_leave_one_out_error() -> None:
    figures = _benchmark().measure(CALIBRATION)
    assert figures["npu_leave_one_out_error"] <= 0.1
    model = hexagon().npu_model
    for name, value in figures["npu_parameters"].items():
        assert getattr(model, name).value == pytest.approx(value, rel=5e-3), name
    assert model.spread.value == pytest.approx(figures["npu_spread"], rel=0.02)
    assert model.calibrated_supertiles.value == figures["npu_most_supertiles"]
