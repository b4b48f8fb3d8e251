"""What each candidate alone loses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from search_toys import Drop, toy_space

from graphopt.nn.supernet import Supernet
from graphopt.search.sensitivity import MOST, measure
from graphopt.train.data import PatchSampler
from graphopt.train.processes import start_fabric


def test_sensitivity_is_the_quality_that_a_candidate_alone_loses() -> None:
    """Where s = 0.5 goes, the output doubles: from the noise's error to that of x + noise."""
    space = toy_space(Drop())
    images = [np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)]
    lost = measure(
        space, Supernet(space), PatchSampler(images, 5.0, np.random.default_rng(1)), (2, 16),
        start_fabric("cpu", "fp32"), lambda share, words: None,
    )  # fmt: skip
    noisy, clean = PatchSampler(images, 5.0, np.random.default_rng(1)).batch(2, 16)
    expected = 10 * math.log10(((2 * noisy - clean) ** 2).mean() / ((noisy - clean) ** 2).mean())
    by_name = {name.split("/")[0]: losses for name, losses in lost.items()}
    assert by_name["second"]["drop"] == pytest.approx(min(expected, MOST), rel=1e-4)
    assert by_name["first"] == {"keep": 0.0, "drop": pytest.approx(0.0, abs=1e-6)}
