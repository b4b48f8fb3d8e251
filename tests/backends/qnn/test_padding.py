"""MACs with channels in groups of 32."""

from __future__ import annotations

import pytest
from npu import network

from graphopt.backends.qnn.padding import padded_convolution, padded_macs
from graphopt.cost.counts import macs_and_parameters


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "expected"),
    [
        (64, 3, 1, 64 * 32),  # a last convolution: as if it made 32 channels
        (3, 64, 1, 4 * 64),  # a first one: few channels are kept by themselves
        (16, 16, 1, 32 * 32),
        (64, 64, 64, 64),  # depthwise: as it is
        (32, 48, 4, 8 * 64),  # grouped: outputs alone
    ],
)
def test_of_a_convolution(inputs: int, outputs: int, groups: int, expected: int) -> None:
    macs = inputs // groups * outputs * 81
    assert padded_convolution(macs, inputs, outputs, groups) == expected * 81


def test_of_a_network() -> None:
    made = network(
        "a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(a, v) "
        "y = Add(x, d)",
        w=(16, 16, 3, 3),
        v=(16, 1, 3, 3),
    )
    assert macs_and_parameters(made)[0] == 32 * 32 * (16 * 16 * 9 + 16 * 9)
    assert padded_macs(made) == 32 * 32 * (32 * 32 * 9 + 16 * 9)


def test_of_other_products() -> None:
    made = network("t = ConvTranspose<kernel_shape=[1,1]>(x, w) y = MatMul(t, m)", w=(16, 16, 1, 1), m=(32, 32))
    assert padded_macs(made) == 32 * 32 * 32 * 32 + 16 * 32 * 32 * 32
