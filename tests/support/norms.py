"""A channel LayerNorm alone, in every spelling that graphs.py can write, and images that suit it."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphs import NORM_CONSTANTS, layer_norm, network, norm_weights

EPSILON = {"decomposed": 1e-6, "transposed": 1e-5}  # ONNX's default
spellings = pytest.mark.parametrize("spelling", list(EPSILON))


def scenes(channels: int = 4, size: tuple[int, int] = (16, 16), count: int = 3) -> list[np.ndarray]:
    """Images in which channels differ in level and spread."""
    random = np.random.default_rng(0)
    level, spread = random.normal(size=(2, 1, channels, 1, 1))
    return [(level + spread * random.normal(size=(1, channels, *size))).astype(np.float32) for _ in range(count)]


SCENES = scenes()


def norm(spelling: str, channels: int = 4, size: tuple[int, int] = (16, 16)) -> gs.Graph:
    """x -> y through the norm `block.0/norm1`."""
    shape = f"float[1, {channels}, {size[0]}, {size[1]}]"
    text = f"({shape} x) => ({shape} y) {{ {layer_norm('x', 'y', 'block.0.norm1', spelling)} }}"
    constants = NORM_CONSTANTS if spelling == "decomposed" else {}
    return network(text, {**constants, **norm_weights("block.0.norm1", channels, spelling)}, seed=5)


def affine(graph: gs.Graph) -> tuple[np.ndarray, np.ndarray]:
    """The norm's scale and shift, (1, C, 1, 1) in double precision."""
    tensors = graph.tensors()
    scale, shift = (np.asarray(tensors[f"block.0.norm1.{part}"].values) for part in ("scale", "shift"))
    return scale.reshape(1, -1, 1, 1).astype(np.float64), shift.reshape(1, -1, 1, 1).astype(np.float64)


def by_channel(images: list[np.ndarray]) -> np.ndarray:
    """All pixels, (n, C)."""
    return np.concatenate([np.moveaxis(image, 1, -1).reshape(-1, image.shape[1]) for image in images])


def over_space() -> gs.Graph:
    """An instance norm, with its statistics over height and width: no pass may take it for a LayerNorm."""
    graph = norm("decomposed")
    axes = next(node.inputs[1] for node in graph.nodes if node.op == "ReduceMean")
    axes.values = np.array([2, 3])
    return graph


def read_inside() -> gs.Graph:
    """A norm whose centred values are a result of the network too: no pass may replace it."""
    graph = norm("decomposed")
    graph.outputs.append(graph.tensors()["y_c"])
    return graph


READ_INSIDE = {"y_c, inside the site, is an output of the graph"}
