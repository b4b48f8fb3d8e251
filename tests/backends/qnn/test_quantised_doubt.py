"""Draws of what the regressions of quantised networks do not know, and how often the interval of a ratio holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from npu import hexagon

from graphopt.backends.qnn.quantised import QuantisedFeatures, terms
from graphopt.backends.qnn.quantised_doubt import QuantisedDoubt, drawn_quantised, shipped_quantised_doubt

ROOT = Path(__file__).parents[3]
CALIBRATION = Path(os.environ.get("GRAPHOPT_CALIBRATION", ROOT.parent / "shared" / "calibration"))
NETWORK = QuantisedFeatures(1, 4.0, 10.0, 20.0, 2.0, 8.0, 16.0)
needs_calibration = pytest.mark.skipif(
    not CALIBRATION.exists(), reason="no measured latencies: set GRAPHOPT_CALIBRATION to their folder"
)


@pytest.fixture
def benchmarks() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in [name for name in sys.modules if name.split(".")[0] == "costs"]:
        del sys.modules[name]


def test_without_doubt_each_draw_is_the_price() -> None:
    model = hexagon().npu_model_quantised["w8a8"]
    expected = sum(terms(NETWORK, model).values())
    assert drawn_quantised(NETWORK, model, QuantisedDoubt("", {}, [0.0])) == pytest.approx(np.full(512, expected))
    offset = drawn_quantised(NETWORK, model, QuantisedDoubt("", {"per_gmac": [0.1, -9.0]}, [0.0]))
    arithmetic = 4 * model.per_gmac.value
    assert offset[:2] == pytest.approx([expected + 0.4, expected - arithmetic])  # never below 0


def test_parameters_are_shared_and_residuals_are_not() -> None:
    model, doubt = hexagon().npu_model_quantised["w8a8"], shipped_quantised_doubt()["w8a8"]
    same = drawn_quantised(NETWORK, model, doubt) / drawn_quantised(replace(NETWORK), model, doubt)
    assert (same == 1).all()
    half = QuantisedFeatures(1, 2.0, 5.0, 10.0, 1.0, 4.0, 8.0)
    low, high = np.quantile(drawn_quantised(NETWORK, model, doubt) / drawn_quantised(half, model, doubt), (0.05, 0.95))
    assert 1.3 < high / low < 2.5


@needs_calibration
@pytest.mark.usefixtures("benchmarks")
def test_the_interval_holds_nine_of_ten_pairs_of_networks_left_out() -> None:
    from costs import npu_int8, npu_int8_doubt

    macs = npu_int8.per_gmac(CALIBRATION)
    rows = npu_int8.Rows(CALIBRATION, "w8a16").apart()[0]
    held = [is_held for is_held, _ in npu_int8_doubt.pairs(rows, macs, vectors=4)]  # the benchmark takes 64
    assert len(held) == 15 * 14 / 2
    assert 0.8 <= np.mean(held) <= 0.98


@needs_calibration
@pytest.mark.usefixtures("benchmarks")
def test_the_shipped_file_is_of_the_target() -> None:
    from costs import npu_int8, npu_int8_doubt

    macs = npu_int8.per_gmac(CALIBRATION)
    for precision, doubt in shipped_quantised_doubt().items():
        rows = npu_int8.Rows(CALIBRATION, precision).apart()[0]
        made = npu_int8_doubt.doubt(rows, np.arange(len(rows.names)), macs, vectors=2)[0]
        assert made.residuals == pytest.approx(doubt.residuals, abs=0.002)
        assert made.offsets["launch"] == pytest.approx(doubt.offsets["launch"][:2], abs=1e-4)
        assert len(doubt.residuals) == len(rows.names)
