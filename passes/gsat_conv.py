"""gsat-conv: a dilated convolution as a grouped one, a channel shuffle and a grouped 1x1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, dense, keeps_size, response_to

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


def dilated(dilations: tuple[int, ...]) -> bool:
    """dilations above 1"""
    return len(dilations) == 2 and max(dilations) > 1


@pattern
def dilated_conv(x: Term) -> Term:
    return conv_of(x, strides=(1, 1), dilations=dilated)


@dataclass(frozen=True)
class GsatConv(Pass):
    """W * x + b  ->  G2 shuffle(G1 * x) + b + e, with G1 dilated as W is, and both in g groups.

    The GSAT module of Lahiri et al. (arXiv 2007.05835) without its norm, skip and ReLU, which stay as the network has
    them. Output p of the shuffle comes from group p mod g: G1 starts as the weights of W that such a group sees, G2 as
    the identity, and e keeps the mean over the calibration images.
    """

    name: ClassVar[str] = "gsat-conv"
    contract: ClassVar[Contract] = Contract.TUNED

    groups: int = 8

    def __post_init__(self) -> None:
        if self.groups < 2:
            raise ValueError(f"option 'groups' is {self.groups}; expected 2 or more")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            outputs, inputs = match.constants["weight"].values.shape[:2]
            uneven = inputs % self.groups or outputs % self.groups or inputs == self.groups == outputs
            if not (reason := dense(match) or keeps_size(match)) and uneven:
                return (
                    f"expected several channels in each of {self.groups} groups, found {inputs} and {outputs} channels"
                )
            return reason

        return graph.find(dilated_conv, label="dilated", unless=misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        weight, g = build.values("weight"), self.groups
        outputs, inputs = weight.shape[:2]
        each, seen = outputs // g, inputs // g
        group = np.arange(outputs) % g  # of the output after the shuffle
        mask = group[:, None] == np.arange(inputs) // seen
        bias = response_to(build.statistics.mean("x"), weight * ~mask[:, :, None, None])
        if "bias" in site.constants:
            bias = bias + build.values("bias")
        before = np.arange(outputs).reshape(each, g).T.reshape(-1)  # the outputs in the order before the shuffle
        grouped = np.stack([weight[p, group[p] * seen : (group[p] + 1) * seen] for p in before])
        x = build.conv(
            build.input("x"), build.parameter("grouped", grouped), **{**build.attributes("Conv"), "group": g}
        )
        size = build.shape("output")
        x = build.reshape(x, [size[0], g, each, *size[2:]])
        x = build.reshape(build.transpose(x, [0, 2, 1, 3, 4]), size)
        mix = np.tile(np.eye(each, dtype=np.float32), (g, 1))[:, :, None, None]
        return build.conv(x, build.parameter("mix", mix), build.parameter("bias", bias), group=g)
