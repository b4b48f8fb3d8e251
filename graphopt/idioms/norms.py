"""The parts of a channel LayerNorm, whichever way the network spells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from graphopt.ir.build import Build
    from graphopt.ir.sites import Site

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LayerNorm:
    """(x - mean) / sqrt(var + epsilon) * scale + shift over channels; scale and shift (1, C, 1, 1)."""

    scale: Array
    shift: Array
    epsilon: float


def layer_norm_at(site: Site, build: Build) -> LayerNorm:
    """The norm at a site of `idioms.channel_layer_norm`. A weight that the network leaves out is 1, a bias 0."""
    channels = build.shape("x")[1]

    def values(role: str, without: float) -> Array:
        found = build.values(role) if role in site.constants else np.full(channels, without, np.float32)
        return found.reshape(1, -1, 1, 1)

    if "eps" in site.constants:
        epsilon = float(build.values("eps").item())
    else:
        epsilon = float(build.attributes("LayerNormalization").get("epsilon", 1e-5))
    return LayerNorm(values("weight", 1), values("bias", 0), epsilon)
