"""Reading and writing .tflite files: transposes that undo each other, names, alignment."""

from __future__ import annotations

import numpy as np
from tflite import needs_runtime, tflite

from graphopt.backends.litert.flatbuffer import (
    operators,
    read,
    rename,
    tensor_bytes,
    with_float_ends,
    without_needless_transposes,
    write,
)

FIRST, LAST = np.array([0, 3, 1, 2], np.int32), np.array([0, 2, 3, 1], np.int32)
TENSORS = {
    "x": (1, 4, 6, 2), "first": FIRST, "last": LAST, "a": (1, 2, 4, 6), "b": (1, 4, 6, 2), "c": (1, 4, 6, 2),
    "y": (1, 4, 6, 2), "z": (1, 2, 4, 6),
}  # fmt: skip
THERE_AND_BACK = [
    ("TRANSPOSE", ["x", "first"], ["a"]),
    ("TRANSPOSE", ["a", "last"], ["b"]),
    ("ABS", ["b"], ["c"]),
    ("NEG", ["c"], ["y"]),
]


@needs_runtime
def test_a_pair_of_transposes_goes() -> None:
    model = tflite(THERE_AND_BACK, TENSORS, ["x"], ["y"])
    assert without_needless_transposes(model) == 2
    left = list(operators(read(write(model))))
    assert [(one.name, one.inputs[0][0]) for one in left] == [("ABS", "x"), ("NEG", "c")]


@needs_runtime
def test_a_transpose_that_something_else_reads_stays() -> None:
    model = tflite([*THERE_AND_BACK, ("NEG", ["a"], ["z"])], TENSORS, ["x"], ["y", "z"])
    assert without_needless_transposes(model) == 1
    assert [one.name for one in operators(model)] == ["TRANSPOSE", "ABS", "NEG", "NEG"]


@needs_runtime
def test_transposes_that_do_not_undo_each_other_stay() -> None:
    twice = [("TRANSPOSE", ["x", "first"], ["a"]), ("TRANSPOSE", ["a", "first"], ["y"])]
    assert without_needless_transposes(tflite(twice, TENSORS, ["x"], ["y"])) == 0
    back = [("TRANSPOSE", ["x", "first"], ["a"]), ("TRANSPOSE", ["a", "last"], ["y"])]  # the output itself
    assert without_needless_transposes(tflite(back, TENSORS, ["x"], ["y"])) == 0


@needs_runtime
def test_names() -> None:
    model = tflite(THERE_AND_BACK, TENSORS, ["x"], ["y"])
    rename(model, lambda name: "block/abs" if name in "bc" else None, ["noisy"], ["restored"])
    graph = read(write(model)).subgraphs[0]
    assert [tensor.name.decode() for tensor in graph.tensors] == [
        "noisy", "first", "last", "a", "block/abs", "block/abs;2", "restored", "z",
    ]  # fmt: skip
    (signature,) = model.signatureDefs
    assert [entry.name for entry in (*signature.inputs, *signature.outputs)] == [b"noisy", b"restored"]


@needs_runtime
def test_the_data_of_tensors_is_aligned() -> None:
    weights = {f"w{i}": np.full(3 + i, i, np.float32) for i in range(5)}
    content = write(tflite([("ABS", ["x"], ["y"])], {"x": (4,), "y": (4,), **weights}, ["x"], ["y"]))
    assert len(content) % 16 == 0
    for values in list(weights.values())[1:]:  # zeros are found anywhere
        assert content.index(values.tobytes()) % 16 == 0


@needs_runtime
def test_ends_of_integers_become_floats() -> None:
    tensors = {"x": ((2, 3), "INT8"), "z": (3,), "a": ((2, 3), "INT8"), "y": ((2, 3), "INT8")}
    model = tflite([("ABS", ["x"], ["a"]), ("NEG", ["a"], ["y"])], tensors, ["x", "z"], ["y"])
    with_float_ends(model)
    rename(model, lambda name: None, ["image", "scale"], ["restored"])
    found = list(operators(read(write(model))))
    assert [(one.name, one.inputs[0][0], one.outputs[0][0], one.types) for one in found] == [
        ("QUANTIZE", "image", "x_integers", ("FLOAT32", "INT8")),
        ("ABS", "x_integers", "a", ("INT8", "INT8")),
        ("NEG", "a", "y_integers", ("INT8", "INT8")),
        ("DEQUANTIZE", "y_integers", "restored", ("INT8", "FLOAT32")),
    ]
    assert [entry.name for entry in model.signatureDefs[0].inputs] == [b"image", b"scale"]
    assert tensor_bytes(model) == {
        "x_integers": 6, "scale": 12, "a": 6, "y_integers": 6, "image": 24, "restored": 24,
    }  # fmt: skip
