"""Names that are legal in generated code."""

import numpy as np
import onnx
from odd_names import oddly_named
from onnx import numpy_helper

from graphopt.kernels.legal_names import legal_names


def test_names_stay_apart_and_legal_ones_stay() -> None:
    model = oddly_named()
    legal_names(model)
    found = [tensor.name for tensor in model.graph.initializer]
    assert sorted(found) == ["a_scale", "a_scale_2", "half", "kernel", "t_0_conv_limited_weight"]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["float", "y"]
    onnx.checker.check_model(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in oddly_named().graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), weights["0/conv@limited/weight"])
