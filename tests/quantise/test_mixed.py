"""A toy network whose best mixed precision is known: three tensors with an offset, which costs them their last bits.

Widening `a` gains most and costs 50, `b` gains less for 18, `c` least for 2; all in 8 bits costs 100.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from graphs import onnx_model

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.ir.session import OnnxSession
from graphopt.quantise.mixed import Allowed, Widened, widen
from graphopt.quantise.quantise import quantise
from graphopt.quantise.rules import find_rules
from graphopt.quantise.trials import Trials

TEXT = """(float[1,3,16,16] x) => (float[1,3,16,16] y) {
    ["split/op"] p, q, r = Split<axis=1, num_outputs=3>(x)
    ["a/op"] a = Conv<pads=[2,2,2,2]>(p, w5, up_a) ["a2/op"] d = Conv<pads=[2,2,2,2]>(a, w5, down_a)
    ["b/op"] b = Conv<pads=[1,1,1,1]>(q, w3, up_b) ["b2/op"] e = Conv<pads=[1,1,1,1]>(b, w3, down_b)
    ["c/op"] c = Conv(r, w1, up_c) ["c2/op"] f = Conv(c, w1, down_c) ["concat/op"] y = Concat<axis=1>(d, e, f) }"""
OFFSETS = {"a/op": 40.0, "b/op": 20.0, "c/op": 10.0}
FLOOR = 3e-4  # of the squared error, that a network in float has
IMAGES = [np.random.default_rng(seed).random((1, 3, 16, 16), dtype=np.float32) for seed in range(3)]


def model() -> onnx.ModelProto:
    weights: dict[str, np.ndarray] = {}
    for side in (1, 3, 5):
        weights[f"w{side}"] = np.zeros((1, 1, side, side), np.float32)
        weights[f"w{side}"][0, 0, side // 2, side // 2] = 1
    for name, offset in OFFSETS.items():
        name = name[0]
        weights |= {f"up_{name}": np.float32([offset]), f"down_{name}": np.float32([-offset])}
    return canonical(onnx_model(TEXT, weights), None, "toy")


def judge(made: onnx.ModelProto) -> float:
    """PSNR against the image itself, which the network gives back."""
    session = OnnxSession(made)
    return float(-10 * np.log10(np.mean([np.square(session.run(image) - image).mean() for image in IMAGES]) + FLOOR))


def price(made: onnx.ModelProto, beside: onnx.ModelProto) -> float:
    """100, and what convolutions multiply in float."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in made.graph.initializer}
    return 100.0 + sum(sizes.get(node.input[1], 0) for node in made.graph.node if node.op_type == "Conv")


def widened(share: float, device: str = "cpu") -> Widened:
    trials = Trials.of(model(), *find_rules(device, "w8a8"), judge)
    ranges = trials.ranges(IMAGES)["min-max"]
    return widen(trials, ranges, ranges, Allowed(price, share))


def test_each_group_is_judged_and_priced_in_its_place() -> None:
    found = widened(0.6)
    assert list(found.gains) == ["x", "a/op", "a2/op", "b/op", "c/op"]
    assert {name: found.prices[name] for name in OFFSETS} == {"a/op": 50, "b/op": 18, "c/op": 2}
    errors = {name: ((offset + 1) / 255) ** 2 / 12 / 3 for name, offset in OFFSETS.items()}
    for name in OFFSETS:
        others = sum(error for other, error in errors.items() if other != name) + FLOOR
        assert found.gains[name] == pytest.approx(10 * np.log10((sum(errors.values()) + FLOOR) / others), abs=0.05)


@pytest.mark.parametrize(
    ("share", "wide", "ms"),
    [(0.01, (), 100), (0.05, ("c/op",), 102), (0.25, ("b/op", "c/op"), 120), (1, tuple(OFFSETS), 170)],
)
def test_the_best_choice_within_a_budget(share: float, wide: tuple[str, ...], ms: float) -> None:
    found = widened(share)
    assert (found.wide, found.ms) == (wide, (100, ms))
    assert found.psnr[0] == pytest.approx(judge(widened(0.01).qdq.model))
    assert found.psnr[1] == judge(found.qdq.model)
    assert (found.psnr[1] > found.psnr[0]) == bool(wide)


def test_what_seems_to_pay_but_does_not_is_left() -> None:
    trials = Trials.of(model(), *find_rules("cpu", "w8a8"), judge)
    ranges = trials.ranges(IMAGES)["min-max"]

    def dear_together(made: onnx.ModelProto, beside: onnx.ModelProto) -> float:
        found = price(made, beside)
        return found if found in (100, 150, 118, 102) else 2 * found

    found = widen(trials, ranges, ranges, Allowed(dear_together, 0.25))
    assert (found.wide, found.ms) == (("c/op",), (100, 102))  # b and c would cost 240; half of the budget holds c
    never = replace(trials, judge=lambda made: 1.0)
    assert widen(never, ranges, ranges, Allowed(price, 0.25)).wide == ()


def test_in_sixteen_bits_where_the_rules_are_qnns() -> None:
    found = quantise(model(), IMAGES, judge, "w8a8", "qnn", allowed=Allowed(lambda made, beside: 1.0, 0.1)).widened
    assert found is not None
    assert set(OFFSETS) <= set(found.wide)  # all of them are free
    assert found.psnr[1] > found.psnr[0] + 4
    zeros = {
        tensor.name: tensor.data_type for tensor in found.qdq.model.graph.initializer if "zero_point" in tensor.name
    }
    assert zeros["a_zero_point"] == onnx.TensorProto.UINT16
    assert {(entry.domain, entry.version) for entry in found.qdq.model.opset_import} == {("", 21)}


def test_sixteen_bits_have_nothing_to_widen() -> None:
    with pytest.raises(GraphoptError, match="w8a16 has more; give w8a8 with 'mixed'"):
        quantise(model(), IMAGES, judge, "w8a16", "qnn", allowed=Allowed(price, 0.1))
