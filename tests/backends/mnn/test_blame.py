"""The first node that is wrong, found by halving."""

from __future__ import annotations

import onnx
import pytest
from graphs import nafnet, onnx_model, random_image, run

from graphopt.backends.mnn.blame import beginning, first_wrong
from graphopt.ir.canonical import to_model
from graphopt.ir.session import OnnxSession


@pytest.mark.parametrize("at", [0, 1, 40, 79, 80])
def test_the_first_wrong_node_is_found(at: int) -> None:
    model = to_model(nafnet())
    assert len(model.graph.node) >= 81
    name = model.graph.node[at].name
    asked: list[int] = []

    def is_wrong(part: onnx.ModelProto) -> bool:
        asked.append(len(part.graph.node))
        return any(node.name == name for node in part.graph.node)

    assert first_wrong(model, is_wrong).name == name
    assert len(asked) <= 8


def test_a_beginning_gives_what_the_rest_reads() -> None:
    model = onnx_model(
        "(float[1,2,4,4] x, float[1,2,4,4] z) => (float[1,2,4,4] y, float[1,2,4,4] u) "
        "{ a = Relu(x) u = Mul(a, w) s = Shape(u) b = Add(u, z) y = Reshape(b, s) }",
        {"w": (1, 2, 1, 1)},
    )
    part = beginning(model, 3)
    assert [value.name for value in part.graph.output] == ["u"]  # the shape is no image
    assert [value.name for value in part.graph.input] == ["x"]
    image = random_image(1, 2, 4, 4)
    expected = OnnxSession(model, ["u"]).run_named({"x": image, "z": image}, ["u"])[0]
    assert (run(part, image) == expected).all()
