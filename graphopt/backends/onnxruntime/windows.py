"""How many windows of a convolution or a pool fit into an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def windows(size: Sequence[int], options: Mapping[str, Any]) -> tuple[int, ...]:
    """Height and width of what is made of an image of `size`; `options`: the attributes of the node."""
    kernel, strides = options["kernel_shape"], options.get("strides", (1, 1))
    pads, dilations = options.get("pads", (0, 0, 0, 0)), options.get("dilations", (1, 1))
    reach = [size[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1 for i in (0, 1)]
    return tuple(reach[i] // strides[i] + 1 for i in (0, 1))
