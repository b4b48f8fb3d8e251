"""A network as it is priced in integers, before anybody has trained it: quantised on one random image."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from graphopt.cost.counts import static_shapes
from graphopt.ir.quantised import is_quantised
from graphopt.ir.session import OnnxSession
from graphopt.quantise.methods import Range
from graphopt.quantise.qdq import prepared, to_qdq
from graphopt.quantise.rules import Precision, Rules
from graphopt.quantise.tensors import tensors_in_groups

_WITHOUT = (0.0, 1.0)  # the range of a tensor that has none: a part's random images may be no image of its network


def priced_form(model: onnx.ModelProto, rules: Rules, precision: Precision) -> onnx.ModelProto:
    """The QDQ graph of a canonical model, whose price is that of any other ranges; what it computes is of no use.

    A graph that is quantised already, or has nothing to quantise, comes back as it is.

    Raises:
        GraphoptError: shapes that are not static, a network that the quantiser refuses.
    """
    ops = {node.op_type for node in model.graph.node}
    if is_quantised(model) or not (ops if rules.ops is None else ops & rules.ops):
        return model
    ready = prepared(model, rules, precision)
    made = to_qdq(ready, _ranges(ready), rules, precision).model
    return made if is_quantised(made) else model


def _ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """The least and the most of every float tensor on one random image, zero among them."""
    generator, shapes = np.random.default_rng(0), static_shapes(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    images = {
        value.name: generator.random(shapes[value.name]).astype(
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in model.graph.input
        if value.name not in weights
    }
    ranges = {}
    for names in tensors_in_groups(model):
        made = [name for name in names if name not in images]
        found = OnnxSession(model, made, optimise=False).run_named(images, made)
        for name, values in (*zip(made, found, strict=True), *((n, images[n]) for n in names if n in images)):
            low, high = min(0.0, float(np.min(values, initial=0.0))), max(0.0, float(np.max(values, initial=0.0)))
            ranges[name] = (low, high) if np.isfinite([low, high]).all() and prod(values.shape) else _WITHOUT
    return ranges
