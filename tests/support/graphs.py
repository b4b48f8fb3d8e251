"""Networks for tests: ONNX text with random weights, and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import numpy_helper, parser

from graphopt.ir.canonical import canonical, to_graph, to_model
from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.session import OnnxSession
from graphopt.ir.space import Space
from graphopt.ir.space_building import build_space
from graphopt.ir.view import GraphView

Call = Callable[..., tuple[int, str, str]]
Weights = Mapping[str, Any]  # a shape, for random values, or the values


def onnx_model(text: str, weights: Weights | None = None, seed: int = 0, opset: int = 20) -> onnx.ModelProto:
    """`(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Relu(x) }` as a model. Initialisers: `weights` by name."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> network {text}')
    random = np.random.default_rng(seed)
    for name, value in (weights or {}).items():
        is_shape = isinstance(value, tuple)
        values = random.normal(1.0 if name.endswith("scale") else 0.0, 0.4, value) if is_shape else np.asarray(value)
        kept = values if values.dtype.kind in "iub" else values.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(kept), name))
    return model


def network(text: str, weights: Weights | None = None, seed: int = 0, opset: int = 20) -> gs.Graph:
    """The canonical graph of ONNX text. A node may have a name: `["block.0/conv1/conv"] y = Conv(x, w)`."""
    return to_graph(canonical(onnx_model(text, weights, seed, opset), None, "test"))


def run(graph: gs.Graph | onnx.ModelProto, *inputs: np.ndarray) -> np.ndarray:
    """The first output, computed by onnxruntime without optimisation."""
    model = graph if isinstance(graph, onnx.ModelProto) else to_model(graph)
    return OnnxSession(model, threads=1, optimise=False).run(*inputs)


