"""The values of a graph's constants, which stay in the form of the file that they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray


def values_of(constant: gs.Constant) -> NDArray[Any]:
    """The values, which stay in the file's form where nobody has read them: `constant.values` would keep a copy."""
    held = constant._values
    return held.load() if isinstance(held, gs.ir.tensor.LazyValues) else held


def little_endian(values: NDArray[Any]) -> NDArray[Any]:
    """The values as ONNX wants their bytes."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def own_renamed(graph: gs.Graph) -> None:
    """Gives renamed constants a tensor of their own: an export would rename that of the model they came from."""
    for constant in graph.tensors().values():
        held = constant._values if isinstance(constant, gs.Constant) else None
        if isinstance(held, gs.ir.tensor.LazyValues) and held.tensor.name != constant.name:
            copied = onnx.TensorProto()
            copied.CopyFrom(held.tensor)
            constant.values = gs.ir.tensor.LazyValues(copied)
