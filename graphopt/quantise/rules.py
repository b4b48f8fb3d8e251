"""What precisions there are, and how each kind of device wants a quantised graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphopt.errors import GraphoptError, did_you_mean


@dataclass(frozen=True)
class Precision:
    """Weights of 8 bits, and activations of `bits`."""

    name: str
    bits: int

    @property
    def steps(self) -> int:
        """Between the least and the most integer."""
        return int(2**self.bits - 1)


@dataclass(frozen=True)
class Rules:
    """What a kind of device computes in integers: `ops` alone, or all that the quantiser takes where that is None.

    `for_qnn`: the quantiser's own form for QNN.
    """

    name: str
    precisions: tuple[Literal["w8a8", "w8a16"], ...]
    ops: frozenset[str] | None
    for_qnn: bool = False

    @property
    def wider(self) -> str:
        """What a layer computes in that stays wider than 8 bits, in words."""
        return "16 bits" if self.for_qnn else "float"


PRECISIONS = {"w8a8": Precision("w8a8", 8), "w8a16": Precision("w8a16", 16)}
# onnxruntime's CPU provider: what has a kernel of integers there, or moves bytes; anything else would be converted
# back and forth
_ON_CPUS = frozenset(
    (
        "Add", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Flatten", "Gather", "Gemm",
        "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid",
        "Slice", "Softmax", "Split", "Squeeze", "Transpose", "Unsqueeze", "Where",
    )
)  # fmt: skip
# XNNPACK under LiteRT: what has a kernel of int8 there. Sigmoid, Tanh and Softmax have one for one step alone, which is
# not that of any range; PRelu has none.
_ON_LITERT = frozenset(
    (
        "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
        "LeakyRelu", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Slice", "Split", "Squeeze",
        "Sub", "Transpose", "Unsqueeze",
    )
)  # fmt: skip
_KNOWN = (
    Rules("cpu", ("w8a8",), _ON_CPUS),
    Rules("litert", ("w8a8",), _ON_LITERT),
    Rules("qnn", ("w8a8", "w8a16"), None, for_qnn=True),
)
RULES = {rules.name: rules for rules in _KNOWN}


def find_rules(device: str, precision: str) -> tuple[Rules, Precision]:
    """Raises GraphoptError where there is no such device, or it does not compute in that precision."""
    if device not in RULES:
        raise GraphoptError(f"unknown device '{device}'; {did_you_mean(device, RULES)}")
    if precision not in PRECISIONS:
        raise GraphoptError(f"unknown precision '{precision}'; {did_you_mean(precision, PRECISIONS)}")
    rules = RULES[device]
    if precision not in rules.precisions:
        raise GraphoptError(
            f"device '{device}' has no kernels for {precision}; expected {' or '.join(rules.precisions)}"
        )
    return rules, PRECISIONS[precision]
