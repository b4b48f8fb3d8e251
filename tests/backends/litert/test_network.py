"""The torch module that is converted, in the layout of images, with a number for each node."""

from __future__ import annotations

import torch
from graphs import network

from graphopt.backends.litert.network import ConvertedNetwork, node_number
from graphopt.nn.module import GraphModule

TEXT = """(float[1,4,8,6] x) => (float[1,3,8,6] y, float[1,2,4,3] z) {
    a, b = Split<axis=1, num_outputs=2>(x)
    c = Mul(a, two)
    d = Concat<axis=1>(c, b)
    y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, w)
    z = Conv<kernel_shape=[2,2], strides=[2,2]>(d, v)
}"""


def test_images_have_their_channels_last() -> None:
    graph = network(TEXT, {"w": (3, 4, 3, 3), "v": (2, 4, 2, 2), "two": 2.0})
    x = torch.rand(1, 4, 8, 6)
    with torch.no_grad():
        expected = GraphModule(graph)(x)
        found = ConvertedNetwork(graph)(x.permute(0, 2, 3, 1))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.permute(0, 3, 1, 2), b, rtol=0, atol=0)


def test_the_number_of_a_node_in_the_names_that_a_converter_makes() -> None:
    first = "graphopt.backends.litert.network.ConvertedNetwork/graphopt.backends.litert.network._NodeModule_node12;"
    assert node_number(f"{first};{first.replace('12', '7')}1") == 12  # later ones were folded into it
    assert node_number("serving_default_args_0") is None
