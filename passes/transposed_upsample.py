"""transposed-upsample: 1x1 conv + PixelShuffle = a 2x2 transposed convolution with stride 2. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import pixel_shuffle_upsample

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class TransposedUpsample(Pass):
    """shuffle(W x)  ->  transposed_conv(V, x), with V[c, o, i, j] = W[4o+2i+j, c].

    Both are y[o, 2h+i, 2w+j] = sum_c W[4o+2i+j, c] x[c, h, w].
    """

    name: ClassVar[str] = "transposed-upsample"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(pixel_shuffle_upsample, label="upsample")

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.values("weight")
        inputs = weight.shape[1]
        moved = weight.reshape(-1, 2, 2, inputs).transpose(3, 0, 1, 2)
        operands = [build.input("x"), build.parameter("weight", np.ascontiguousarray(moved))]
        if "bias" in site.constants:
            bias = build.values("bias").reshape(-1, 4)
            if not np.all(bias == bias[:, :1]):  # one bias an output channel is all that a transposed conv has
                shifted = build.op("ConvTranspose", operands, kernel_shape=[2, 2], strides=[2, 2])
                rows, columns = build.shape("output")[2:]
                tile = np.tile(bias.reshape(1, -1, 2, 2), (1, 1, rows // 2, columns // 2))
                return build.add(shifted, build.parameter("bias_plane", tile))
            operands.append(build.parameter("bias", bias[:, 0]))
        return build.op("ConvTranspose", operands, kernel_shape=[2, 2], strides=[2, 2])
