"""The peak of memory: figures worked out by hand."""

from __future__ import annotations

import pytest
import torch
from search_toys import Drop, DropPair, table_of, toy_space

from graphopt.cost.live import LiveBytes
from graphopt.ir.space import KEEP
from graphopt.search.peak import Peak
from graphopt.search.rivals.greedy import smooth_max


def test_expected_peak_is_a_maximum_over_nested_sites() -> None:
    space = toy_space(Drop(), DropPair())
    outer = next(name for name, choice in space.choices.items() if "drop-pair" in choice.candidates)
    first, second = space.children(outer)
    alone = next(name for name in space.choices if name not in (outer, first, second))
    held = {outer: {KEEP: 100, "drop-pair": 300}, first: {KEEP: 9000, "drop": 1000}, second: {KEEP: 8000, "drop": 7000},
            alone: {KEEP: 2000, "drop": 500}}  # fmt: skip
    peak = Peak(space, table_of(space), LiveBytes(600, held))
    weights = 4 * 100

    def bytes_of(*dropped: str) -> float:
        """Weights of the candidates aside, which are 3 fewer each."""
        selection = {name: space.choices[name].options[name in dropped] for name in space.choices}
        gone = [name for name in dropped if name not in (first, second) or outer not in dropped]
        hot = {name: torch.eye(2)[int(name in dropped)] for name in space.choices}
        smooth = peak.bytes_of(selection, smooth_max) / peak.bytes_of({}, smooth_max)
        assert float(peak(hot)) == pytest.approx(smooth, rel=1e-5)  # the expectation of a certain choice
        assert smooth == pytest.approx(peak.of(selection), rel=0.05)
        return peak.of(selection) * peak.kept_bytes + 4 * 3 * len(gone)

    assert peak.kept_bytes == 9000 + weights
    assert bytes_of(alone) == pytest.approx(9000 + weights)  # the peak is elsewhere
    assert bytes_of(first) == pytest.approx(8000 + weights)  # now the second one is the peak
    assert bytes_of(first, second) == pytest.approx(7000 + weights)
    assert bytes_of(outer) == pytest.approx(2000 + weights)
    assert bytes_of(outer, first) == pytest.approx(2000 + weights)
    assert bytes_of(outer, alone) == pytest.approx(600 + weights)
    half = {name: torch.tensor([0.5, 0.5] if name == outer else [1.0, 0.0]) for name in space.choices}
    smooth = float(peak(half)) * peak.kept_bytes
    assert smooth == pytest.approx(9000 / 2 + 300 / 2 + weights, rel=0.03)


def test_the_smooth_peak_pulls_at_all_sites_that_reach_it() -> None:
    space = toy_space(Drop())
    held = {name: {KEEP: 5000 if not name.startswith("third") else 50, "drop": 10} for name in space.choices}
    peak = Peak(space, table_of(space), LiveBytes(0, held))
    p = {name: torch.tensor([0.9, 0.1], requires_grad=True) for name in space.choices}
    peak(p).backward()
    pulls = {name.split("/")[0]: float(values.grad[0] - values.grad[1]) for name, values in p.items()}
    assert pulls["first"] == pytest.approx(pulls["second"])
    assert pulls["first"] > 0.3
    assert abs(pulls["third"]) < 0.01
