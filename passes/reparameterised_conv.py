"""reparameterised-conv: a convolution trains as a sum of scaled kernels, and is deployed as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from graphopt import Contract, Pass, Stage, Term, pattern
from graphopt.idioms import conv_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site

Branch = Literal["point", "row", "column", "identity"]


@pattern
def convolution(x: Term) -> Term:
    return conv_of(x)


@dataclass(frozen=True)
class ReparameterisedConv(Pass):
    """conv(x, W)  ->  conv(x, s K + s1 K1 + s2 K2 + ... + s_id I), collapsed after training into one kernel again.

    K is of the size of W; the branches are a 1x1 kernel (`point`), 1 x k (`row`), k x 1 (`column`) in its middle, and,
    where input and output have the same channels, the identity; s are scales of the output channels. Branches: RepVGG
    (arXiv 2101.03697) and ACNet (arXiv 1908.03930). Kernels are added, not images, with scales in place of batch norms,
    as in OREPA (arXiv 2204.00826): training costs one convolution. Each tap of W is shared out evenly at the start, so
    that nothing changes; gradients do, since the branches share taps and each has scales of its own.
    """

    name: ClassVar[str] = "reparameterised-conv"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.TRAIN

    branches: tuple[Branch, ...] = ("point", "row", "column", "identity")

    def __post_init__(self) -> None:
        if not self.branches or len(set(self.branches)) < len(self.branches):
            found = ", ".join(self.branches) or "none"
            raise ValueError(f"option 'branches' names {found}; expected at least one, each once")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            weight = match.constants["weight"]
            kernel = weight.values.shape[2:]
            if len(kernel) != 2 or any(size % 2 == 0 for size in kernel):
                return f"expected a kernel with a middle, found {'x'.join(map(str, kernel))}"
            if any(len(constant.outputs) > 1 for constant in match.constants.values()):
                return "its weights are used elsewhere too, and would train apart"
            if not self._branches_of(weight.values.shape, int(match.anchor.attrs.get("group", 1))):
                return f"none of the branches {', '.join(self.branches)} differs from its kernel"
            return None

        return graph.find(convolution, label="conv", unless=misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        weight, attributes = build.values("weight"), build.attributes("Conv")
        (outputs, inputs, height, width), groups = weight.shape, int(attributes.get("group", 1))
        sizes = {"point": (1, 1), "row": (1, width), "column": (height, 1)}
        eye, channels = np.zeros_like(weight), np.arange(outputs)
        eye[channels, channels % inputs, height // 2, width // 2] = 1
        covered, branches = np.ones_like(weight), self._branches_of(weight.shape, groups)
        margins = {name: ((height - sizes[name][0]) // 2, (width - sizes[name][1]) // 2) for name in sizes}
        places = {
            name: (slice(None), slice(None), slice(top, height - top), slice(left, width - left))
            for name, (top, left) in margins.items()
        }
        for branch in branches:
            if branch == "identity":
                covered += eye
            else:
                covered[places[branch]] += 1
        share = weight / covered

        def scaled(name: str, kernel: object) -> object:
            return build.mul(build.parameter(f"{name}_scale", np.ones((outputs, 1, 1, 1))), kernel)

        total = scaled("main", build.parameter("main", share))
        for branch in branches:
            if branch == "identity":
                diagonal = (share * eye).sum(axis=(1, 2, 3)).reshape(-1, 1, 1, 1)
                total = build.add(total, build.mul(build.parameter("identity_scale", diagonal), eye))
            else:
                pads = build.constant("pads", [0, 0, *margins[branch]] * 2)
                kernel = build.parameter(branch, share[places[branch]])
                total = build.add(total, build.op("Pad", [scaled(branch, kernel), pads]))
        bias = [build.parameter("bias", build.values("bias"))] if "bias" in site.constants else []
        return build.op("Conv", [build.input("x"), total, *bias], **attributes)

    def _branches_of(self, shape: tuple[int, ...], groups: int) -> list[Branch]:
        """Those of the branches that a weight (O, I / groups, kh, kw) has room for."""
        outputs, inputs, height, width = shape
        fits = {
            "point": height * width > 1,
            "row": height > 1 and width > 1,
            "column": height > 1 and width > 1,
            "identity": outputs == inputs * groups,
        }
        return [branch for branch in self.branches if fits[branch]]
