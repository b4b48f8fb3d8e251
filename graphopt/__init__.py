"""graphopt: a compiler for image-restoration networks whose optimiser may change the network itself.

Everything that a pass and its tests need is here and in `graphopt.idioms` (docs/passes.md), and so is what runs the
network that comes out (docs/pipeline.md). What would bring a heavy library with it is imported when it is first asked
for, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphopt.errors import GraphoptError
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.patterns import Term, capture, const, either, equal_to, op, optional, pattern, per_channel, scalar
from graphopt.ir.sites import Site

if TYPE_CHECKING:
    from graphopt.authoring.passcheck import check_pass as check_pass
    from graphopt.authoring.passcheck import random_images as random_images
    from graphopt.ir.build import Build as Build
    from graphopt.ir.build import TrainingBuild as TrainingBuild
    from graphopt.ir.canonical import OPSET as OPSET
    from graphopt.ir.canonical import canonical_graph as canonical_graph
    from graphopt.ir.files import load_graph as load_graph
    from graphopt.ir.files import save_graph as save_graph
    from graphopt.ir.matcher import Match as Match
    from graphopt.ir.registry import load_pass as load_pass
    from graphopt.ir.view import GraphView as GraphView
    from graphopt.nn.module import GraphModule as GraphModule

__version__ = "0.4.0"

_WHEN_ASKED = {
    "OPSET": "graphopt.ir.canonical",
    "Build": "graphopt.ir.build",
    "GraphModule": "graphopt.nn.module",
    "GraphView": "graphopt.ir.view",
    "Match": "graphopt.ir.matcher",
    "TrainingBuild": "graphopt.ir.build",
    "canonical_graph": "graphopt.ir.canonical",
    "check_pass": "graphopt.authoring.passcheck",
    "load_graph": "graphopt.ir.files",
    "load_pass": "graphopt.ir.registry",
    "random_images": "graphopt.authoring.passcheck",
    "save_graph": "graphopt.ir.files",
}

__all__ = [
    "OPSET", "Build", "Contract", "GraphModule", "GraphView", "GraphoptError", "Match", "Pass", "Site", "Stage", "Term",
    "TrainingBuild", "canonical_graph", "capture", "check_pass", "const", "either", "equal_to", "load_graph",
    "load_pass", "op", "optional", "pattern", "per_channel", "random_images", "save_graph", "scalar",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHEN_ASKED:
        raise AttributeError(f"module 'graphopt' has no attribute '{name}'")
    return getattr(import_module(_WHEN_ASKED[name]), name)
