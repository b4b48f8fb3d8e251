"""Live bytes by hand: what is held while each node runs, in floats of 12 x 10 pixels."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
import pytest
from graphs import network, random_image, space_of
from priced_space import rule

from graphopt.cost.live import live_bytes
from graphopt.ir.space import KEEP, Space

PIXELS = 12 * 10
WEIGHTS: dict[str, Any] = {
    "w8": (8, 4, 1, 1), "w16": (16, 8, 1, 1), "w4": (4, 16, 1, 1), "same": (8, 8, 1, 1), "last": (4, 8, 1, 1),
}  # fmt: skip


def graph_of(text: str) -> gs.Graph:
    return network(f"(float[1, 4, 12, 10] x) => (float[1, 4, 12, 10] y) {{ {text} }}", WEIGHTS)


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        # the middle one: x, which the caller holds, a and b
        ("a = Conv(x, w8) b = Conv(a, w16) y = Conv(b, w4)", 4 + 8 + 16),
        # a clamp has no tensor of its own
        ("a = Conv(x, w8) r = Relu(a) b = Conv(r, w16) s = Relu(b) y = Conv(s, w4)", 4 + 8 + 16),
        # what two ops read is stored: Relu(a) beside a, in the sum that the last one computes
        ("a = Conv(x, w8) r = Sigmoid(a) b = Conv(r, same) c = Add(b, r) y = Conv(c, last)", 4 + 8 + 8 + 4),
        # a skip is held until the sum, which is computed where it is read
        ("a = Conv(x, w8) b = Conv(a, same) c = Conv(b, same) d = Add(c, a) y = Conv(d, last)", 4 + 8 + 8 + 8),
        # ops in place need nothing, but the result has a tensor of its own
        ("a = Sigmoid(x) b = Mul(a, x) y = Neg(b)", 4 + 4),
        # a softmax is not computed in place
        ("a = Conv(x, w8) s = Softmax<axis = 1>(a) y = Conv(s, last)", 4 + 8 + 8),
    ],
)
def test_the_most_that_a_network_holds(text: str, channels: int) -> None:
    graph = graph_of(text)
    assert live_bytes(Space(graph, {})).outside == 4 * channels * PIXELS
    assert live_bytes(Space(graph, {}), bytes_per_element=2).outside == 2 * channels * PIXELS


def attention_space() -> Space:
    """i -> i * conv(pool(i)) -> y, with the pool as a choice inside the attention."""
    graph = graph_of("""
        ["a.0/conv"] i = Conv(x, w8)
        ["b.0/pool/globalaveragepool"] p = GlobalAveragePool(i) ["b.0/conv"] t = Conv(p, same) ["b.0/mul"] z = Mul(i, t)
        ["c.0/conv"] y = Conv(z, last)""")
    names = ("strided-attention", "static-attention", "two-step-pool")
    return space_of(graph, [rule(name) for name in names], [random_image(1, 4, 12, 10)])


def test_candidates_and_choices_inside() -> None:
    """The product is computed in the last convolution, so that i and the attention t live until then."""
    x, i, y, pooled = 4 * PIXELS, 8 * PIXELS, 4 * PIXELS, 8
    live = live_bytes(attention_space(), bytes_per_element=1)
    assert live.outside == x + i + pooled + y  # the last convolution reads i and t
    assert live.inside == {
        "b.0": {
            KEEP: x + i + 2 * pooled,  # t is made; p, whose op is a choice of its own, does not count
            "strided-attention": x + i + 2 * pooled,  # a slice is a view of i
            "static-attention": x + i,  # a product with a constant is computed where it is read
        },
        "b.0/pool": {
            KEEP: x + i + pooled,
            "two-step-pool": x + i + 8 * 12 + pooled,  # a mean for each row, then that of the rows
        },
    }


def test_what_stands_inside_a_fragment_is_counted() -> None:
    """Two thin 1x1 convolutions: the squeezed tensor has 2 channels, and no shape before the fragment is exported."""
    graph = graph_of('["a.0/conv"] i = Conv(x, w8) ["b.0/conv"] j = Conv(i, same) ["c.0/conv"] y = Conv(j, last)')
    space = space_of(graph, [rule("low-rank-pointwise")], [random_image(1, 4, 12, 10)])
    found = live_bytes(space, bytes_per_element=1).inside["b.0"]
    assert found == {KEEP: (4 + 8 + 8) * PIXELS, "low-rank-pointwise": (4 + 2 + 8) * PIXELS}


def test_a_fragment_without_nodes_counts_the_moment_between_its_neighbours() -> None:
    space = attention_space()
    choice = space.choices["b.0"]
    gone = choice.candidates.pop("strided-attention")
    gone.name = "gone"
    gone.fragment.nodes, gone.fragment.outputs = [], {"z": space.graph.tensors()["i"]}
    choice.candidates["gone"] = gone
    assert live_bytes(space, bytes_per_element=1).inside["b.0"]["gone"] == (4 + 8) * PIXELS
