"""fold-affine: scales and shifts for each channel become part of the convolution beside them. Exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Site, Stage, Term, op, pattern, per_channel
from graphopt.idioms import conv_of, is_constant

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match

Array = NDArray[np.float32]


@pattern
def scale_after(x: Term) -> Term:
    return op.Mul(conv_of(x), per_channel("scale_after"))


@pattern
def shift_after(x: Term) -> Term:
    return op.Add(conv_of(x), per_channel("shift_after"))


@pattern
def scale_before(x: Term) -> Term:
    return conv_of(op.Mul(x, per_channel("scale_before")))


@pattern
def shift_before(x: Term) -> Term:
    return conv_of(op.Add(x, per_channel("shift_before")))


@pattern
def scale_twice(x: Term) -> Term:
    return op.Mul(op.Mul(x, per_channel("first_scale")), per_channel("second_scale"))


@dataclass(frozen=True)
class FoldAffine(Pass):
    """Six cases, with w, b the weight (O, I/g, k, k) and bias of the convolution and s, t for each channel:

    1. (w * x + b) s  ->  (s w) * x + s b
    2. (w * x + b) + t  ->  w * x + (b + t)
    3. w * (s x) + b  ->  (w s) * x + b
    4. w * (x + t) + b  ->  w * x + (b + sum w t), refused where zero padding would not see t
    5. (x s1) s2  ->  x (s1 s2)
    6. 3 and 4 where several convolutions read s x, or x + t, and nothing else does
    """

    name: ClassVar[str] = "fold-affine"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.CLEANUP

    def sites(self, graph: GraphView) -> Iterator[Site]:
        taken: set[str] = set()
        rules = (scale_after, _misfit), (shift_after, _misfit), (shift_before, _padded), (scale_before, _misfit)
        for rule, unless in (*rules, (scale_twice, None)):
            for site in graph.find(rule, unless=unless):
                if not taken & set(site.nodes):  # the others come in the next round
                    taken |= set(site.nodes)
                    yield site
        yield from (site for site in _read_by_several(graph) if not taken & set(site.nodes))

    def rewrite(self, site: Site, build: Build) -> object:
        x, constants = build.input("x"), site.constants
        if "first_scale" in constants:
            return build.mul(x, build.parameter("scale", build.values("first_scale") * build.values("second_scale")))
        if "output" in site.outputs:
            return self._folded(site, build, "", build.attributes("Conv"))
        convs = [name for name in site.nodes if build.node_kind(name) == "Conv"]
        return {
            part: self._folded(site, build, part, build.node_attributes(conv))
            for part, conv in zip(site.outputs, convs, strict=True)
        }

    def _folded(self, site: Site, build: Build, part: str, attributes: dict[str, Any]) -> object:
        x, constants = build.input("x"), site.constants
        weight = build.values(f"weight{part}")
        bias = build.values(f"bias{part}") if f"bias{part}" in constants else np.zeros(len(weight), np.float32)
        if "scale_after" in constants:
            scale = build.values("scale_after").reshape(-1)
            weight, bias = weight * scale[:, None, None, None], bias * scale
        elif "shift_after" in constants:
            bias = bias + build.values("shift_after").reshape(-1)
        elif "scale_before" in constants:
            weight = weight * _by_input(build.values("scale_before"), weight, attributes)
        else:
            bias = bias + (weight * _by_input(build.values("shift_before"), weight, attributes)).sum(axis=(1, 2, 3))
        operands = [x, build.parameter("weight", weight)]
        if f"bias{part}" in constants or np.any(bias):
            operands.append(build.parameter("bias", bias))
        return build.op("Conv", operands, **attributes)


def _read_by_several(graph: GraphView) -> Iterator[Site]:
    """Affines before convolutions alone, two of them or more: each output of the site has the number of its one."""
    outputs = {tensor.name for tensor in graph.graph.outputs}
    taken: Counter[str] = Counter()
    for node in graph.nodes.values():
        constants = [operand for operand in node.inputs if is_constant(operand)]
        if node.op not in ("Mul", "Add") or len(constants) != 1 or node.outputs[0].name in outputs:
            continue
        convs, (affine,) = list(node.outputs[0].outputs), constants
        x = next(operand for operand in node.inputs if operand is not affine)
        if len(convs) < 2 or any(not _reads_as_image(conv, node) or _unfit(conv, affine, x) for conv in convs):
            continue
        nodes = [name for name in graph.nodes if name in {node.name, *(conv.name for conv in convs)}]
        convs.sort(key=lambda conv: nodes.index(conv.name))
        roles = {"scale_before" if node.op == "Mul" else "shift_before": affine.name}
        for number, conv in enumerate(convs):
            roles |= {f"{role}{number}": t.name for role, t in zip(("weight", "bias"), conv.inputs[1:], strict=False)}
        made = {str(number): conv.outputs[0].name for number, conv in enumerate(convs)}
        yield Site(graph.site_name(nodes, "affine", taken), tuple(nodes), {"x": x.name}, made, roles)


def _reads_as_image(conv: Any, affine: Any) -> bool:
    weights = conv.inputs[1:]
    return conv.op == "Conv" and conv.inputs[0] is affine.outputs[0] and all(is_constant(t) for t in weights)


def _unfit(conv: Any, affine: Any, x: Any) -> bool:
    """Whether an affine before one of several convolutions cannot fold into it: as `_misfit` and `_padded`."""
    values, weight = affine.values, conv.inputs[1].values
    inputs = weight.shape[1] * int(conv.attrs.get("group", 1))
    shift = conv.inputs[0].inputs[0].op == "Add"
    padded = any(conv.attrs.get("pads", [0])) or conv.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    by_channel = values.ndim >= 3 and values.shape[-2:] == (1, 1) and values.size == values.shape[-3] == inputs
    known = x.shape is None or x.shape[1] == inputs  # what a selection has just put there has no shapes yet
    return weight.ndim != 4 or not by_channel or not known or (shift and padded)


def _by_input(values: Array, weight: Array, attributes: dict[str, object]) -> Array:
    """A value for each input channel, laid out to multiply `weight` (O, I/g, k, k): (1 or O, I/g, 1, 1)."""
    groups = int(str(attributes.get("group", 1)))
    inputs = values.reshape(groups, -1)  # (g, I/g)
    outputs = inputs if groups == 1 else np.repeat(inputs, len(weight) // groups, axis=0)
    return outputs[:, :, None, None]


def _misfit(match: Match) -> str | None:
    """Why the affine does not hold one value for each channel beside the convolution: it broadcasts over channels."""
    weight = match.constants["weight"].values
    if weight.ndim != 4:
        return f"expected a convolution over height and width, found a weight of shape {weight.shape}"
    conv = next(node for node in match.nodes if node.op == "Conv")
    inputs = weight.shape[1] * int(conv.attrs.get("group", 1))
    channels = inputs if match.anchor is conv else len(weight)
    shape = match.inputs["x"].shape
    if shape is not None and shape[1] != inputs:
        return f"expected {inputs} channels before the affine, found {shape[1]}"
    values = next(value.values for name, value in match.constants.items() if name.startswith(("scale", "shift")))
    return None if values.size == channels else f"expected {channels} values, found {values.size}"


def _padded(match: Match) -> str | None:
    pads: Iterable[int] = match.anchor.attrs.get("pads", [0])
    if any(pads) or match.anchor.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "the shift before it cannot fold: zero padding would not see it"
    return _misfit(match)
