"""graphopt: a compiler for image-restoration networks whose optimiser may change the network itself."""

from graphopt.errors import GraphoptError
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.patterns import capture, const, either, equal_to, op, optional, pattern, per_channel, scalar

__version__ = "0.1.0"
__all__ = [
    "Contract", "GraphoptError", "Pass", "Stage", "capture", "const", "either", "equal_to", "op", "optional",
    "pattern", "per_channel", "scalar",
]  # fmt: skip
