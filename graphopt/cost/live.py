"""Live bytes: how much of the activations is held while each part of a space runs, by the graph alone.

A peak is a maximum over time, so prices of candidates cannot be summed: one smaller tensor lowers it only where the
peak lies, and only if every other place that reaches as high is lowered too. What can be said of each candidate is
how much is held while it runs; the peak of a network is the largest of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
import onnx_graphsurgeon as gs

from graphopt.ir.fragments import Fragment
from graphopt.ir.space import KEEP, Choice, Space

# Ops whose result is computed in place, or fused into the one op that reads it: compilers and runtimes both do so.
_IN_PLACE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Clip", "Relu", "Sigmoid", "Gelu", "Tanh", "Cast", "Neg", "Exp"}
    | {"Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Split", "Slice"}
)
_Op = tuple[str, tuple[str, ...], tuple[str, ...]]  # kind, what it reads, what it writes


@dataclass(frozen=True)
class LiveBytes:
    """`inside[choice][option]`: the most that is held while the option runs, without the choices inside it.

    `outside` is the most that is held while a node runs that lies in no site.
    """

    outside: int
    inside: dict[str, dict[str, int]]


def live_bytes(space: Space, bytes_per_element: int = 4) -> LiveBytes:
    """Counts for every candidate alone, everything else kept. Bytes of activations; weights are not among them."""
    nodes, opset = list(space.graph.nodes), space.graph.opset
    sizes = _sizes(space.graph.tensors().values())
    ends = [t.name for t in (*space.graph.inputs, *space.graph.outputs)]
    kept = [_op(node) for node in nodes]
    profile = _profile(kept, sizes, ends)
    at = {node.name: i for i, node in enumerate(nodes)}
    inside: dict[str, dict[str, int]] = {}
    for choice in space.choices.values():
        within = {name for child in space.children(choice.name) for name in space.choices[child].site.nodes}
        free = [profile[at[name]] for name in choice.site.nodes if name not in within]
        inside[choice.name] = {KEEP: max(free, default=0)}
        for option, candidate in choice.candidates.items():
            inside[choice.name][option] = _replaced(nodes, kept, choice, candidate.fragment, sizes, ends, opset)
    covered = {name for choice in space.choices.values() for name in choice.site.nodes}
    outside = max((profile[at[node.name]] for node in nodes if node.name not in covered), default=0)
    scaled = {name: {o: n * bytes_per_element for o, n in row.items()} for name, row in inside.items()}
    return LiveBytes(outside * bytes_per_element, scaled)


def _replaced(
    nodes: Sequence[gs.Node], kept: Sequence[_Op], choice: Choice, fragment: Fragment, sizes: Mapping[str, int],
    ends: Sequence[str], opset: int,
) -> int:  # fmt: skip
    """The most that is held while a fragment runs in place of the site."""
    inside = set(choice.site.nodes)
    last = max(i for i, node in enumerate(nodes) if node.name in inside)
    stands_for = {name: tensor.name for name, tensor in fragment.outputs.items()}
    before = [op for node, op in zip(nodes[:last], kept[:last], strict=True) if node.name not in inside]
    own = [_op(node) for node in fragment.nodes]
    after = [(kind, tuple(stands_for.get(n, n) for n in reads), writes) for kind, reads, writes in kept[last + 1 :]]
    made = _fragment_sizes(fragment, opset)
    for name, result in stands_for.items():
        made.setdefault(result, sizes.get(name, 0))
    # Where a fragment has no nodes, the moment between its neighbours counts.
    window = own or [("", (), ())]
    profile = _profile([*before, *window, *after], {**sizes, **made}, [stands_for.get(name, name) for name in ends])
    return max(profile[len(before) : len(before) + len(window)])


def _op(node: gs.Node) -> _Op:
    reads = tuple(t.name for t in node.inputs if t.name and not isinstance(t, gs.Constant))
    return node.op, reads, tuple(t.name for t in node.outputs if t.name)


def _fragment_sizes(fragment: Fragment, opset: int) -> dict[str, int]:
    """Elements of every tensor of a fragment: builders know the shapes of the host's tensors only."""
    if not fragment.nodes:
        return {}
    made = {tensor.name for node in fragment.nodes for tensor in node.outputs}
    read = {t.name: t for node in fragment.nodes for t in node.inputs if isinstance(t, gs.Variable) and t.name}
    inputs = [tensor for name, tensor in read.items() if name not in made]
    outputs = [onnx.ValueInfoProto(name=tensor.name) for tensor in fragment.nodes[-1].outputs]
    graph = gs.Graph(fragment.nodes, inputs, [], opset=opset)
    model = gs.export_onnx(graph, do_type_check=False)
    model.graph.output.extend(outputs)
    shapes = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: prod(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        for value in (*shapes.value_info, *shapes.output)
        if value.name in made and value.type.HasField("tensor_type")
    }


def _sizes(tensors: Iterable[gs.Tensor]) -> dict[str, int]:
    """Elements of every tensor that is computed."""
    found: dict[str, int] = {}
    for tensor in tensors:
        if isinstance(tensor, gs.Variable) and tensor.shape is not None:
            found[tensor.name] = prod(size for size in tensor.shape if isinstance(size, int))
    return found


def _profile(ops: Sequence[_Op], sizes: Mapping[str, int], ends: Sequence[str]) -> list[int]:
    """Elements held while each op runs, its operands and results included."""
    last: dict[str, int] = {}
    readers: dict[str, int] = {}
    for i, (_, reads, _) in enumerate(ops):
        for name in set(reads):
            last[name] = i
            readers[name] = readers.get(name, 0) + 1
    last |= dict.fromkeys(ends, len(ops) - 1)
    change = [0] * (len(ops) + 1)
    made = set()
    for i in reversed(range(len(ops))):
        kind, reads, writes = ops[i]
        for name in writes:
            made.add(name)
            if kind in _IN_PLACE and readers.get(name) == 1 and name not in ends:
                last |= {read: max(last[read], last[name]) for read in reads}  # where its reader computes it
            else:
                change[i] += sizes.get(name, 0)
                change[last.get(name, i) + 1] -= sizes.get(name, 0)
    held = sum(sizes.get(name, 0) for name in ends if name not in made)  # the inputs, which the caller holds
    profile = []
    for difference in change[:-1]:
        held += difference
        profile.append(held)
    return profile
