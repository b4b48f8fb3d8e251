"""fold-affine: scales and shifts for each channel become part of the convolution beside them. Exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Stage, op, pattern, per_channel
from graphopt.ir.idioms import conv_of
from graphopt.ir.patterns import Term

if TYPE_CHECKING:
    from graphopt.ir.build import Build
    from graphopt.ir.matcher import Match
    from graphopt.ir.sites import Site
    from graphopt.ir.view import GraphView

Array = NDArray[np.float32]


@pattern
def scale_after(x: Term) -> Term:
    return op.Mul(conv_of(x), per_channel("scale_after"))


@pattern
def shift_after(x: Term) -> Term:
    return op.Add(conv_of(x), per_channel("shift_after"))


@pattern
def scale_before(x: Term) -> Term:
    return conv_of(op.Mul(x, per_channel("scale_before")))


@pattern
def shift_before(x: Term) -> Term:
    return conv_of(op.Add(x, per_channel("shift_before")))


@pattern
def scale_twice(x: Term) -> Term:
    return op.Mul(op.Mul(x, per_channel("first_scale")), per_channel("second_scale"))


@dataclass(frozen=True)
class FoldAffine(Pass):
    """Five cases, with w, b the weight (O, I/g, k, k) and bias of the convolution and s, t for each channel:

    1. (w * x + b) s  ->  (s w) * x + s b
    2. (w * x + b) + t  ->  w * x + (b + t)
    3. w * (s x) + b  ->  (w s) * x + b
    4. w * (x + t) + b  ->  w * x + (b + sum w t), refused where zero padding would not see t
    5. (x s1) s2  ->  x (s1 s2)
    """

    name: ClassVar[str] = "fold-affine"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.CLEANUP

    def sites(self, graph: GraphView) -> Iterator[Site]:
        taken: set[str] = set()
        for rule, unless in (
            (scale_after, None), (shift_after, None), (shift_before, _padded), (scale_before, None), (scale_twice, None),
        ):  # fmt: skip
            for site in graph.find(rule, unless=unless):
                if not taken & set(site.nodes):  # the others come in the next round
                    taken |= set(site.nodes)
                    yield site

    def rewrite(self, site: Site, build: Build) -> object:
        x, constants = build.input("x"), site.constants
        if "first_scale" in constants:
            return build.mul(x, build.parameter("scale", build.values("first_scale") * build.values("second_scale")))
        attributes = build.attributes("Conv")
        weight = build.values("weight")
        bias = build.values("bias") if "bias" in constants else np.zeros(len(weight), np.float32)
        if "scale_after" in constants:
            scale = build.values("scale_after").reshape(-1)
            weight, bias = weight * scale[:, None, None, None], bias * scale
        elif "shift_after" in constants:
            bias = bias + build.values("shift_after").reshape(-1)
        elif "scale_before" in constants:
            weight = weight * _by_input(build.values("scale_before"), weight, attributes)
        else:
            bias = bias + (weight * _by_input(build.values("shift_before"), weight, attributes)).sum(axis=(1, 2, 3))
        bias_needed = "bias" in constants or bool(np.any(bias))
        return build.conv(
            x, build.parameter("weight", weight), build.parameter("bias", bias) if bias_needed else None, **attributes
        )


def _by_input(values: Array, weight: Array, attributes: dict[str, object]) -> Array:
    """A value for each input channel, laid out to multiply `weight` (O, I/g, k, k)."""
    groups = int(str(attributes.get("group", 1)))
    inputs = values.reshape(groups, -1)  # (g, I/g)
    return np.repeat(inputs, len(weight) // groups, axis=0)[:, :, None, None]


def _padded(match: Match) -> str | None:
    pads: Iterable[int] = match.anchor.attrs.get("pads", [0])
    automatic = match.anchor.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return "the shift before it cannot fold: zero padding would not see it" if any(pads) or automatic else None
