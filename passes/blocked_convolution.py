"""blocked-convolution: a convolution to few channels = one with a stride, to all pixels of a block at once. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, GraphoptError, Pass, Term, pattern
from graphopt.idioms import conv_of, keeps_size

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site

FEW = 8  # channels, below which a runtime computes in vain: it fills up blocks of 8 or 16


@pattern
def convolution(x: Term) -> Term:
    return conv_of(x, group=1, strides=(1, 1), dilations=(1, 1))


@dataclass(frozen=True)
class BlockedConvolution(Pass):
    """W x + b, k x k  ->  PixelShuffle(V x + b), V with stride B and a window of k + B - 1, whose outputs (o, i, j) are
    the pixels (Bh + i, Bw + j) of o: V[(o, i, j), c, u, v] = W[o, c, u - i, v - j], and 0 outside of W.

    Runtimes fill up three channels to 8 or 16, and read a window for each pixel: here B^2 pixels share one. More
    products by ((k + B - 1) / k)^2, so the price decides.
    """

    name: ClassVar[str] = "blocked-convolution"
    contract: ClassVar[Contract] = Contract.EXACT
    block: int = 4

    def __post_init__(self) -> None:
        if self.block < 2:
            raise GraphoptError(f"{self.name}: expected block of 2 or more, found {self.block}")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(convolution, label="blocks", unless=self._unless)

    def _unless(self, match: Match) -> str | None:
        (_, _, height, width), outputs = match.inputs["x"].shape, match.output.shape[1]
        if max(match.constants["weight"].shape[2:]) == 1:
            return "expected a window of more than one pixel"
        if outputs >= FEW:
            return f"expected fewer than {FEW} outputs, found {outputs}"
        if height % self.block or width % self.block:
            return f"expected a height and a width that {self.block} divides, found {height} x {width}"
        if "pads" not in match.anchor.attrs:
            return "expected padding in numbers"
        return keeps_size(match)

    def rewrite(self, site: Site, build: Build) -> object:
        weight, block = build.values("weight"), self.block
        wide = build.like("weight", spread(weight, block))
        bias = build.like("bias", np.repeat(build.values("bias"), block**2)) if "bias" in site.constants else None
        many = build.conv(build.input("x"), wide, bias, strides=[block, block], pads=build.attributes("Conv")["pads"])
        return build.depth_to_space(many, block)


def spread(weight: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """(O, C, k, l) -> (O B^2, C, k + B - 1, l + B - 1)."""
    outputs, inputs, rows, columns = weight.shape
    wide = np.zeros((outputs, block, block, inputs, rows + block - 1, columns + block - 1), weight.dtype)
    for i in range(block):
        for j in range(block):
            wide[:, i, j, :, i : i + rows, j : j + columns] = weight
    return wide.reshape(outputs * block**2, *wide.shape[3:])
