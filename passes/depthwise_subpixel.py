"""depthwise-subpixel: convolution + PixelShuffle -> a depthwise-separable convolution before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, low_rank, pixel_shuffle_of, response_to, second_moment

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


def up_to_three(kernel: tuple[int, ...]) -> bool:
    """a kernel of 1x1 or 3x3"""
    return kernel in ((1, 1), (3, 3))


@pattern
def subpixel(x: Term) -> Term:
    return pixel_shuffle_of(conv_of(x, kernel_shape=up_to_three, group=1, strides=(1, 1), dilations=(1, 1)))


@dataclass(frozen=True)
class DepthwiseSubpixel(Pass):
    """shuffle(W * x + b)  ->  shuffle(D (P x) + b + e), with P 1x1 and D depthwise 3x3: four outputs for each input.

    For each output channel, its four kernels (4 k k, inputs) become their best rank-1 fit on the calibration images;
    of a 1x1, D starts as the centre. e keeps the mean. Lahiri et al. (arXiv 2007.05835) found that depthwise-separable
    kernels inside sub-pixel convolutions hurt images: a candidate that the search can reject.
    """

    name: ClassVar[str] = "depthwise-subpixel"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def resized(match: Match) -> str | None:
            before, after = match.inputs["x"].shape[2:], match.output.shape[2:]
            if [2 * size for size in before] == list(after):
                return None
            return f"expected a convolution that keeps the size, found {before} and {after} after the shuffle"

        return graph.find(subpixel, label="upsample", unless=resized)

    def rewrite(self, site: Site, build: Build) -> object:
        weight, moment = build.values("weight"), second_moment(build.statistics.samples("x"))
        outputs, inputs, size = weight.shape[:3]
        taps = weight.reshape(outputs // 4, 4, inputs, size * size).transpose(0, 1, 3, 2)
        fits = [low_rank(kernels.reshape(-1, inputs), moment, 1) for kernels in taps]
        depth = np.stack([left for left, _ in fits]).reshape(outputs, 1, size, size)
        point = np.concatenate([right for _, right in fits])  # (outputs / 4, inputs)
        mean = build.statistics.mean("x")
        bias = response_to(mean, weight) - depth.sum(axis=(1, 2, 3)) * np.repeat(point @ mean, 4)
        if "bias" in site.constants:
            bias = bias + build.values("bias")
        border = (3 - size) // 2
        depth = np.pad(depth, ((0, 0), (0, 0), (border, border), (border, border)))
        x = build.conv(build.input("x"), build.parameter("point", point[:, :, None, None]))
        weights = build.parameter("depthwise", depth), build.parameter("bias", bias)
        return build.depth_to_space(build.conv(x, *weights, group=outputs // 4), 2)
