"""A space of four choices, one inside another, written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from onnx import numpy_helper, parser

from graphopt.ir.contract import Contract
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Site
from graphopt.ir.space import Candidate, Choice, Space

# The sites: `block` (a .. y1) holds `block/norm` (m .. n) and `block/act` (c -> d); `halves` has two outputs.
HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
host (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y)
{
"""
INTRO = "i = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, k0)\n"
NORM = """
  m = ReduceMean (i, axes)
  s = Sub (i, m)
  p = Pow (s, two)
  v = ReduceMean (p, axes)
  e = Add (v, eps)
  r = Sqrt (e)
  n = Div (s, r)
"""
CONV = "c = Conv (n, k1)\n"
ACT = "d = Gelu (c)\n"
SUM = "y1 = Add (d, i)\n"
SPLIT = "f, g = Split <axis = 1> (y1, sizes)\n"
TAIL = "h = Mul (f, g)\n t = Concat <axis = 1> (h, g)\n y = Add (t, x)\n}"

SCALE, SHIFT, ACT_SCALE, HALF = (
    np.random.default_rng(i).standard_normal((1, channels, 1, 1)).astype(np.float32)
    for i, channels in enumerate((4, 4, 4, 2))
)
EPSILON, HIGH = float(np.float32(1e-6)), float(np.float32(0.8))  # as fp32 holds them
# The same text with a candidate in the place of a site.
AFFINE = "n0 = Mul (i, SCALE)\n n = Add (n0, SHIFT)\n"
SCALED_ACT = "d0 = Mul (c, ACT_SCALE)\n d = Clip (d0, low, high)\n"
HALVES = "ff, gg = Split <axis = 1> (y1, sizes)\n f = Mul (ff, HALF)\n g = Identity (gg)\n"
SKIP = "y1 = Identity (i)\n"


def model_of(*parts: str) -> onnx.ModelProto:
    model = parser.parse_model(HEAD + "".join(parts))
    rng = np.random.default_rng(7)
    values: dict[str, np.ndarray] = {
        "k0": rng.standard_normal((4, 4, 3, 3)).astype(np.float32),
        "k1": rng.standard_normal((4, 4, 1, 1)).astype(np.float32),
        "axes": np.array([1], np.int64),
        "two": np.array(2, np.float32),
        "eps": np.array(EPSILON, np.float32),
        "sizes": np.array([2, 2], np.int64),
        "low": np.array(-0.5, np.float32),
        "high": np.array(HIGH, np.float32),
        **{"SCALE": SCALE, "SHIFT": SHIFT, "ACT_SCALE": ACT_SCALE, "HALF": HALF},
    }
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in values.items() if name in used)
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    return onnx.shape_inference.infer_shapes(model)


def keep_model() -> onnx.ModelProto:
    return model_of(INTRO, NORM, CONV, ACT, SUM, SPLIT, TAIL)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


class Maker:
    """Writes one fragment."""

    def __init__(self, prefix: str):
        self.prefix, self.fragment = prefix, Fragment()

    def constant(self, name: str, value: Any) -> gs.Constant:
        constant = gs.Constant(f"{self.prefix}/{name}", np.array(value, np.float32))
        self.fragment.constants.append(constant)
        return constant

    def op(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        name = f"{self.prefix}/{kind.lower()}"
        made = [gs.Variable(f"{name}_{i}", np.float32) for i in range(outputs)]
        self.fragment.nodes.append(gs.Node(kind, name, attributes, list(inputs), made))
        return made[0] if outputs == 1 else made

    def candidate(self, contract: Contract = Contract.TUNED, **outputs: gs.Tensor) -> Candidate:
        self.fragment.outputs.update(outputs)
        return Candidate(self.prefix.split("@")[1], self.fragment, contract)


def host(name: str) -> gs.Variable:
    return gs.Variable(name, np.float32, (1, 4, 6, 6))


def space() -> Space:
    graph = gs.import_onnx(keep_model())
    affine = Maker("block/norm@affine")
    scaled = affine.op("Mul", host("i"), affine.constant("scale", SCALE))
    norm = affine.candidate(n=affine.op("Add", scaled, affine.constant("shift", SHIFT)))

    same = Maker("block/act@same")
    exact = same.candidate(Contract.EXACT, d=same.op("Gelu", host("c")))
    limited = Maker("block/act@limited")
    scaled = limited.op("Mul", host("c"), limited.constant("scale", ACT_SCALE))
    bounds = limited.constant("low_fixed", -0.5), limited.constant("high_fixed", HIGH)
    act = limited.candidate(d=limited.op("Clip", scaled, *bounds))

    skip = Maker("block@skip").candidate(y1=host("i"))  # the site's input, handed on

    split = Maker("halves@scaled")
    sizes = gs.Constant("halves@scaled/sizes", np.array([2, 2], np.int64))
    first, second = split.op("Split", host("y1"), sizes, outputs=2, axis=1)
    halves = split.candidate(f=split.op("Mul", first, split.constant("half", HALF)), g=second)

    def names(first: str, last: str) -> tuple[str, ...]:
        order = [node.name for node in graph.nodes]
        return tuple(order[order.index(f"node_{first}") : order.index(f"node_{last}") + 1])

    choices = [
        Choice(Site("block", names("m", "y1"), {"x": "i"}, {"y": "y1"}), {"skip": skip}),
        Choice(Site("block/norm", names("m", "n"), {"x": "i"}, {"y": "n"}), {"affine": norm}, "block"),
        Choice(Site("block/act", names("d", "d"), {"x": "c"}, {"y": "d"}), {"same": exact, "limited": act}, "block"),
        Choice(Site("halves", names("f", "f"), {"x": "y1"}, {"a": "f", "b": "g"}), {"scaled": halves}),
    ]
    return Space(graph, {choice.name: choice for choice in choices})
