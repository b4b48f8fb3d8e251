"""affine-norm: channel LayerNorm -> a scale and a shift for each channel, which fold into the next convolution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site, TrainingBuild


@dataclass(frozen=True)
class AffineNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  x * s + t, with s, t the least-squares fit on calibration images.

    Without the norm, the products of gates can grow without bound: list `bounded-gate` beside it. The idea of a norm
    that becomes foldable is PRepBN's (SLAB, arXiv 2405.11582), with its blend as an option: while it is fine-tuned,
    y = lambda LN(x) + (1 - lambda) (x * s + t), lambda falling linearly from 1 to 0 over the share `blend` of the
    steps. PRepBN's further term a * x is part of s. 0, the default, trains the affine alone, which starts from its fit
    and not, as PRepBN's, from scratch: in trials of 300 steps on NAFNet a blend never ended higher, and at times lower.
    """

    name: ClassVar[str] = "affine-norm"
    contract: ClassVar[Contract] = Contract.TUNED

    blend: float = 0.0  # share of the fine-tuning during which the norm fades out

    def __post_init__(self) -> None:
        if not 0 <= self.blend <= 1:
            raise ValueError(f"option 'blend' is {self.blend}; expected a number from 0 to 1")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        scale, shift = build.statistics.affine_fit("x", "output")
        shape = (1, -1, 1, 1)
        scaled = build.mul(build.input("x"), build.parameter("scale", scale.reshape(shape)))
        return build.add(scaled, build.parameter("shift", shift.reshape(shape)))

    def training(self, site: Site, build: TrainingBuild) -> object:
        return build.fade(build.original(), build.rewritten(), self.blend) if self.blend else None
