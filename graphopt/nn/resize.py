"""Resize: torch's own kernels where they mean the same, one weighted sum of taps along each axis otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from graphopt.nn.operands import Op, reader, static_shape, unsupported

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
_ROUNDING: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_TORCH_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def coordinates(kind: str, size: int, scaled: int, ratio: float) -> NDArray[Any]:
    """Where each of `scaled` results lies on an axis of `size` elements, as the ONNX text defines it."""
    x, scale = np.arange(scaled, dtype=np.float32), np.float32(ratio)  # ties fall as they do in onnxruntime's fp32
    if kind == "asymmetric":
        return x / scale
    if kind == "align_corners":
        return x * np.float32(size - 1) / np.float32(scaled - 1) if scaled > 1 else np.zeros(1)
    if kind == "pytorch_half_pixel" and scaled == 1:
        return np.zeros(1)
    return (x + np.float32(0.5)) / scale - np.float32(0.5)


def taps(mode: str, at: NDArray[Any], rounding: str, a: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Source indices and weights, both (results, taps)."""
    if mode == "nearest":
        return _ROUNDING[rounding](at)[:, None], np.ones((len(at), 1))
    low = np.floor(at)
    t = at - low
    if mode == "linear":
        return np.stack([low, low + 1], 1), np.stack([1 - t, t], 1)

    def near(d: NDArray[Any]) -> NDArray[Any]:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: NDArray[Any]) -> NDArray[Any]:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([low - 1, low, low + 1, low + 2], 1), np.stack([far(t + 1), near(t), near(1 - t), far(2 - t)], 1)


def _along(x: Tensor, axis: int, indices: NDArray[Any], weights: NDArray[Any]) -> Tensor:
    indices = np.clip(indices, 0, x.shape[axis] - 1).astype(np.int64)
    side = [1] * x.dim()
    side[axis] = -1
    parts = []
    for tap in range(indices.shape[1]):
        part = x.index_select(axis, torch.from_numpy(indices[:, tap].copy()).to(x.device))
        weight = weights[:, tap]
        parts.append(part if np.all(weight == 1) else part * torch.from_numpy(weight).to(x).reshape(side))
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def resize(node: gs.Node) -> Op:
    attributes = node.attrs
    mode, kind = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding, a = attributes.get("nearest_mode", "round_prefer_floor"), float(attributes.get("cubic_coeff_a", -0.75))
    if mode not in ("nearest", "linear", "cubic") or kind not in _COORDINATES:
        raise unsupported(node, f"mode '{mode}' with coordinates '{kind}'", f"use one of {', '.join(_COORDINATES)}")
    for option in ("antialias", "exclude_outside"):
        if attributes.get(option, 0):
            raise unsupported(node, f"{option} 1")
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise unsupported(node, "keep_aspect_ratio_policy", "state the sizes themselves")
    scales_of, sizes_of, axes = reader(node, 2), reader(node, 3), attributes.get("axes")
    static = static_shape(node.inputs[0])

    def native(x: Tensor, sizes: list[int], scales: list[float]) -> Tensor | None:
        """The result by a kernel of torch, where it is the same function."""
        exact = all(size == old * scale for size, old, scale in zip(sizes, x.shape, scales, strict=True))
        if x.dim() != 4 or list(x.shape[:2]) != sizes[:2] or not exact:
            return None
        if mode == "nearest":
            whole = all(scale == int(scale) for scale in scales)
            same = (kind == "asymmetric" and rounding == "floor") or (
                kind in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round") and min(sizes[2:]) > 1
            )
            return F.interpolate(x, sizes[2:], mode="nearest") if whole and same else None
        half = kind == "half_pixel" or (kind == "pytorch_half_pixel" and min(sizes[2:]) > 1)
        if (half or kind == "align_corners") and (mode == "linear" or a == -0.75):
            return F.interpolate(x, sizes[2:], mode=_TORCH_MODES[mode], align_corners=kind == "align_corners")
        return None

    def run(*operands: Tensor | None) -> Tensor:
        x, given_scales, given_sizes = operands[0], scales_of(operands), sizes_of(operands)
        assert x is not None
        named = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
        scales, sizes = [1.0] * x.dim(), list(x.shape)
        for i, axis in enumerate(named):
            if given_scales:
                scales[axis] = given_scales[i]
                sizes[axis] = int(np.floor(np.float32(x.shape[axis]) * np.float32(given_scales[i])))
            elif given_sizes:
                traced = static[axis] if static else x.shape[axis]
                sizes[axis] = given_sizes[i] * x.shape[axis] // traced  # the same ratio at another image size
                scales[axis] = sizes[axis] / x.shape[axis]
        fast = native(x, sizes, scales)
        if fast is not None:
            return fast
        for axis in range(x.dim()):
            if scales[axis] != 1.0:
                at = coordinates(kind, x.shape[axis], sizes[axis], scales[axis])
                x = _along(x, axis, *taps(mode, at, rounding, a))
        return x

    return run
