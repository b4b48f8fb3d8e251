"""Restores whole images with the artefact of a bundle, by the tiles that its manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.bundle.bundle import Bundle
from graphopt.bundle.manifest import Manifest
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent
from graphopt.train.tiling import by_tiles

Planes = NDArray[np.float32]


def open_bundle(
    folder: Path, cache: CostCache, tile: int | None = None, channels: int = 3, say: Progress = silent
) -> Callable[[Planes], Planes]:
    """A function from noisy to restored images, (`channels`, H, W) in [0, 1], of any size.

    What is not a whole number of strides, or smaller than an artefact of one size, is mirrored below and at the right;
    what is larger than a tile goes through by tiles. `tile`: another side for them, where sizes are free.

    Raises:
        GraphoptError: no bundle, a file that was changed, an artefact of another device, or other images.
    """
    bundle = Bundle.open(folder)
    manifest, backend = bundle.manifest, bundle.backend(cache)
    if not backend.runs_here:
        raise GraphoptError(f"{folder}: its artefact does not run on this machine: {backend.elsewhere}")
    found = manifest.inputs[0].shape[manifest.inputs[0].layout.index("C")]
    if len(manifest.inputs) != 1 or found != channels:
        raise GraphoptError(
            f"{folder}: expected one input of {channels} channels, found {len(manifest.inputs)} of {found}"
        )
    given, made = (dict(zip(end.layout, end.shape, strict=True)) for end in (manifest.inputs[0], manifest.outputs[0]))
    if given != made:
        raise GraphoptError(f"{folder}: turns {given} to {made}; expected a network that keeps the shape of its image")
    size, stride = _tile(folder, manifest, tile), manifest.stride or 1
    loaded, dtype = backend.load(bundle.artefact), manifest.inputs[0].dtype

    def run(image: Planes) -> Planes:
        restored: Planes = loaded([image[None].astype(dtype)])[0][0].astype(np.float32)
        return restored

    def restore(noisy: Planes) -> Planes:
        height, width = noisy.shape[1:]
        least = (1, 1) if manifest.size is None else size
        sides = (max(side + -side % stride, low) for side, low in zip((height, width), least, strict=True))
        mirrored = _mirrored(noisy, *sides)
        tiles = min(size[0], mirrored.shape[1]), min(size[1], mirrored.shape[2])
        return by_tiles(run, mirrored, tiles, manifest.overlap, stride, say)[:, :height, :width]

    return restore


def _tile(folder: Path, manifest: Manifest, asked: int | None) -> tuple[int, int]:
    """Height and width of the tiles."""
    if asked is None:
        return manifest.tile
    stride = manifest.stride or 1
    if manifest.size is not None and manifest.size != (asked, asked):
        height, width = manifest.size
        raise GraphoptError(f"{folder}: its artefact takes {height}x{width} (height x width) alone; leave out --tile")
    if asked % stride:
        raise GraphoptError(f"{folder}: tiles of {asked} pixels; its stride, {stride}, must divide them")
    return asked, asked


def _mirrored(image: Planes, height: int, width: int) -> Planes:
    missing: list[Any] = [(0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])]
    return np.pad(image, missing, mode="symmetric") if any(after for _, after in missing) else image
