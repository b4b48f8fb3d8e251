"""clipped-norm: channel LayerNorm -> a scale, a shift and a clamp for each channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class ClippedNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  min(max(x * s + t, low), high), everything for each channel.

    s, t are the least-squares fit on calibration images; low, high the quantiles of the norm's own output there, so
    that gates behind it stay bounded without `bounded-gate`. The clamp is not trained. See also `affine-norm`.
    """

    name: ClassVar[str] = "clipped-norm"
    contract: ClassVar[Contract] = Contract.TUNED

    tail: float = 0.001  # share of the values beyond each bound

    def __post_init__(self) -> None:
        if not 0 <= self.tail < 0.5:
            raise ValueError(f"option 'tail' is {self.tail}; expected a number from 0 to below 0.5")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        shape = (1, -1, 1, 1)
        scale, shift = build.statistics.affine_fit("x", "output")
        low, high = build.statistics.channel_quantiles("output", self.tail, 1 - self.tail)
        x = build.mul(build.input("x"), build.parameter("scale", scale.reshape(shape)))
        x = build.add(x, build.parameter("shift", shift.reshape(shape)))
        x = build.op("Max", [x, build.constant("low", low.reshape(shape), np.float32)])
        return build.op("Min", [x, build.constant("high", high.reshape(shape), np.float32)])
