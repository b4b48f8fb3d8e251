"""Draws of what the NPU's regression does not know, and how often the interval of a ratio holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from npu import hexagon

from graphopt.backends.qnn.doubt import Doubt, drawn_times, shipped_doubt
from graphopt.backends.qnn.regression import Features, terms

ROOT = Path(__file__).parents[3]
# compiled offline, and timed on a Galaxy S24 by AI Hub (qai-hub-models 0.65.0, BSD-3-Clause, runtime qnn_dlc)
MEASURED = Path(__file__).parent / "measured.csv"
NETWORK = Features(graphs=1, gmac=4.0, megabytes=20.0, spilled=2.0, supertiles=200)
NAMES = ("launch", "per_gmac", "per_megabyte", "per_supertile")


@pytest.fixture
def benchmarks() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in [name for name in sys.modules if name.split(".")[0] == "costs"]:
        del sys.modules[name]


def test_without_doubt_each_draw_is_the_price() -> None:
    doubt = Doubt("made up", {name: [1.0] for name in NAMES}, [0.0], [0.0])
    target = hexagon()
    expected = sum(terms(NETWORK, target).values())
    assert drawn_times(NETWORK, target, doubt) == pytest.approx(np.full(512, expected))
    beyond = replace(NETWORK, supertiles=3000)
    low, middle, high = np.quantile(drawn_times(beyond, target, doubt), (0.05, 0.5, 0.95))
    least, most = (
        sum({**terms(beyond, target), "supertiles": terms(beyond, target)["supertiles"] * factor}.values())
        for factor in (1 / 2.5, 2.5)
    )
    assert (low, middle, high) == pytest.approx((least, sum(terms(beyond, target).values()), most), rel=0.08)


def test_parameters_are_shared_and_residuals_are_not() -> None:
    target, doubt = hexagon(), shipped_doubt()
    same = drawn_times(NETWORK, target, doubt) / drawn_times(replace(NETWORK), target, doubt)
    assert (same == 1).all()
    parameters = replace(doubt, residuals=[0.0])
    half = Features(1, 2.0, 10.0, 1.0, 84)  # half of each term but the launch
    shared, all_of_it = (
        np.quantile(drawn_times(NETWORK, target, known) / drawn_times(half, target, known), (0.05, 0.95))
        for known in (parameters, doubt)
    )
    assert shared[1] / shared[0] < 1.15
    assert 1.5 < all_of_it[1] / all_of_it[0] < 3


@pytest.mark.usefixtures("benchmarks")
def test_the_interval_holds_nine_of_ten_pairs_of_networks_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from costs import npu, npu_doubt

    monkeypatch.setattr(npu_doubt, "VECTORS", 8)  # the benchmark takes 64
    held = [is_held for is_held, _ in npu_doubt.pairs(npu.Rows(MEASURED))]
    assert len(held) == 276
    assert 0.85 <= np.mean(held) <= 0.95


@pytest.mark.usefixtures("benchmarks")
def test_the_shipped_file_is_of_the_target() -> None:
    from costs import npu_doubt

    made, shipped = npu_doubt.shipped(MEASURED), shipped_doubt()
    assert made.residuals == pytest.approx(shipped.residuals, abs=0.002)
    assert made.factors["per_gmac"] == pytest.approx(shipped.factors["per_gmac"], abs=0.002)
    found = npu_doubt.doubt(npu_doubt.npu.Rows(MEASURED), np.arange(24))[1].npu_model
    for name in (*NAMES, "supertile_exponent"):
        assert getattr(hexagon().npu_model, name).value == pytest.approx(getattr(found, name).value, rel=5e-3)
