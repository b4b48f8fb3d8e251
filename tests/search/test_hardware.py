"""Memory of a peak, parameters, and several targets: figures worked out by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from search_toys import TARGET, Drop, DropPair, cost, hardware_of, table_of, toy_space

from graphopt.config.search import SearchConfig
from graphopt.cost.live import LiveBytes, live_bytes
from graphopt.cost.table import CostTable, Delta
from graphopt.ir.contract import Contract
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Site
from graphopt.ir.space import KEEP, Candidate, Choice, Space
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.objective import ExpectedPeak
from graphopt.search.selection import meet_goal

FLOAT = 4
IMAGE = 2 * 8 * 8


def wide_space() -> Space:
    """x -> a (4 channels) -> b (16) -> c (4) + a -> y. The site `wide` is b and c; its candidate goes without b."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
        <float[4, 2, 1, 1] w1 = {1,1,1,1,1,1,1,1}, float[16, 4, 1, 1] w2, float[4, 16, 1, 1] w3, float[2, 4, 1, 1] w4>
        {
            [a] a = Conv(x, w1)
            [b] b = Conv(a, w2)
            [act] r = Relu(b)
            [c] c = Conv(r, w3)
            [sum] s = Add(c, a)
            [y] y = Conv(s, w4)
        }
    """.replace(", float[16, 4, 1, 1] w2, float[4, 16, 1, 1] w3, float[2, 4, 1, 1] w4", "")
    )
    for name, shape in (("w2", (16, 4, 1, 1)), ("w3", (4, 16, 1, 1)), ("w4", (2, 4, 1, 1))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    for node in model.graph.node:
        node.name = node.output[0]
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    a = next(tensor for name, tensor in graph.tensors().items() if name == "a")
    weight = gs.Constant("wide@thin/w", np.ones((4, 4, 1, 1), np.float32))
    made = gs.Variable("wide@thin/out", np.float32)
    node = gs.Node(
        "Conv", "wide@thin/conv", {"kernel_shape": [1, 1]}, [gs.Variable("a", a.dtype, a.shape), weight], [made]
    )
    thin = Candidate("thin", Fragment([node], {"c": made}, [weight]), Contract.TUNED)
    gone = Candidate("gone", Fragment([], {"c": gs.Variable("a", a.dtype, a.shape)}), Contract.TUNED)
    site = Site("wide", ("b", "r", "c"), {"x": "a"}, {"y": "c"})
    return Space(graph, {"wide": Choice(site, {"thin": thin, "gone": gone})})


def test_live_bytes_by_hand() -> None:
    """In floats of 64 pixels: x 2, a 4, b 16 (Relu in place), c 4. The input is held by the caller all along."""
    live = live_bytes(wide_space())
    pixels = 64 * FLOAT
    assert live.inside["wide"] == {
        KEEP: (2 + 4 + 16 + 4) * pixels,  # c is made: x, a (read by the sum), b and c
        "thin": (2 + 4 + 4) * pixels,
        "gone": (2 + 4) * pixels,
    }
    # the sum is fused into the last convolution: x, a, c and y
    assert live.outside == (2 + 4 + 4 + 2) * pixels


def test_expected_peak_is_a_maximum_over_nested_sites() -> None:
    space = toy_space(Drop(), DropPair())
    outer = next(name for name, choice in space.choices.items() if "drop-pair" in choice.candidates)
    first, second = space.children(outer)
    alone = next(name for name in space.choices if name not in (outer, first, second))
    held = {outer: {KEEP: 100, "drop-pair": 300}, first: {KEEP: 9000, "drop": 1000}, second: {KEEP: 8000, "drop": 7000},
            alone: {KEEP: 2000, "drop": 500}}  # fmt: skip
    peak = ExpectedPeak(space, table_of(space), LiveBytes(600, held))
    weights = 4 * 100

    def bytes_of(*dropped: str) -> float:
        """Weights of the candidates aside, which are 3 fewer each."""
        selection = {name: space.choices[name].options[name in dropped] for name in space.choices}
        gone = [name for name in dropped if name not in (first, second) or outer not in dropped]
        hot = {name: torch.eye(2)[int(name in dropped)] for name in space.choices}
        smooth = peak.of(selection, smooth=True)
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
    peak = ExpectedPeak(space, table_of(space), LiveBytes(0, held))
    p = {name: torch.tensor([0.9, 0.1], requires_grad=True) for name in space.choices}
    peak(p).backward()
    pulls = {name.split("/")[0]: float(values.grad[0] - values.grad[1]) for name, values in p.items()}
    assert pulls["first"] == pytest.approx(pulls["second"])
    assert pulls["first"] > 0.3
    assert abs(pulls["third"]) < 0.01


def test_a_memory_goal_turns_every_site_at_the_peak_and_no_other() -> None:
    space = toy_space(Drop())
    held = {name: {KEEP: 2000 if name.startswith("third") else 5000, "drop": 2000} for name in space.choices}
    hardware = hardware_of(space, 4.0, live=LiveBytes(0, held), memory_bytes={TARGET: 600.0})  # of 1000
    kept = dict.fromkeys(space.choices, KEEP)
    assert hardware.missed(kept) == {f"memory on {TARGET}": pytest.approx(1000 / 600 - 1)}
    scores = {name: [1.0, 0.0] for name in space.choices}
    met, turned = meet_goal(space, hardware, kept, scores)
    assert sorted(name.split("/")[0] for name in turned) == ["first", "second"]
    assert not hardware.missed(met)


def test_parameters_are_a_term_of_their_own() -> None:
    space = toy_space(Drop(), DropPair())
    hardware = hardware_of(space, 4.0, parameters=92.0)
    kept = dict.fromkeys(space.choices, KEEP)
    assert hardware.missed(kept) == {"parameters": pytest.approx(100 / 92 - 1)}
    p = {name: torch.tensor([0.5, 0.5]) for name in space.choices}
    # 100 - 3 (outer) / 2 - 3 (free) / 2 - two inner ones at 3 / 4
    expected = (100 - 1.5 - 1.5 - 1.5) / 92 - 1
    assert float(hardware.penalty(p)) == pytest.approx(40 * expected, rel=1e-4)


@pytest.mark.parametrize(("mode", "expected"), [("mix", 0.25 * 0.5 + 0.75 * 0.1), ("worst", 0.5)])
def test_several_targets_are_mixed_or_the_worst_counts(mode: str, expected: float) -> None:
    space = toy_space(Drop())
    deltas = {n: {o: {t: Delta(0.0, 0, 0) for t in "abc"} for o in c.options} for n, c in space.choices.items()}
    table = CostTable({t: cost(3.0) for t in "abc"}, deltas)
    config = SearchConfig(method="entropy-sites", objective={"targets": mode}, latency_weight=1.0)
    goals = Goals({"a": 2.0, "b": 3 / 1.1, "c": 5.0})
    hardware = Hardware(space, table, None, goals, {"a": 0.25, "b": 0.75, "c": 0.0}, config)
    p = {name: torch.tensor([0.5, 0.5]) for name in space.choices}
    assert float(hardware.penalty(p)) == pytest.approx(expected, rel=1e-5)
    assert hardware.missed(dict.fromkeys(space.choices, KEEP)).keys() == {"latency on a", "latency on b"}
