"""Networks whose gates are clamped, as `bounded-gate` leaves them."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from graphopt.passes.bounded_gate import BoundedGate

from graphopt.ir.space_building import prepare


class Loose(BoundedGate):
    """May change the network as much as it likes."""

    tolerance = 1.0


def clamped(graph: gs.Graph, images: list[np.ndarray], tail: float = 0.01) -> gs.Graph:
    """The graph with a clamp before each gate; `tail` is the share of values beyond each bound."""
    return prepare(graph, [Loose(tail=tail)], images).graph
