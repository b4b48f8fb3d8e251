"""Exact rewrites in fp64: rebuilt for random weights and run on random inputs, where rounding cannot hide a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.contract import Contract
from graphopt.ir.difference import relative_difference
from graphopt.ir.passes import Pass
from graphopt.ir.regions import Regions, region_graph
from graphopt.ir.rewriting import build_fragment, proposed_sites
from graphopt.ir.sites import Site
from graphopt.ir.statistics import Statistics
from graphopt.ir.view import GraphView

DOUBLE_TOLERANCE = 1e-9  # relative to the largest output: fp64 leaves 1e-14, a weight that was cut to fp32 1e-8
PIXELS = 8  # sites are checked on inputs that are scaled down to this height, where their sizes allow it
Array = NDArray[np.float64]


def check_in_double(rule: Pass, site: Site, regions: Regions, statistics: Statistics | None) -> float:
    """The largest relative difference between `site` and its rewrite in fp64; more than rounding is an error.

    The weights that the site names are replaced by random ones, and the pass rewrites the site with those. ONNX's
    reference evaluator computes both: onnxruntime has no convolution in fp64.
    """
    label = f"pass {rule.name} at site {site.name}"
    region = region_graph(regions, site.nodes)
    _shrink(region)
    random = np.random.default_rng(list(site.name.encode()))
    weights = set(site.constants.values())
    for name, tensor in region.tensors().items():
        if isinstance(tensor, gs.Constant) and tensor.values.dtype == np.float32:
            drawn = name in weights and tensor.values.size > 1  # an epsilon or a bound keeps its value
            tensor.values = random.standard_normal(tensor.shape) if drawn else tensor.values.astype(np.float64)
        elif isinstance(tensor, gs.Variable) and tensor.dtype == np.float32:
            tensor.dtype = np.dtype(np.float64)
    view = GraphView(region)
    fragment = build_fragment(rule, site, view, statistics)
    rewritten = region_graph(view.regions, site.nodes, fragment, site.nodes)
    inputs = {tensor.name: random.standard_normal(tensor.shape) for tensor in region.inputs}
    try:
        expected, found = _run(region, inputs), _run(rewritten, inputs)
    except Exception as error:  # whatever an evaluator says of a wrong fragment
        raise GraphoptError(f"{label}: the rewrite cannot be run in fp64: {str(error).strip()[:200]}") from error
    worst = max(relative_difference(b, a) for a, b in zip(expected, found, strict=True))
    if not worst <= DOUBLE_TOLERANCE:
        raise GraphoptError(
            f"{label}: the contract is 'exact', but with random weights the rewrite differs by {worst:.2e} relative in "
            f"fp64 (allowed {DOUBLE_TOLERANCE:g}); mend rewrite(), or declare the contract 'tuned'"
        )
    return worst


def check_sites(graph: gs.Graph, passes: Iterable[Pass]) -> int:
    """Checks the sites of each `exact` pass among `passes` in fp64, one of each structure, and counts them."""
    view = GraphView(graph)
    seen: set[str] = set()
    for rule in (rule for rule in passes if rule.contract is Contract.EXACT):
        for site in proposed_sites(rule, view):
            key = f"{rule!r}{structure(region_graph(view.regions, site.nodes))}"
            if key not in seen:
                check_in_double(rule, site, view.regions, None)
                seen.add(key)
    return len(seen)


def structure(graph: gs.Graph) -> str:
    """Kinds, attributes and shapes, without names."""
    shapes = [tuple(tensor.shape) for tensor in graph.inputs]
    return repr(
        [(n.op, sorted((k, str(v)) for k, v in n.attrs.items()), [t.shape for t in n.inputs]) for n in graph.nodes]
        + [shapes]
    )


def _run(graph: gs.Graph, inputs: Mapping[str, Array]) -> list[Array]:
    model = to_model(graph)
    names = {value.name for value in model.graph.input}
    return list(ReferenceEvaluator(model).run(None, {k: v for k, v in inputs.items() if k in names}))


def _shrink(graph: gs.Graph) -> None:
    """Scales the inputs' heights and widths down, in place, where nothing in the region holds a size."""
    images = [tensor for tensor in graph.inputs if len(tensor.shape) == 4]
    sizes = [size for tensor in images for size in tensor.shape[2:] if size > 1]
    factor = min(sizes, default=1) // PIXELS
    fixed = any(node.op in ("Reshape", "Expand", "Slice", "Pad", "Tile") for node in graph.nodes)
    planes = [t for t in graph.tensors().values() if isinstance(t, gs.Constant) and t.values.ndim >= 3]
    fixed = fixed or any(min(t.shape[-2:]) >= PIXELS for t in planes)
    if factor < 2 or fixed or any(size % factor for size in sizes):
        return
    for tensor in images:
        tensor.shape = [*tensor.shape[:2], *(size // factor if size > 1 else size for size in tensor.shape[2:])]
    inferred = to_model(_unshaped(graph))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    shapes |= {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.output}
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and name in shapes:
            tensor.shape = shapes[name]


def _unshaped(graph: gs.Graph) -> gs.Graph:
    for node in graph.nodes:
        for tensor in node.outputs:
            tensor.shape = None
    return graph
