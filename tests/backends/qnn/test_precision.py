"""What a QDQ graph says of its precision."""

from __future__ import annotations

import onnx
import pytest
from npu import convolution, quantised

from graphopt.backends.qnn.precision import precision_of, without_conversions


def test_a_graph_without_qdq_is_in_float16() -> None:
    assert precision_of(convolution()) == "float16"


@pytest.mark.parametrize(("activations", "expected"), [("uint8", "w8a8"), ("uint16", "w8a16"), ("int16", "w8a16")])
def test_the_activations_of_convolutions_decide(activations: str, expected: str) -> None:
    assert precision_of(quantised(activations)) == expected


def test_weights_alone_are_no_precision() -> None:
    """A convolution that reads float32 computes in float16, whatever its weights are stored in."""
    made = quantised("uint8")
    conv = next(node for node in made.graph.node if node.op_type == "Conv")
    conv.input[0] = "x"
    assert precision_of(made) == "float16"


def test_a_part_without_macs_has_the_precision_of_its_images() -> None:
    made = quantised("uint16")
    conv = next(node for node in made.graph.node if node.op_type == "Conv")
    conv.CopyFrom(onnx.helper.make_node("Relu", conv.input[:1], conv.output))
    assert precision_of(made) == "w8a16"  # its weights are in 8 bits
    del made.graph.node[:]
    assert precision_of(made) == "float16"


def test_what_turns_the_ends_into_integers_is_not_refused() -> None:
    refused = ("QuantizeLinear (in)", "Celu (c)", "DequantizeLinear (out)")
    assert without_conversions(refused) == ("Celu (c)",)
