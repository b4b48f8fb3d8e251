"""What a run keeps of quantising its network to one form of integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Integers:
    """What came of quantising for `targets`, by the `rules` of their device. PSNR in dB, measured by onnxruntime on
    this machine.

    `psnr`: on patches that nothing was fitted to but choices, in `float`, `calibrated`, `trained` where that was asked
    for, and `quantised`, which is deployed: the better one. `psnr_seen`: on those that ranges were found on; `patches`:
    how many of both. `scores`: of each method of finding ranges, and `method` the one that was taken. `in_float`: how
    many nodes of which ops the rules leave in float; `refused`: ops that the quantiser refuses, and why. `wide`: groups
    of layers that stay wider than 8 bits; `wide_gains`: dB of each group alone; `wide_ms`: without and with those.
    `steps`, `history`: of the training. `warning`: of too few images, and what that costs.
    """

    targets: list[str]
    rules: str
    precision: str
    method: str
    scores: dict[str, float]
    psnr: dict[str, float]
    psnr_seen: dict[str, float]
    patches: dict[str, int]
    in_float: dict[str, int]
    refused: dict[str, str]
    wide: list[str]
    wide_gains: dict[str, float]
    wide_ms: tuple[float, float] | None
    steps: int
    history: list[dict[str, Any]]
    warning: str
