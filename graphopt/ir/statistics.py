"""What calibration images say of a graph's tensors: paired samples, and the statistics that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.session import OnnxSession
from graphopt.ir.sites import Site

Array = NDArray[np.float32]
POSITIONS = 512  # pixels sampled from each image; the same ones for all tensors of one size


@dataclass(frozen=True)
class Statistics:
    """For each tensor, samples (n, C) over images and pixels; tensors of one size are sampled at the same pixels."""

    samples: dict[str, Array]

    def of(self, tensor: str) -> Array:
        if tensor not in self.samples:
            raise GraphoptError(f"no statistics were collected for tensor {tensor}")
        return self.samples[tensor]


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics by the names that the pattern gave: inputs, captures, and `output`. Arrays have the shape (C,)."""

    statistics: Statistics
    site: Site

    def samples(self, role: str) -> Array:
        """(n, C) values, paired between tensors of one size."""
        return self.statistics.of(self.site.tensor(role))

    def mean(self, role: str) -> Array:
        return self.samples(role).mean(axis=0)

    def variance(self, role: str) -> Array:
        return self.samples(role).var(axis=0)

    def quantiles(self, role: str, low: float, high: float) -> tuple[float, float]:
        """Two quantiles over the whole tensor."""
        found = np.quantile(self.samples(role), [low, high])
        return float(found[0]), float(found[1])

    def channel_quantiles(self, role: str, low: float, high: float) -> tuple[Array, Array]:
        """Two quantiles of each channel."""
        found = np.quantile(self.samples(role), [low, high], axis=0).astype(np.float32)
        return found[0], found[1]

    def affine_fit(self, source: str | Array, result: str | Array) -> tuple[Array, Array]:
        """scale, shift of the least-squares fit result = scale * source + shift, for each channel.

        Each is a name, or samples (n, C) that were computed from those of one.
        """
        x, y = (self.samples(a) if isinstance(a, str) else a for a in (source, result))
        return _line_through(x.astype(np.float64), y.astype(np.float64))


def collect(graph: gs.Graph, sites: Iterable[Site], images: Sequence[Array], threads: int = 0) -> Statistics:
    """Runs the graph on `images`, each (1, C, H, W) as the graph's input, and samples the tensors that sites name."""
    tensors = graph.tensors()
    wanted = {
        name for site in sites for name in (*site.inputs.values(), *site.captures.values(), *site.outputs.values())
    }
    names = sorted(name for name in wanted if isinstance(tensors[name], gs.Variable))
    inputs = {tensor.name for tensor in graph.inputs}
    session = OnnxSession(to_model(graph), [name for name in names if name not in inputs], threads)
    computed = [name for name in names if name not in inputs]
    gathered: dict[str, list[Array]] = {name: [] for name in names}
    for image in images:
        values = dict(zip(computed, session.run_named({session.inputs[0]: image}, computed), strict=True))
        for name in names:
            gathered[name].append(_sample(values.get(name, image)))
    return Statistics({name: np.concatenate(parts) for name, parts in gathered.items()})


def _sample(value: Array) -> Array:
    """(N, C, ...) -> (n, C): every pixel of a small tensor, a fixed random choice of a large one's."""
    rows = np.moveaxis(value, 1, -1).reshape(-1, value.shape[1]) if value.ndim > 1 else value.reshape(-1, 1)
    if len(rows) <= POSITIONS:
        return np.ascontiguousarray(rows)
    return rows[np.random.default_rng(len(rows)).choice(len(rows), POSITIONS, replace=False)]


def _line_through(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Array, Array]:
    centred = x - x.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    scale = (centred * y).mean(axis=0) / np.maximum(variance, 1e-12)
    shift = y.mean(axis=0) - scale * x.mean(axis=0)
    return scale.astype(np.float32), shift.astype(np.float32)
