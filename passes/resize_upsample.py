"""resize-upsample: 1x1 conv + PixelShuffle -> a 1x1 conv with a quarter of the outputs + resize."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from graphopt import Contract, Pass
from graphopt.idioms import pixel_shuffle_upsample

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class ResizeUpsample(Pass):
    """shuffle(W x)  ->  resize(mean(W) x), with the mean over the four sub-pixels of each channel.

    As MOFA and Lahiri et al. (arXiv 2007.05835) replace sub-pixel convolutions.
    """

    name: ClassVar[str] = "resize-upsample"
    contract: ClassVar[Contract] = Contract.TUNED

    mode: Literal["bilinear", "nearest"] = "bilinear"

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(pixel_shuffle_upsample, label="upsample")

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.values("weight")
        mean = weight.reshape(-1, 4, *weight.shape[1:]).mean(axis=1)
        bias = build.values("bias").reshape(-1, 4).mean(axis=1) if "bias" in site.constants else None
        small = build.conv(
            build.input("x"),
            build.parameter("weight", mean),
            None if bias is None else build.parameter("bias", bias),
        )
        return build.resize(small, 2, "linear" if self.mode == "bilinear" else "nearest")
