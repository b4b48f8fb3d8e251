"""channels-last-upsample: 2x2 upsampling = 1x1 conv + a shuffle whose channels lie last. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import pixel_shuffle_upsample, transposed_upsample

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class ChannelsLastUpsample(Pass):
    """shuffle(W x), or a transposed conv  ->  y[2h + i, 2w + j, o] = (V x)[h, w, (i, j, o)].

    For runtimes that keep integers with their channels last: there the outer transposes meet others and go, and what is
    left moves whole runs of channels, where a PixelShuffle moves single bytes. A transposed convolution has no integer
    kernel there.
    """

    name: ClassVar[str] = "channels-last-upsample"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return chain(
            graph.find(pixel_shuffle_upsample, label="upsample"), graph.find(transposed_upsample, label="upsample")
        )

    def rewrite(self, site: Site, build: Build) -> object:
        images, outputs, rows, columns = build.shape("output")
        weight = build.values("weight")
        bias = build.values("bias") if "bias" in site.constants else None
        if any(build.node_kind(node) == "ConvTranspose" for node in site.nodes):
            moved = weight.transpose(2, 3, 1, 0).reshape(4 * outputs, -1)  # (c, o, i, j) -> (i, j, o), c
            bias = None if bias is None else np.tile(bias, 4)
        else:
            moved = weight.reshape(outputs, 4, -1).transpose(1, 0, 2).reshape(4 * outputs, -1)
            bias = None if bias is None else bias.reshape(outputs, 4).T.reshape(-1)
        made = build.conv(
            build.input("x"),
            build.parameter("weight", np.ascontiguousarray(moved)[:, :, None, None]),
            None if bias is None else build.parameter("bias", bias),
        )
        apart = build.reshape(build.transpose(made, [0, 2, 3, 1]), [images, rows // 2, columns // 2, 2, 2, outputs])
        together = build.reshape(build.transpose(apart, [0, 1, 3, 2, 4, 5]), [images, rows, columns, outputs])
        return build.transpose(together, [0, 3, 1, 2])
