"""fold-constants: ops that read nothing but constants become constants. Exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Site, Stage

if TYPE_CHECKING:
    from graphopt import Build, GraphView

_RANDOM = ("Random", "Multinomial", "Bernoulli", "Dropout")


@dataclass(frozen=True)
class FoldConstants(Pass):
    """f(a, b, ...)  ->  its value, where a, b, ... are constants and f is not random.

    An op whose value takes more than `most` elements, and more than what it reads, stays: storing it would cost more
    than computing it. Reading a file folds what exporters leave; this is for what the passes leave. Nodes that nothing
    uses any more go with every rewrite.
    """

    name: ClassVar[str] = "fold-constants"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.CLEANUP

    most: int = 65536

    def sites(self, graph: GraphView) -> Iterator[Site]:
        results = {tensor.name for tensor in graph.graph.outputs}
        taken: Counter[str] = Counter()
        for name, node in graph.nodes.items():
            given = [tensor for tensor in node.inputs if not tensor.is_empty()]
            if not given or any(tensor.inputs or not hasattr(tensor, "values") for tensor in given):
                continue
            subgraphs = any(hasattr(value, "nodes") for value in node.attrs.values())
            if subgraphs or node.op == "Identity" or node.op.startswith(_RANDOM):
                continue
            shapes = [tensor.shape for tensor in node.outputs]
            if any(tensor.name in results for tensor in node.outputs) or any(shape is None for shape in shapes):
                continue  # a result of the network keeps its op; a shape is known once the graph is exported
            elements = max(prod(shape) for shape in shapes)
            if elements > max(self.most, *(prod(tensor.shape) for tensor in given)):
                graph.refuse(name, f"its value has {elements} elements, more than option 'most' ({self.most})")
                continue
            constants = {f"operand_{i}": t.name for i, t in enumerate(node.inputs) if not t.is_empty()}
            outputs = {f"result_{i}": tensor.name for i, tensor in enumerate(node.outputs)}
            yield Site(graph.site_name([name], "constant", taken), (name,), {}, outputs, constants)

    def rewrite(self, site: Site, build: Build) -> object:
        (node,) = site.nodes
        values = {role: build.values(role) for role in site.constants}
        trained = any(v.dtype.kind == "f" and not site.constants[r].endswith("_fixed") for r, v in values.items())
        count = 1 + max(int(role.removeprefix("operand_")) for role in values)
        operands = [role if role in values else "" for role in (f"operand_{i}" for i in range(count))]
        found = _evaluate(build.node_kind(node), operands, list(site.outputs), build.node_attributes(node), values)
        return {
            role: build.parameter("value", value)
            if trained and value.dtype.kind == "f"
            else build.constant("value", value, value.dtype)
            for role, value in found.items()
        }


def _evaluate(
    kind: str, operands: list[str], results: list[str], attributes: dict[str, Any], values: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The results of one op, by the reference implementation of ONNX."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    from graphopt import OPSET

    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in attributes.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([helper.make_node(kind, operands, results, **plain)], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    return dict(zip(results, map(np.asarray, ReferenceEvaluator(model).run(None, values)), strict=True))
