"""rms-norm: channel LayerNorm -> a norm without the mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class RmsNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  x / sqrt(mean(x^2) + eps) * s + t, over channels.

    s, t are the least-squares fit of the norm's output on calibration images. One reduction in place of two (Zhang and
    Sennrich, arXiv 1910.07467).
    """

    name: ClassVar[str] = "rms-norm"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        x, epsilon = build.input("x"), layer_norm_at(site, build).epsilon
        samples = build.statistics.samples("x")
        normal = samples / np.sqrt(np.square(samples).mean(axis=1, keepdims=True) + epsilon)
        scale, shift = build.statistics.affine_fit(normal, "output")
        power = build.add(build.mean(build.mul(x, x), [1]), epsilon)
        y = build.op("Div", [x, build.op("Sqrt", [power])])
        y = build.mul(y, build.parameter("scale", scale.reshape(1, -1, 1, 1)))
        return build.add(y, build.parameter("shift", shift.reshape(1, -1, 1, 1)))
