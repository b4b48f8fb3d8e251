"""What changes the key of a graph, and what does not."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper
from small_models import normalised, renamed

from graphopt.cost.keys import graph_key


def test_names_and_weights_are_not_in_the_key() -> None:
    assert graph_key(renamed(normalised(seed=1))) == graph_key(normalised(seed=0))


def test_shapes_and_constants_are_in_the_key() -> None:
    base = normalised()
    assert graph_key(normalised(height=32)) != graph_key(base)
    cubed = normalised()
    cubed.graph.initializer[-2].CopyFrom(numpy_helper.from_array(np.float32(3), "two"))
    assert graph_key(cubed) != graph_key(base)
    over_rows = normalised()
    over_rows.graph.initializer[-3].CopyFrom(numpy_helper.from_array(np.array([2]), "axes"))
    assert graph_key(over_rows) != graph_key(base)
