"""Live bytes: figures worked out by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from graphopt.cost.live import live_bytes
from graphopt.ir.contract import Contract
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Site
from graphopt.ir.space import KEEP, Candidate, Choice, Space

FLOAT = 4


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
