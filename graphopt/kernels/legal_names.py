"""Names that leave graphopt as C identifiers: kernel arguments are called after the tensors of the graph."""

from __future__ import annotations

import re
from itertools import count

import onnx


def legal_names(model: onnx.ModelProto) -> None:
    """Renames every tensor of the graph to a C identifier, in place: `up.0/conv@x/weight` -> `up_0_conv_x_weight`.

    Names stay unique. Node names are left as they are: no compiler sees them.
    """
    graph, made, taken = model.graph, {"": ""}, set[str]()

    def legal(name: str) -> str:
        if name not in made:
            stem = re.sub(r"[^0-9A-Za-z_]", "_", name)
            stem = stem if stem[0].isalpha() else f"t_{stem.lstrip('_')}"
            numbered = (f"{stem}_{number}" for number in count(2))
            made[name] = stem if stem not in taken else next(other for other in numbered if other not in taken)
            taken.add(made[name])
        return made[name]

    for value in (*graph.input, *graph.initializer, *graph.value_info, *graph.output):
        value.name = legal(value.name)
    for node in graph.node:
        node.input[:] = [legal(name) for name in node.input]
        node.output[:] = [legal(name) for name in node.output]
