"""list-upsample: 1x1 conv + PixelShuffle -> bilinear resize + a LIST module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import list_module, pixel_shuffle_upsample

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class ListUpsample(Pass):
    """shuffle(W x + b)  ->  list(resize(x)), where list is a 3x3 module that starts near mean(W) at its centre.

    The mean is over the four sub-pixels of each output channel. Lahiri et al. (arXiv 2007.05835) put bilinear resize
    and their LIST module in place of sub-pixel convolutions; the module is that of `list-conv`.
    """

    name: ClassVar[str] = "list-upsample"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def too_few(match: Match) -> str | None:
            outputs, inputs = match.constants["weight"].values.shape[:2]
            if inputs >= 4 and outputs >= 8:
                return None
            return f"expected 4 inputs and 2 outputs or more, found {inputs} and {outputs // 4}"

        return graph.find(pixel_shuffle_upsample, label="upsample", unless=too_few)

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.values("weight")
        mean = weight.reshape(-1, 4, *weight.shape[1:]).mean(axis=1)
        centred = np.pad(mean, ((0, 0), (0, 0), (1, 1), (1, 1)))  # (O, I, 3, 3)
        bias = build.values("bias").reshape(-1, 4).mean(axis=1) if "bias" in site.constants else None
        large = build.resize(build.input("x"), 2)
        return list_module(build, large, centred, bias, build.statistics.samples("x"))
