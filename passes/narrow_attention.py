"""narrow-attention: the 1x1 convolution of channel attention in two thin ones, or in groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import channel_attention, check_share, count_of, low_rank, response_to

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class NarrowAttention(Pass):
    """x * (W pool(x) + b)  ->  x * (V pool(x) + b + (W - V) mean(x)), where V is a part of W:

    - low-rank: V = A B with r = share * channels rows in B, the best such by SVD;
    - grouped: V = the blocks on W's diagonal, 1 / share of them.

    The bias holds the attention at its mean over the calibration images.
    """

    name: ClassVar[str] = "narrow-attention"
    contract: ClassVar[Contract] = Contract.TUNED

    form: Literal["low-rank", "grouped"] = "low-rank"
    share: float = 0.25

    def __post_init__(self) -> None:
        check_share(self.share)

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            outputs, inputs, *kernel = match.constants["weight"].values.shape
            if outputs != inputs or kernel != [1, 1]:
                return f"expected an attention of 1x1 with as many outputs as inputs, found {outputs}x{inputs} {kernel}"
            if self.form == "grouped" and inputs % self._groups:
                return f"{inputs} channels do not fall into {self._groups} groups"
            if self.form == "low-rank" and 2 * count_of(inputs, self.share) >= inputs:
                return f"rank {count_of(inputs, self.share)} of {inputs} channels saves nothing"
            return None

        return graph.find(channel_attention, label="attention", unless=misfit)

    @property
    def _groups(self) -> int:
        return max(2, round(1 / self.share))

    def rewrite(self, site: Site, build: Build) -> object:
        x, weight = build.input("x"), build.values("weight")
        width = len(weight)
        pooled = build.mean(x, [2, 3])
        if self.form == "low-rank":
            left, right = low_rank(weight[:, :, 0, 0], np.eye(width, dtype=np.float32), count_of(width, self.share))
            kept = left @ right
            pooled = build.conv(pooled, build.parameter("squeeze", right[:, :, None, None]))
            narrow, group = left[:, :, None, None], 1
        else:
            blocks = np.kron(np.eye(self._groups), np.ones((width // self._groups,) * 2))
            kept, group = weight[:, :, 0, 0] * blocks, self._groups
            narrow = np.stack([row[mask > 0] for row, mask in zip(kept, blocks, strict=True)])[:, :, None, None]
        bias = response_to(build.statistics.mean("x"), weight - kept[:, :, None, None])
        if "bias" in site.constants:
            bias = bias + build.values("bias")
        return build.mul(
            x, build.conv(pooled, build.parameter("weight", narrow), build.parameter("bias", bias), group=group)
        )
