"""Single layers on images of 8 channels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from graphs import network, random_image

IMAGES = [random_image(1, 8, 12, 10, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
FLAT = np.ones((1, 8, 12, 10), np.float32) * np.linspace(-1, 2, 8, dtype=np.float32).reshape(1, 8, 1, 1)
SIGNATURE = "(float[1, 8, 12, 10] x) => (float[1, {}, {}, {}] y)"
X_TO_Y = SIGNATURE.format(8, 12, 10)


def middle(image: np.ndarray, border: int = 2) -> np.ndarray:
    """Without what the padding reaches."""
    return image[:, :, border:-border, border:-border]


def attention(
    weight: Any = (8, 8, 1, 1), pool: str = "GlobalAveragePool(x)", bias: bool = True, mul: str = "a, x"
) -> gs.Graph:
    """x * conv1x1(pool(x)), of the module b.0."""
    kind = re.match(r"\w+", pool)[0].lower()  # type: ignore[index]
    text = f"""{X_TO_Y} {{
        ["b.0/{kind}"] p = {pool} ["b.0/conv"] a = Conv(p, w{", bias" if bias else ""}) ["b.0/mul"] y = Mul({mul}) }}"""
    return network(text, {"w": weight, "bias": (8,), "axes": np.array([2, 3])})


def dense(weight: Any, attributes: str = "pads = [1, 1, 1, 1]", outputs: int = 6, bias: bool = True) -> gs.Graph:
    """A convolution of 8 channels."""
    text = f"{SIGNATURE.format(outputs, 12, 10)} {{ y = Conv<{attributes}>(x, w{', b' if bias else ''}) }}"
    return network(text, {"w": weight, "b": (outputs,)})


def down(kernel: int, attributes: str, bias: bool = True, size: tuple[int, int] = (12, 10), group: int = 1) -> gs.Graph:
    """A convolution with stride 2, 8 -> 4 channels."""
    height, width = size
    text = f"""(float[1, 8, {height}, {width}] x) => (float[1, 4, {height // 2}, {width // 2}] y) {{
        ["downs.0/conv"] y = Conv<strides = [2, 2], group = {group}{attributes}>(x, w{", b" if bias else ""}) }}"""
    return network(text, {"w": (4, 8 // group, kernel, kernel), "b": (4,)})


def up(weight: Any = (12, 8, 1, 1), attributes: str = "", bias: Any = True) -> gs.Graph:
    """A convolution and a PixelShuffle, 8 -> 3 channels; `bias` may be its 12 values."""
    text = f"""(float[1, 8, 12, 10] x) => (float[1, 3, 24, 20] y) {{
        ["ups.0/conv"] a = Conv{attributes}(x, w{", b" if bias is not False else ""})
        ["ups.0/depthtospace"] y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }}"""
    return network(text, {"w": weight, "b": (12,) if isinstance(bias, bool) else bias})


UP_BIASES = {"none": False, "one for each channel": np.repeat([0.5, -1, 2], 4), "one for each sub-pixel": True}
OTHER_UPSAMPLING = [
    'a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "DCR">(a)',
    "a = Conv(x, w) y = DepthToSpace<blocksize = 2>(a)",  # DCR is ONNX's default
    'a = Conv<pads = [1, 1, 1, 1]>(x, w3) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
    'b = Resize(x,, twice) a = Conv<strides = [2, 2]>(b, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
    'a = Conv<group = 2>(x, w2) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
]


def other_upsampling(text: str) -> gs.Graph:
    """One of OTHER_UPSAMPLING, which are no 1x1 convolution and PixelShuffle of 2."""
    twice = np.array([1, 1, 2, 2], np.float32)
    weights = {"w": (12, 8, 1, 1), "w3": (12, 8, 3, 3), "w2": (12, 4, 1, 1), "twice": twice}
    return network(f"(float[1, 8, 12, 10] x) => (float[1, 3, 24, 20] y) {{ {text} }}", weights)
