"""list-conv: a dense k x k convolution as a LIST module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, dense, keeps_size, list_module

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


def odd(kernel: tuple[int, ...]) -> bool:
    """an odd square kernel larger than 1x1"""
    return len(kernel) == 2 and kernel[0] == kernel[1] > 1 and kernel[0] % 2 == 1


@pattern
def square_conv(x: Term) -> Term:
    return conv_of(x, strides=(1, 1), dilations=(1, 1), kernel_shape=odd)


@dataclass(frozen=True)
class ListConv(Pass):
    """W * x + b  ->  [P s, Q dw(s)] + b + e, with s = B x on a quarter of the channels.

    The LIST module of Lahiri et al. (arXiv 2007.05835): 16.8 times fewer products for 3x3 at 64 -> 64 channels.
    P and Q are 1x1 and give half of the outputs each. Start: A B is W at rank inputs / 4, fitted to the calibration
    images; P is the least-squares fit of the outputs there; dw and Q are the best rank-1 fit of A[second half] for
    each channel of s; e keeps the mean.
    """

    name: ClassVar[str] = "list-conv"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            outputs, inputs = match.constants["weight"].values.shape[:2]
            if not (reason := dense(match) or keeps_size(match)) and (inputs < 4 or outputs < 2):
                return f"expected 4 inputs and 2 outputs or more, found {inputs} and {outputs}"
            return reason

        return graph.find(square_conv, label="conv", unless=misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        bias = build.values("bias") if "bias" in site.constants else None
        samples, results = (build.statistics.samples(role) for role in ("x", "output"))
        return list_module(build, build.input("x"), build.values("weight"), bias, samples, results)
