"""split-depthwise: a depthwise k x k convolution as 1 x k and k x 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, depthwise, rank_one

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


def square(kernel: tuple[int, ...]) -> bool:
    """a square kernel larger than 1x1"""
    return len(kernel) == 2 and kernel[0] == kernel[1] > 1


@pattern
def square_conv(x: Term) -> Term:
    return conv_of(x, kernel_shape=square)


@dataclass(frozen=True)
class SplitDepthwise(Pass):
    """D[c] * x + b  ->  u[c] * (v[c]^T * x) + b + e[c], with u v^T the best rank-1 fit of each kernel D[c] by SVD.

    e = sum(D - u v^T) mean(x) keeps the mean over the calibration images. Asymmetric kernels after Mier's network in
    the Mobile AI 2021 challenge (arXiv 2105.08629), which has them beside 3x3.
    """

    name: ClassVar[str] = "split-depthwise"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(square_conv, label="depthwise", unless=depthwise)

    def rewrite(self, site: Site, build: Build) -> object:
        kernels = build.values("weight")
        column, row = rank_one(kernels[:, 0])
        lost = (kernels[:, 0] - column[:, :, None] * row[:, None]).sum(axis=(1, 2))
        bias = lost * build.statistics.mean("x")
        if "bias" in site.constants:
            bias = bias + build.values("bias")
        attributes = build.attributes("Conv")
        across = build.parameter("row", row[:, None, None, :])
        down = build.parameter("column", column[:, None, :, None])
        y = build.op("Conv", [build.input("x"), across], **_along(attributes, 1))
        return build.op("Conv", [y, down, build.parameter("bias", bias)], **_along(attributes, 0))


def _along(attributes: dict[str, Any], axis: int) -> dict[str, Any]:
    """The attributes of a convolution for height (axis 0) or width (1) alone: neutral along the other one."""
    kept = dict(attributes)
    for name in ("kernel_shape", "strides", "dilations"):
        if name in kept:
            kept[name] = [value if i == axis else 1 for i, value in enumerate(kept[name])]
    if "pads" in kept:  # top, left, bottom, right
        kept["pads"] = [value if i % 2 == axis else 0 for i, value in enumerate(kept["pads"])]
    return kept
