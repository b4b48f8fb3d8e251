"""static-attention: channel attention -> a constant scale, which folds into the next convolution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import channel_attention

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class StaticAttention(Pass):
    """x * conv(pool(x))  ->  x * s, with s the mean attention over the calibration images."""

    name: ClassVar[str] = "static-attention"
    contract: ClassVar[Contract] = Contract.TUNED

    start: Literal["mean", "one"] = "mean"

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_attention, label="attention")

    def rewrite(self, site: Site, build: Build) -> object:
        mean = build.statistics.mean("attention")
        scale = mean if self.start == "mean" else np.ones_like(mean)
        return build.mul(build.input("x"), build.parameter("scale", scale.reshape(1, -1, 1, 1)))
