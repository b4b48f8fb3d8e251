"""QDQ graphs with ranges of an image, and a small network to make them of."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import onnx_model

from graphopt.ir.canonical import canonical
from graphopt.quantise.histograms import histograms
from graphopt.quantise.methods import min_max
from graphopt.quantise.qdq import prepared, to_qdq
from graphopt.quantise.rules import find_rules

RESIDUAL = (
    "(float[1,3,16,16] x) => (float[1,3,16,16] y) { a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) s = Sigmoid(r) "
    "p, q = Split<axis=1,num_outputs=2>(s) m = Mul(p, q) e = Pow(m, two) f = Mul(e, scale) "
    "c = Conv<pads=[1,1,1,1]>(f, k, d) y = Add(x, c) }"
)


def residual(seed: int = 0) -> onnx.ModelProto:
    """Two convolutions with biases, what a Sigmoid, a Split and a Pow bring along, and a sum."""
    random = np.random.default_rng(seed)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "scale": (1, 4, 1, 1), "k": (3, 4, 3, 3), "d": (3,)}
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["two"] = np.float32(2).reshape(())
    return canonical(onnx_model(RESIDUAL, weights), None, "residual")


def scene(*shape: int) -> np.ndarray:
    """Smooth, with noise of sigma 25: (1, 3, *shape)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / 7
    planes = np.stack([0.5 + 0.4 * np.sin(rows + shift) * np.cos(columns - shift) for shift in range(3)])[None]
    return (planes + np.random.default_rng(2).normal(0, 25 / 255, planes.shape)).astype(np.float32)


def to_integers(model: onnx.ModelProto, device: str, precision: str, image: np.ndarray) -> onnx.ModelProto:
    """By onnxruntime's quantiser, all that tensors hold for `image` within their ranges."""
    rules, bits = find_rules(device, precision)
    ready = prepared(model, rules, bits)
    ranges = {name: min_max(seen, bits.steps) for name, seen in histograms(ready, [image]).items()}
    return to_qdq(ready, ranges, rules, bits).model
