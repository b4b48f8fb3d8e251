"""merge-depthwise: 1x1 conv + depthwise conv = one dense convolution. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def pointwise_depthwise(x: Term) -> Term:
    plain = conv_of(x, "1", kernel_shape=(1, 1), group=1, strides=(1, 1), pads=(0, 0, 0, 0))
    return conv_of(plain, "2")


@dataclass(frozen=True)
class MergeDepthwise(Pass):
    """dw(P x + b) + d  ->  W x + e, with W[o, i, k] = D[o, k] P[o, i] and e[o] = d[o] + b[o] sum_k D[o, k].

    Zero padding comes after the 1x1: at the border, fewer of its biases b reach the sum. Where b is not 0 and the
    depthwise convolution pads, e is another value for each border pixel: refused with the default `border`, a plane
    (1, O, H, W) that is added with `border: plane`. More arithmetic in one kernel: the price decides.
    """

    name: ClassVar[str] = "merge-depthwise"
    contract: ClassVar[Contract] = Contract.EXACT

    border: Literal["refuse", "plane"] = "refuse"

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            inner, weight2 = len(match.constants["weight1"].values), match.constants["weight2"].values
            groups = int(match.anchor.attrs.get("group", 1))
            if weight2.ndim != 4 or groups != inner:
                return f"expected a depthwise convolution behind the 1x1, found {groups} groups for {inner} channels"
            automatic = match.anchor.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
            if not _has_bias(match) or not (automatic or any(match.anchor.attrs.get("pads", [0]))):
                return None
            if automatic:
                return "the 1x1 has a bias, and the padding of the depthwise convolution is not written out"
            if self.border == "refuse":
                return (
                    "the 1x1 has a bias, which zero padding hides at the border; option `border: plane` adds it there"
                )
            return None

        return graph.find(pointwise_depthwise, label="expand", unless=misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        point, depth = build.values("weight1")[:, :, 0, 0], build.values("weight2")
        repeats = len(depth) // len(point)
        attributes = {**build.attributes("Conv", "weight2"), "group": 1}
        weight = build.parameter("weight", depth * np.repeat(point, repeats, axis=0)[:, :, None, None])
        bias = build.values("bias2") if "bias2" in site.constants else np.zeros(len(depth), np.float32)
        inner = build.values("bias1") if "bias1" in site.constants else np.zeros(len(point), np.float32)
        inner = np.repeat(inner, repeats)
        operands = [build.input("x"), weight]
        if any(attributes.get("pads", [0])) and np.any(inner):
            reach = _reach(depth, attributes, build.shape("x")[2:], build.shape("output")[2:])
            plane = (inner[:, None, None] * reach + bias[:, None, None])[None]
            return build.add(build.op("Conv", operands, **attributes), build.parameter("bias_plane", plane))
        total = bias + inner * depth.sum(axis=(1, 2, 3))
        if np.any(total) or "bias2" in site.constants:
            operands.append(build.parameter("bias", total))
        return build.op("Conv", operands, **attributes)


def _has_bias(match: Match) -> bool:
    bias = match.constants.get("bias1")
    return bias is not None and bool(np.any(bias.values))


def _reach(
    depth: NDArray[np.float32], attributes: dict[str, Any], size: tuple[int, ...], result: tuple[int, ...]
) -> NDArray[np.float32]:
    """The sum over those taps of `depth` (O, 1, kh, kw) that read a pixel, not padding, for each output: (O, H, W)."""
    inside = []
    for axis in (0, 1):
        taps = np.arange(depth.shape[2 + axis])[:, None] * attributes.get("dilations", [1, 1])[axis]
        starts = np.arange(result[axis]) * attributes.get("strides", [1, 1])[axis] - attributes["pads"][axis]
        inside.append((taps + starts >= 0) & (taps + starts < size[axis]))
    reach: NDArray[np.float32] = np.einsum("oyx,yh,xw->ohw", depth[:, 0], *(i.astype(np.float32) for i in inside))
    return reach
