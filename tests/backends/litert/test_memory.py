"""The plan of what XNNPACK takes, by hand."""

from __future__ import annotations

import numpy as np
from tflite import needs_runtime, tflite

from graphopt.backends.litert.flatbuffer import write
from graphopt.backends.litert.memory import planned_bytes

X, W, D, P = (1, 4, 6, 2), np.zeros((8, 3, 3, 2), np.float32), np.zeros((1, 5, 3, 8), np.float32), (1, 4, 6, 8)


@needs_runtime
def test_a_chain_of_convolutions() -> None:
    tensors = {"x": X, "w": W, "d": D, "v": np.zeros((2, 1, 1, 8), np.float32), "a": P, "b": P, "c": P, "y": X}
    nodes = [
        ("CONV_2D", ["x", "w"], ["a"]),
        ("DEPTHWISE_CONV_2D", ["a", "d"], ["b"]),
        ("ADD", ["a", "b"], ["c"]),
        ("CONV_2D", ["c", "v"], ["y"]),
    ]
    live = 4 * (48 + 48 + 3 * 192)  # x and y throughout; a, b and c while they are added
    outside = 4 * (48 + 48)
    weights = 4 * (8 * 9 * 2 + 15 * 8 + 2 * 8)
    pointers = 8 * (4 * 6 * 9 + 4 * (15 + 5 * 5))
    found = planned_bytes(write(tflite(nodes, tensors, ["x"], ["y"])))
    assert found == live + outside + 2 * weights + pointers


@needs_runtime
def test_integers_take_less() -> None:
    tensors = {"x": X, "a": (X, "INT8"), "b": (X, "INT8"), "y": X}
    nodes = [("QUANTIZE", ["x"], ["a"]), ("ABS", ["a"], ["b"]), ("DEQUANTIZE", ["b"], ["y"])]
    assert planned_bytes(write(tflite(nodes, tensors, ["x"], ["y"]))) == 2 * 4 * (48 + 48) + 48 + 48
