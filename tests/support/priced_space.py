"""A small network with a norm and an attention, its space, and the contexts of its candidates written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graphs import NORM_CONSTANTS, layer_norm, network, norm_weights, onnx_model, random_image, space_of

from graphopt.ir.canonical import canonical
from graphopt.ir.passes import Pass
from graphopt.ir.registry import load_pass
from graphopt.ir.space import Space

IMAGES = [random_image(1, 8, 16, 16, seed=seed) for seed in range(2)]
IMAGE = "float[1, 8, 16, 16]"
X_TO_Y = f"({IMAGE} x) => ({IMAGE} y)"
NORM = layer_norm("x", "n", "b.0.norm")
FIRST = '["b.0/first/conv"] c = Conv(n, w1, b1)'
ATTENTION = '["b.0/pool/globalaveragepool"] p = GlobalAveragePool(c) ["b.0/sca/conv"] t = Conv(p, w2, b2)'
SCALED = '["b.0/mul"] z = Mul(c, t)'
LAST = '["b.0/last/conv"] y = Conv(z, w3, b3)'
WEIGHTS: dict[str, Any] = {f"w{i}": (8, 8, 1, 1) for i in (1, 2, 3)} | {f"b{i}": (8,) for i in (1, 2, 3)}
AXES = {"axes_2": np.array([2]), "axes_3": np.array([3])}
ALL = {**WEIGHTS, **NORM_CONSTANTS, **AXES, **norm_weights("b.0.norm", 8)}


def rule(name: str) -> Pass:
    return load_pass(name, {}, Path())


CLEANUPS = [rule("fold-affine")]


def priced_space() -> Space:
    """Choices `b.0/norm`, `b.0/attention` and, inside that, `b.0/pool`."""
    graph = network(f"{X_TO_Y} {{ {NORM} {FIRST} {ATTENTION} {SCALED} {LAST} }}", ALL)
    return space_of(graph, [rule(name) for name in ("affine-norm", "static-attention", "two-step-pool")], IMAGES)


def written(text: str) -> onnx.ModelProto:
    """A model of the same weights."""
    model = onnx_model(text, ALL)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return canonical(model, None, "by hand")


def by_hand() -> dict[tuple[str, str], onnx.ModelProto]:
    """The context of each candidate: the site, the convolutions beside it, and what fuses or folds into them."""
    plain_norm = NORM.partition('["b.0/norm/mul"]')[0]  # its scale and shift fold into the convolution
    last_alone = LAST.replace("Conv(z", "Conv(c")  # a constant scale folds into a convolution
    rows_first = ATTENTION.replace("GlobalAveragePool(c)", "ReduceMean<keepdims = 1>(r, axes_2)")
    rows_first = f"r = ReduceMean<keepdims = 1>(c, axes_3) {rows_first}"
    return {
        ("b.0/norm", "keep"): written(f"{X_TO_Y} {{ {plain_norm} {LAST.replace('Conv(z', 'Conv(n_n')} }}"),
        ("b.0/norm", "affine-norm"): written(f"{X_TO_Y} {{ {LAST.replace('Conv(z', 'Conv(x')} }}"),
        ("b.0/attention", "keep"): written(
            f"{X_TO_Y} {{ {FIRST.replace('Conv(n', 'Conv(x')} {ATTENTION} {SCALED} {LAST} }}"
        ),
        ("b.0/attention", "static-attention"): written(
            f"{X_TO_Y} {{ {FIRST.replace('Conv(n', 'Conv(x')} {last_alone} }}"
        ),
        ("b.0/pool", "keep"): written(f"({IMAGE} c) => ({IMAGE} z) {{ {ATTENTION} {SCALED} }}"),
        ("b.0/pool", "two-step-pool"): written(f"({IMAGE} c) => ({IMAGE} z) {{ {rows_first} {SCALED} }}"),
    }
