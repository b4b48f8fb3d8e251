"""A model whose names mean trouble to whatever writes them into a program."""

from __future__ import annotations

import onnx
from graphs import onnx_model


def oddly_named() -> onnx.ModelProto:
    """Names that are no identifiers, that clash once they are, and that mean something in OpenCL C."""
    model = onnx_model(
        """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
            a = Conv<pads=[1,1,1,1]>(x, w, b) c = Mul(a, s) d = Add(c, t) y = Mul(d, e) }""",
        {"w": (4, 4, 3, 3), "b": (4,), "s": (1, 4, 1, 1), "t": (1, 4, 1, 1), "e": (1, 4, 1, 1)},
    )
    names = {"w": "0/conv@limited/weight", "b": "kernel", "s": "a.scale", "t": "a/scale", "e": "half", "x": "float"}
    for tensor in (*model.graph.input, *model.graph.initializer):
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model
