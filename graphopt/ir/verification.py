"""Checks contracts: `exact` on random and on real activations, `approximate` in the whole network on real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.contract import Contract
from graphopt.ir.difference import relative_difference
from graphopt.ir.exactness import check_in_double, structure
from graphopt.ir.fragments import Fragment
from graphopt.ir.passes import Pass
from graphopt.ir.regions import Regions, region_graph
from graphopt.ir.session import OnnxSession
from graphopt.ir.sites import Site
from graphopt.ir.statistics import Statistics

EXACT_TOLERANCE = 2e-5  # of fp32 rounding, relative to the largest output
WHOLE_TOLERANCE = 1e-4  # the same over a whole network, where rounding adds up
Array = NDArray[np.float32]


def check_contract(
    rule: Pass,
    site: Site,
    fragment: Fragment,
    regions: Regions,
    shapes: set[str],
    statistics: Statistics | None = None,
) -> float:
    """The largest relative difference between site and fragment. A broken contract is an error that names it all.

    `shapes` remembers what was checked already: a `tuned` fragment of one structure is run once, and an `exact` one
    is rebuilt once for random weights, in fp64. `statistics` are those that the fragment was built with.
    """
    before, after = region_graph(regions, site.nodes), region_graph(regions, site.nodes, fragment, site.nodes)
    key = f"{rule!r}{structure(before)}"
    if rule.contract is Contract.TUNED and key in shapes:
        return float("nan")
    is_new = key not in shapes
    shapes.add(key)
    label = f"pass {rule.name} at site {site.name}"
    inputs = {**_random_inputs(after, site.name), **_random_inputs(before, site.name)}
    if not after.nodes:  # the site is left out: its output is one of its inputs
        _check_shapes(label, list(before.outputs), list(after.outputs))
        return float("nan")
    expected, found = _run(before, inputs, label), _run(after, inputs, label)
    worst = 0.0
    for tensor, a, b in zip(before.outputs, expected, found, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise GraphoptError(
                f"{label}: {tensor.name} must stay {a.dtype}{a.shape}, the rewrite gives {b.dtype}{b.shape}"
            )
        if not np.isfinite(b).all():
            raise GraphoptError(f"{label}: the rewrite gives values that are not finite")
        worst = max(worst, relative_difference(b, a))
    if rule.contract is Contract.EXACT and worst > EXACT_TOLERANCE:
        raise GraphoptError(
            f"{label}: the contract is 'exact', but the rewrite differs by {worst:.2e} relative "
            f"(allowed {EXACT_TOLERANCE:g}); mend rewrite(), or declare the contract 'tuned'"
        )
    if rule.contract is Contract.EXACT and is_new:
        check_in_double(rule, site, regions, statistics)
    return worst


def check_activations(
    rule: Pass, fragments: Sequence[tuple[Site, Fragment]], regions: Regions, images: Sequence[Array]
) -> float:
    """The largest relative difference that the fragments of an `exact` pass make on real activations, in fp32."""
    replaced = [(site, region_graph(regions, site.nodes, fragment, site.nodes)) for site, fragment in fragments]
    wanted = {name for site, _ in replaced for name in (*site.inputs.values(), *site.outputs.values())}
    given = {tensor.name for tensor in regions.graph.inputs}
    names = sorted(wanted - given)
    session = OnnxSession(to_model(regions.graph), names)
    real = [
        {
            session.inputs[0]: image,
            **dict(zip(names, session.run_named({session.inputs[0]: image}, names), strict=True)),
        }
        for image in images
    ]
    worst = 0.0
    for site, after in replaced:
        label = f"pass {rule.name} at site {site.name}"
        for tensors in real:
            found = _run(after, tensors, label) if after.nodes else [tensors[t.name] for t in after.outputs]
            for output, b in zip(site.outputs.values(), found, strict=True):
                a = tensors[output]
                if not np.isfinite(a).all():
                    raise GraphoptError(
                        f"{output}, an activation of the network itself, is not finite on calibration images; "
                        "check the network's weights and the images"
                    )
                worst = max(worst, difference := relative_difference(b, a))
                if not difference <= EXACT_TOLERANCE:
                    raise GraphoptError(
                        f"{label}: the contract is 'exact', but on calibration images the rewrite differs by "
                        f"{difference:.2e} relative (allowed {EXACT_TOLERANCE:g}); mend rewrite(), or declare the "
                        "contract 'tuned'"
                    )
    return worst


def check_approximation(rule: Pass, before: gs.Graph, after: gs.Graph, images: list[Array], where: str = "") -> float:
    """Relative root-mean-square difference of two whole graphs on calibration images, against what the pass promises.

    A pass of the contract `tuned` promises nothing of the untrained network, other than finite values.
    """
    first, second = OnnxSession(to_model(before)), OnnxSession(to_model(after))
    outputs = [(first.run(image), second.run(image)) for image in images]
    for a, b in outputs:
        if a.shape != b.shape:
            raise GraphoptError(f"pass {rule.name}{where}: the output must keep the shape {a.shape}, found {b.shape}")
    with np.errstate(all="ignore"):  # what is not finite is said below
        squares = [(np.square(a - b).mean(), np.square(a).mean()) for a, b in outputs]
    error, scale = (float(sum(column)) for column in zip(*squares, strict=True))
    if not np.isfinite(error):
        raise GraphoptError(
            f"pass {rule.name}{where}: the network's output has values that are not finite; mend rewrite()"
        )
    difference = float(np.sqrt(error / max(scale, 1e-30)))
    allowed = {Contract.EXACT: WHOLE_TOLERANCE, Contract.APPROXIMATE: rule.tolerance, Contract.TUNED: np.inf}
    if not difference <= allowed[rule.contract]:
        raise GraphoptError(
            f"pass {rule.name}{where}: the contract is '{rule.contract}' within {allowed[rule.contract]:g}, but the "
            f"network's output changes by {difference:.2e} (relative root mean square over {len(images)} calibration "
            f"images); mend rewrite(), or declare the contract 'tuned'"
        )
    return difference


def _random_inputs(graph: gs.Graph, seed: str) -> dict[str, Array]:
    random = np.random.default_rng(list(seed.encode()))
    return {tensor.name: random.standard_normal(tensor.shape, dtype=np.float32) for tensor in graph.inputs}


def _run(graph: gs.Graph, inputs: dict[str, Array], label: str) -> list[Array]:
    try:
        session = OnnxSession(to_model(graph), threads=1, optimise=False)
        return session.run_named({name: inputs[name] for name in session.inputs}, session.outputs)
    except GraphoptError as error:
        raise GraphoptError(f"{label}: {error}") from error
    except Exception as error:  # whatever a runtime says of a wrong fragment
        raise GraphoptError(f"{label}: the rewrite cannot be run: {str(error).strip().splitlines()[0]}") from error


def _check_shapes(label: str, before: list[gs.Tensor], after: list[gs.Tensor]) -> None:
    for a, b in zip(before, after, strict=True):
        if list(a.shape) != list(b.shape):
            raise GraphoptError(f"{label}: {a.name} must keep the shape {a.shape}, the rewrite gives {b.shape}")


def check_cleanups(before: onnx.ModelProto, after: onnx.ModelProto, images: list[Array], names: list[str]) -> float:
    """The largest relative difference that exact clean-ups made to a whole network; more than rounding is an error."""
    first, second = OnnxSession(before, optimise=False), OnnxSession(after, optimise=False)
    worst = 0.0
    for image in images:
        worst = max(worst, relative_difference(second.run(image), first.run(image)))
    if not worst <= WHOLE_TOLERANCE:
        raise GraphoptError(
            f"the clean-ups {', '.join(names)} are declared exact, but together they change the network's output "
            f"by {worst:.2e} relative (allowed {WHOLE_TOLERANCE:g}); leave out the one that is wrong"
        )
    return worst
