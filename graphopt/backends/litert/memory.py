"""What a .tflite takes at its peak under XNNPACK, planned from the file alone."""

from __future__ import annotations

from graphopt.backends.litert.flatbuffer import Operator, operators, read, tensor_bytes

_POINTER = 8  # bytes


def planned_bytes(content: bytes) -> int:
    """Activations where most of them live at once, an image and a result outside, the weights twice, and pointers.

    The file is mapped, and XNNPACK keeps a second copy of the weights in the order in which its kernels read them. For
    each kernel larger than 1x1 it also keeps where the pixels lie that each pixel of the output reads.
    """
    model = read(content)
    nodes, sizes = list(operators(model)), tensor_bytes(model)
    graph = model.subgraphs[0]
    ends = [graph.tensors[i].name.decode() for i in (*graph.inputs, *graph.outputs)]
    weights = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    outside = sum(sizes[name] for name in ends)
    pointers = _POINTER * sum(map(_pointers, nodes))
    return _live(nodes, ends, sizes) + outside + 2 * weights + pointers


def _live(nodes: list[Operator], ends: list[str], sizes: dict[str, int]) -> int:
    """The most bytes of activations that one operator finds and makes; the ends of the network live throughout."""
    made = {name for node in nodes for name, _ in node.outputs} | set(ends)
    first: dict[str, int] = dict.fromkeys(ends, 0)
    last: dict[str, int] = dict.fromkeys(ends, len(nodes))
    for at, node in enumerate(nodes):
        for name in (name for name, _ in (*node.inputs, *node.outputs) if name in made):
            first.setdefault(name, at)
            last[name] = max(at, last.get(name, 0))
    held = [sum(sizes[name] for name in first if first[name] <= at <= last[name]) for at in range(len(nodes))]
    return max(held, default=0)


def _pointers(node: Operator) -> int:
    if node.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return 0
    rows, columns = node.inputs[1][1][1:3]
    height, width = node.outputs[0][1][1:3]
    if rows * columns == 1:
        return 0
    if node.name == "CONV_2D":
        return height * width * rows * columns
    return height * (rows * columns + (width - 1) * rows)  # neighbours in a row share the columns
