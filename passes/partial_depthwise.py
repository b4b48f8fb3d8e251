"""partial-depthwise: a depthwise convolution on a share of the channels; the others pass with a scale and a shift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


def larger_than_one(kernel: tuple[int, ...]) -> bool:
    """a kernel larger than 1x1"""
    return len(kernel) == 2 and max(kernel) > 1


@pattern
def any_conv(x: Term) -> Term:
    return conv_of(x, strides=(1, 1), kernel_shape=larger_than_one)


@dataclass(frozen=True)
class PartialDepthwise(Pass):
    """dw(x)  ->  [dw(u), v] of [u, v] = x * s + t, where s = 1 and t = 0 for u, the first `share` of the channels.

    s, t of the other channels are the least-squares fit of dw on calibration images; they fold into the convolution
    before it. After MOFA, which convolves a part of the channels only.
    """

    name: ClassVar[str] = "partial-depthwise"
    contract: ClassVar[Contract] = Contract.TUNED

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"option 'share' is {self.share}; expected a number between 0 and 1")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def not_depthwise(match: Match) -> str | None:
            channels = match.constants["weight"].shape[0]
            group = match.anchor.attrs.get("group", 1)
            before, after = match.inputs["x"].shape, match.output.shape
            if before[2:] != after[2:]:
                return f"expected a convolution that keeps the size, found {before[2:]} and {after[2:]}"
            if group != channels or channels != match.inputs["x"].shape[1]:
                return f"expected a depthwise convolution, found {group} groups for {channels} channels"
            return None if channels >= 4 else f"expected 4 channels or more, found {channels}"

        return graph.find(any_conv, label="depthwise", unless=not_depthwise)

    def rewrite(self, site: Site, build: Build) -> object:
        channels = build.shape("x")[1]
        kept = min(channels - 1, max(1, round(channels * self.share)))
        scale, shift = build.statistics.affine_fit("x", "output")
        scale[:kept], shift[:kept] = 1, 0
        shape = (1, -1, 1, 1)
        x = build.mul(build.input("x"), build.parameter("scale", scale.reshape(shape)))
        x = build.add(x, build.parameter("shift", shift.reshape(shape)))
        convolved, passed = build.split(x, [kept, channels - kept])
        weight = build.parameter("weight", build.values("weight")[:kept])
        bias = build.values("bias")[:kept] if "bias" in site.constants else np.zeros(kept)
        attributes = {**build.attributes("Conv"), "group": kept}
        return build.concat([build.conv(convolved, weight, build.parameter("bias", bias), **attributes), passed])
