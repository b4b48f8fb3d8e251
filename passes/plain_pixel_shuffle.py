"""plain-pixel-shuffle: DepthToSpace = Reshape, Transpose, Reshape. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, either, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def pixel_shuffle(x: Term) -> Term:
    return either(op.DepthToSpace(x, mode="CRD"), op.DepthToSpace(x, mode="DCR"))


@dataclass(frozen=True)
class PlainPixelShuffle(Pass):
    """y[c, hb + i, wb + j] = x[(c, i, j), h, w]  ->  reshape, transpose (c, i, j, h, w) to (c, h, i, w, j), reshape.

    For runtimes without DepthToSpace. In ONNX's mode DCR the channels are (i, j, c).
    """

    name: ClassVar[str] = "plain-pixel-shuffle"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(pixel_shuffle, label="shuffle")

    def rewrite(self, site: Site, build: Build) -> object:
        images, channels, height, width = build.shape("x")
        attributes = build.attributes("DepthToSpace")
        b = attributes["blocksize"]
        c = channels // b**2
        if attributes.get("mode", "DCR") == "CRD":
            split, order = [c, b, b], [0, 1, 4, 2, 5, 3]
        else:
            split, order = [b, b, c], [0, 3, 4, 1, 5, 2]
        apart = build.reshape(build.input("x"), [images, *split, height, width])
        return build.reshape(build.transpose(apart, order), [images, c, height * b, width * b])
