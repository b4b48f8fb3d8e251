"""padded-channels: a convolution of three channels = one of four, the last of them empty. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, dense

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def convolution(x: Term) -> Term:
    return conv_of(x)


@dataclass(frozen=True)
class PaddedChannels(Pass):
    """W x + b  ->  [W 0] pad(x) + b, for x of 3 channels.

    For runtimes that copy windows of integers pixel by pixel: four bytes are one word, three are none.
    """

    name: ClassVar[str] = "padded-channels"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(convolution, label="padded", unless=lambda match: dense(match) or _unless(match))

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.values("weight")
        wide = build.like("weight", np.pad(weight, [(0, 0), (0, 1), (0, 0), (0, 0)]))
        bias = build.like("bias", build.values("bias")) if "bias" in site.constants else None
        padded = build.op("Pad", [build.input("x"), build.constant("pads", [0, 0, 0, 0, 0, 1, 0, 0])])
        return build.conv(padded, wide, bias, **build.attributes("Conv"))


def _unless(match: Match) -> str | None:
    shape, window = match.inputs["x"].shape, match.constants["weight"].shape[2:]
    if len(shape) != 4 or shape[1] != 3:
        return f"expected an image of 3 channels, found {tuple(shape)}"
    return None if max(window) > 1 else "expected a window of more than one pixel"
