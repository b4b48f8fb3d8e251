"""split-convolution: a convolution whose channels are shared out = one convolution for each part. Exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Site
from graphopt.idioms import is_constant, sliced_parts, split_parts

if TYPE_CHECKING:
    from graphopt import Build, GraphView
    from graphopt.idioms import Parts

Array = NDArray[np.float32]
EACH_VALUE_ALONE = frozenset(
    {
        "Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min",
        "Mish", "Mul", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sub", "Tanh",
    }
)  # fmt: skip


@dataclass(frozen=True)
class SplitConvolution(Pass):
    """Split(f(W x + b))  ->  f1(W1 x + b1), f2(W2 x + b2), ..., with the rows of W and b that make each part.

    f is any chain of depthwise convolutions, of others whose groups lie each in one part, and of ops on each value
    alone, such as a clamp. A Split copies all that it reads, and takes a runtime out of its layout of channels.
    """

    name: ClassVar[str] = "split-convolution"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterator[Site]:
        taken: Counter[str] = Counter()
        for found in chain(split_parts(graph), sliced_parts(graph)):
            steps: list[Any] = []
            reason = _follow(graph, found, steps)
            if reason is None:
                yield _site(graph, found, steps, taken)
            elif any(node.op == "Conv" for node in steps):
                graph.refuse(found.nodes[0].name, reason)

    def rewrite(self, site: Site, build: Build) -> object:
        return {part: _part(site, build, *map(int, part.split(":"))) for part in site.outputs}


def _follow(graph: GraphView, found: Parts, steps: list[Any]) -> str | None:
    """Puts the nodes from the dense convolution to the parts into `steps`, or says why they cannot be divided."""
    outputs = {tensor.name for tensor in graph.graph.outputs}
    tensor, readers = found.whole, {node.name for node in found.nodes}
    bounds = list(accumulate(part.shape[found.axis] for part in found.parts))
    while tensor.inputs:
        node = tensor.inputs[0]
        steps.insert(0, node)
        others = [user.name for user in tensor.outputs if user.name not in readers]
        if found.axis != 1:
            return f"expected parts of the channels, found axis {found.axis}"
        if others or tensor.name in outputs:
            return f"{node.name} is also used by {others[0] if others else 'the caller: it is an output'}"
        data = [operand for operand in node.inputs if not operand.is_empty() and not is_constant(operand)]
        if len(data) != 1 or len(data[0].shape) != len(tensor.shape):
            return f"{node.name} reads {len(data)} computed tensors; expected one, as large as its result"
        if node.op == "Conv":
            weight, groups = node.inputs[1].values, int(node.attrs.get("group", 1))
            if groups == 1:
                return None
            made = len(weight) // groups
            if any(bound % made for bound in bounds):
                return f"the {groups} groups of {node.name} do not lie each in one part"
            bounds = [bound // made * weight.shape[1] for bound in bounds]
        elif node.op not in EACH_VALUE_ALONE or data[0].shape != tensor.shape:
            return f"expected a dense convolution before {node.op} ({node.name})"
        tensor, readers = data[0], {node.name}
    return "expected a dense convolution, found an input of the network"


def _site(graph: GraphView, found: Parts, steps: list[Any], taken: Counter[str]) -> Site:
    """Constants are named `STEP.OPERAND`, the steps' results `STEP`, and parts that are read `START:END`."""
    nodes = [node.name for node in (*steps, *found.nodes)]
    operands = {f"{i}.{j}": operand for i, node in enumerate(steps) for j, operand in enumerate(node.inputs)}
    outputs = {tensor.name for tensor in graph.graph.outputs}
    ends = list(accumulate(part.shape[found.axis] for part in found.parts))
    bounds = zip([0, *ends[:-1]], ends, found.parts, strict=True)
    read = {f"{start}:{end}": p.name for start, end, p in bounds if p.outputs or p.name in outputs}
    return Site(
        graph.site_name(nodes, "parts", taken),
        tuple(nodes),
        {"x": steps[0].inputs[0].name},
        read,
        {role: operand.name for role, operand in operands.items() if is_constant(operand)},
        {str(i): node.outputs[0].name for i, node in enumerate(steps)},
    )


def _part(site: Site, build: Build, start: int, end: int) -> Any:
    """The channels from `start` to `end` of what the last step gives."""
    ranges = [(start, end)]  # of the channels that each step makes, from the last one back
    for step in reversed(range(1, len(site.captures))):
        start, end = ranges[0]
        if build.node_kind(site.nodes[step]) == "Conv":
            weight = build.values(f"{step}.1")
            made = len(weight) // int(build.node_attributes(site.nodes[step]).get("group", 1))
            start, end = (bound // made * weight.shape[1] for bound in (start, end))
        ranges.insert(0, (start, end))
    tensor: Any = build.input("x")
    for step, bound in enumerate(ranges):
        tensor = _step(site, build, step, tensor, *bound)
    return tensor


def _step(site: Site, build: Build, step: int, tensor: Any, start: int, end: int) -> Any:
    """The channels from `start` to `end` of what the `step` makes of the channels of `tensor` that they need."""
    node, rank = site.nodes[step], len(build.shape(str(step)))
    kind, attributes = build.node_kind(node), build.node_attributes(node)
    channels = build.shape(str(step))[1]
    constants = {int(role.split(".")[1]): role for role in site.constants if role.startswith(f"{step}.")}
    data = next(position for position in range(len(constants) + 1) if position not in constants)
    operands: list[Any] = [None] * (max([data, *constants]) + 1)
    operands[data] = tensor
    for position, role in constants.items():
        values = build.values(role)
        axis = 0 if kind == "Conv" else values.ndim - rank + 1  # the others broadcast from the last axis on
        if axis >= 0 and values.ndim and values.shape[axis] == channels > 1:
            values = np.take(values, range(start, end), axis)
        operands[position] = build.like(role, values)
    if kind == "Conv" and int(attributes.get("group", 1)) > 1:
        made = len(build.values(f"{step}.1")) // int(attributes["group"])
        attributes["group"] = (end - start) // made
    return build.op(kind, operands, **attributes)