def random_image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def kinds(graph: gs.Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def space_of(graph: gs.Graph, rules: Sequence[Pass], images: list[np.ndarray]) -> Space:
    """All that `rules` propose in the graph."""
    return build_space(graph, rules, images, [], lambda share, text: None)


def site_names(graph: gs.Graph, rule: Pass) -> list[str]:
    """Where `rule` has a site, in the graph's order."""
    return [site.name for site in rule.sites(GraphView(graph))]


def rewritten(graph: gs.Graph, rule: Pass, images: list[np.ndarray], site: str | None = None) -> gs.Graph:
    """The graph with the candidate of `rule`, at `site` or at the only one, after its contract was checked."""
    space = space_of(graph, [rule], images)
    if site is None:
        (site,) = space.choices
    return apply_selection(space, {site: rule.name})


def refused(graph: gs.Graph, rule: Pass) -> list[str]:
    """Why `rule` has no site in the graph."""
    view = GraphView(graph)
    assert list(rule.sites(view)) == []
    return [reason for _, reason in view.refusals]


def inner(graph: gs.Graph, image: np.ndarray, *tensors: str) -> list[np.ndarray]:
    """The values of tensors inside a graph with one input."""
    session = OnnxSession(to_model(graph), list(tensors))
    return session.run_named({session.inputs[0]: image}, tensors)


def layer_norm(x: str, y: str, name: str, spelling: str = "decomposed") -> str:
    """The text of a channel LayerNorm; its weights are `NAME.scale` and `NAME.shift`, its module is NAME with `/`."""
    at = "/".join(name.rsplit(".", 1))
    if spelling == "transposed":
        return f"""
        ["{at}/transpose"] {y}_rows = Transpose<perm = [0, 2, 3, 1]>({x})
        ["{at}/layernormalization"] {y}_n = LayerNormalization<axis = -1>({y}_rows, "{name}.scale", "{name}.shift")
        ["{at}/transpose_2"] {y} = Transpose<perm = [0, 3, 1, 2]>({y}_n)"""
    return f"""
        ["{at}/reducemean"] {y}_mean = ReduceMean<keepdims = 1>({x}, axes_1)
        ["{at}/sub"] {y}_c = Sub({x}, {y}_mean)
        ["{at}/pow"] {y}_sq = Pow({y}_c, two)
        ["{at}/reducemean_2"] {y}_var = ReduceMean<keepdims = 1>({y}_sq, axes_1)
        ["{at}/add"] {y}_ve = Add({y}_var, eps)
        ["{at}/sqrt"] {y}_sd = Sqrt({y}_ve)
        ["{at}/div"] {y}_n = Div({y}_c, {y}_sd)
        ["{at}/mul"] {y}_s = Mul({y}_n, "{name}.scale")
        ["{at}/add_2"] {y} = Add({y}_s, "{name}.shift")"""


NORM_CONSTANTS: dict[str, Any] = {"axes_1": np.array([1]), "two": np.float32(2), "eps": np.float32(1e-6)}


def norm_weights(name: str, channels: int, spelling: str = "decomposed") -> dict[str, Any]:
    shape = (channels,) if spelling == "transposed" else (1, channels, 1, 1)
    return {f"{name}.scale": shape, f"{name}.shift": shape}


def _block(x: str, y: str, name: str, c: int) -> tuple[str, dict[str, Any]]:
    """A NAFNet block: y = x + beta conv3(SCA(SG(conv2(conv1(LN x))))), out = y + gamma conv5(SG(conv4(LN y)))."""
    v = name.replace(".", "_")
    text = f"""
        {layer_norm(x, f"{v}_n1", f"{name}.norm1")}
        ["{name}/conv1/conv"] {v}_1 = Conv<kernel_shape = [1, 1]>({v}_n1, "{name}.conv1.weight", "{name}.conv1.bias")
        ["{name}/conv2/conv"] {v}_2 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = {2 * c}>(
            {v}_1, "{name}.conv2.weight", "{name}.conv2.bias")
        ["{name}/split"] {v}_a, {v}_b = Split<axis = 1, num_outputs = 2>({v}_2)
        ["{name}/sg/mul"] {v}_g = Mul({v}_a, {v}_b)
        ["{name}/sca.0/reducemean"] {v}_p = ReduceMean<keepdims = 1>({v}_g, axes_23)
        ["{name}/sca.1/conv"] {v}_at = Conv<kernel_shape = [1, 1]>({v}_p, "{name}.sca.1.weight", "{name}.sca.1.bias")
        ["{name}/mul"] {v}_x = Mul({v}_g, {v}_at)
        ["{name}/conv3/conv"] {v}_3 = Conv<kernel_shape = [1, 1]>({v}_x, "{name}.conv3.weight", "{name}.conv3.bias")
        ["{name}/mul_2"] {v}_beta = Mul({v}_3, "{name}.beta")
        ["{name}/add"] {v}_y = Add({x}, {v}_beta)
        {layer_norm(f"{v}_y", f"{v}_n2", f"{name}.norm2")}
        ["{name}/conv4/conv"] {v}_4 = Conv<kernel_shape = [1, 1]>({v}_n2, "{name}.conv4.weight", "{name}.conv4.bias")
        ["{name}/split_2"] {v}_c, {v}_d = Split<axis = 1, num_outputs = 2>({v}_4)
        ["{name}/sg/mul_2"] {v}_h = Mul({v}_c, {v}_d)
        ["{name}/conv5/conv"] {v}_5 = Conv<kernel_shape = [1, 1]>({v}_h, "{name}.conv5.weight", "{name}.conv5.bias")
        ["{name}/mul_3"] {v}_gamma = Mul({v}_5, "{name}.gamma")
        ["{name}/add_2"] {y} = Add({v}_y, {v}_gamma)"""
    shapes: dict[str, Any] = {**norm_weights(f"{name}.norm1", c), **norm_weights(f"{name}.norm2", c)}
    for conv, outputs, inputs, k in (
        ("conv1", 2 * c, c, 1), ("conv2", 2 * c, 1, 3), ("sca.1", c, c, 1), ("conv3", c, c, 1), ("conv4", 2 * c, c, 1),
        ("conv5", c, c, 1),
    ):  # fmt: skip
        shapes |= {f"{name}.{conv}.weight": (outputs, inputs, k, k), f"{name}.{conv}.bias": (outputs,)}
    return text, {**shapes, f"{name}.beta": (1, c, 1, 1), f"{name}.gamma": (1, c, 1, 1)}


def nafnet(size: int = 16, width: int = 4, seed: int = 0) -> gs.Graph:
    """A NAFNet with one level and one block in each part; every weight is random."""
    c = width
    parts = [
        _block("intro", "enc", "encoders.0.0", c),
        _block("down", "mid", "middle_blks.0", 2 * c),
        _block("joined", "dec", "decoders.0.0", c),
    ]
    text = f"""(float[1, 3, {size}, {size}] image) => (float[1, 3, {size}, {size}] restored) {{
        ["intro/conv"] intro = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image, "intro.weight", "intro.bias")
        {parts[0][0]}
        ["downs.0/conv"] down = Conv<kernel_shape = [2, 2], strides = [2, 2]>(enc, "downs.0.weight", "downs.0.bias")
        {parts[1][0]}
        ["ups.0.0/conv"] wide = Conv<kernel_shape = [1, 1]>(mid, "ups.0.0.weight")
        ["ups.0.1/depthtospace"] up = DepthToSpace<blocksize = 2, mode = "CRD">(wide)
        ["add"] joined = Add(up, enc)
        {parts[2][0]}
        ["ending/conv"] ending = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(dec, "ending.weight", "ending.bias")
        ["add_2"] restored = Add(ending, image)
    }}"""
    weights: dict[str, Any] = {
        **NORM_CONSTANTS, "axes_23": np.array([2, 3]),
        "intro.weight": (c, 3, 3, 3), "intro.bias": (c,), "downs.0.weight": (2 * c, c, 2, 2), "downs.0.bias": (2 * c,),
        "ups.0.0.weight": (4 * c, 2 * c, 1, 1), "ending.weight": (3, c, 3, 3), "ending.bias": (3,),
    }  # fmt: skip
    for _, shapes in parts:
        weights |= shapes
    return network(text, weights, seed)
