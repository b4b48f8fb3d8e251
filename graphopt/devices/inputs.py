"""What a bundle is fed with when it is measured: the size that it takes, or that of its tile where it takes any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphopt.bundle.manifest import Manifest, Operand


def input_shapes(manifest: Manifest) -> list[tuple[Operand, list[int]]]:
    """Each input with its shape; what is free in it is the tile's height or width, and 1 elsewhere."""
    height, width = manifest.tile
    return [
        (one, [_length(axis, given, height, width) for axis, given in zip(one.layout, one.shape, strict=True)])
        for one in manifest.inputs
    ]


def measured_size(manifest: Manifest) -> tuple[int, int]:
    """Height and width of the image that the figures are of."""
    one, shape = input_shapes(manifest)[0]
    return shape[one.layout.index("H")], shape[one.layout.index("W")]


def _length(axis: str, given: int | None, height: int, width: int) -> int:
    return given if given is not None else {"H": height, "W": width}.get(axis, 1)
