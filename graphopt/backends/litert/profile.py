"""What LiteRT's GPU delegate takes. The profile is checked on the .tflite itself: one operator outside it, and the
delegate leaves part of the network to the CPU, or refuses all of it.

From the delegate's own parser (google-ai-edge/LiteRT, tflite/delegates/gpu/common/model_builder.cc): operators, the
highest version of each, tensors of rank 4 at most, in fp32 or fp16. What releases on phones are known to refuse, though
the parser has it, is left out: SPLIT, SELECT, RELU_0_TO_1 (google-ai-edge/LiteRT, issue 8598), and whatever is logical.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphopt.backends.litert.flatbuffer import Operator, operators, read

HIGHEST_RANK = 4
MOST_SUMMED = 4096  # values in one sum: the delegate sums in fp16, up to 65504, and images' features reach 16
_FLOATS = frozenset({"FLOAT32", "FLOAT16"})
_ONE_VALUE = (
    "ABS", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG", "RELU", "RELU6",
    "RELU_N1_TO_1", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH",
)  # fmt: skip
_TWO_VALUES = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "SUB")
_SUMS = ("MEAN", "SUM")
_TWICE = ("ADD", "MUL")  # of operators with two inputs, those that take one tensor as both
TAKES: dict[str, int] = {
    **dict.fromkeys((*_ONE_VALUE, *_TWO_VALUES, *_SUMS), 2), "MUL": 3,
    "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 6, "DEPTHWISE_CONV_2D": 6,
    "TRANSPOSE_CONV": 3, "FULLY_CONNECTED": 9, "DEPTH_TO_SPACE": 2, "SPACE_TO_DEPTH": 2, "DEQUANTIZE": 3, "PAD": 2,
    "PADV2": 2, "MIRROR_PAD": 2, "PRELU": 1, "RESHAPE": 1, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3,
    "SLICE": 2, "SOFTMAX": 2, "STRIDED_SLICE": 4, "TRANSPOSE": 4,
}  # fmt: skip
CURES = {  # exact passes that bring an operator into the profile
    "SPLIT": "split-convolution", "SPLIT_V": "split-convolution", "SELECT": "plain-prelu", "SELECT_V2": "plain-prelu",
    "MEAN": "two-step-pool, fp16-safe-norm",
}  # fmt: skip


@dataclass(frozen=True)
class Offender:
    """An operator that the delegate does not take, the node of the network that it comes from, and why not."""

    operator: str
    where: str
    why: str

    def __str__(self) -> str:
        cure = f" (pass {CURES[self.operator]})" if self.operator in CURES else ""
        return f"{self.operator} at {self.where}: {self.why}{cure}"


def offenders(content: bytes) -> list[Offender]:
    """The operators of a .tflite that the GPU delegate does not take, in the order in which they run."""
    return [
        Offender(one.name, one.outputs[0][0].partition(";")[0], why)
        for one in operators(read(content))
        for why in _reasons(one)
    ]


def _reasons(one: Operator) -> Iterator[str]:
    if one.name not in TAKES:
        yield "the GPU delegate has no such operator"
        return
    if one.version > TAKES[one.name]:
        yield f"version {one.version} of it, and the GPU delegate takes {TAKES[one.name]} at most"
    rank = max(len(shape) for _, shape in (*one.inputs, *one.outputs))
    if rank > HIGHEST_RANK:
        yield f"a tensor of rank {rank}, and the GPU delegate takes {HIGHEST_RANK} at most"
    strange = sorted({*one.types} - _FLOATS)
    if strange:
        yield f"it computes with {', '.join(strange)}, and the GPU delegate with floats alone"
    names = [name for name, _ in one.inputs]
    if len(names) == 2 and names[0] == names[1] and one.name not in _TWICE:
        yield "both inputs are one tensor"
    summed = math.prod(one.inputs[0][1]) // max(1, math.prod(one.outputs[0][1])) if one.name in _SUMS else 1
    if summed > MOST_SUMMED:
        yield f"it sums {summed} values in fp16, {MOST_SUMMED} at most stay in its range"
