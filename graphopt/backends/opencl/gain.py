"""How many times faster one network is than another on a GPU: both under the same draws of what is not known."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.backends.opencl.estimate import network_kernels, timed
from graphopt.cost.cache import CostCache
from graphopt.kernels.doubt import DRAWS, Draws
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress


def drawn_times(
    model: onnx.ModelProto, target: GpuTarget, draws: Draws, cache: CostCache, say: Progress
) -> NDArray[np.float64]:
    """Milliseconds of the whole model under each draw."""
    total = np.zeros(DRAWS)
    for kernel, found in timed(network_kernels(model, target, cache, say), target, cache):
        known = draws.measured(kernel.key, found.bounds) if found.facts is None else draws.times(found.facts)
        total += kernel.calls * known
    return total
