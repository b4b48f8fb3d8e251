"""Ops that move elements: shapes, slices, permutations, padding, depth and space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import torch
import torch.nn.functional as F
from torch import Tensor

from graphopt.nn.operands import Op, OpBuilder, fixed, reader, static_shape, unsupported


def split(node: gs.Node) -> Op:
    axis, count, sizes_of = int(node.attrs.get("axis", 0)), len(node.outputs), reader(node, 1)

    def run(*operands: Tensor | None) -> tuple[Tensor, ...]:
        x, sizes = operands[0], sizes_of(operands)
        assert x is not None
        return torch.split(x, sizes if sizes is not None else math.ceil(x.shape[axis] / count), axis)

    return run


def concat(node: gs.Node) -> Op:
    axis = int(node.attrs["axis"])
    return lambda *parts: torch.cat(parts, axis)


def slice_(node: gs.Node) -> Op:
    starts_of, ends_of, axes_of, steps_of = (reader(node, index) for index in range(1, 5))
    static = static_shape(node.inputs[0])

    def run(*operands: Tensor | None) -> Tensor:
        x, starts, ends, axes, steps = (
            operands[0], starts_of(operands), ends_of(operands), axes_of(operands), steps_of(operands),
        )  # fmt: skip
        assert x is not None
        assert starts is not None
        assert ends is not None
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis = axes[i] if axes else i
            step = steps[i] if steps else 1
            if step < 0:
                chosen = range(*slice(start, None if end < -x.shape[axis] else end, step).indices(x.shape[axis]))
                x = x.index_select(axis, torch.tensor(list(chosen), device=x.device))
                continue
            if static and end >= static[axis]:
                end = x.shape[axis]  # the graph was traced at one size: its own end means the end at any size
            x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
        return x

    return run


def gather(node: gs.Node) -> Op:
    axis, chosen = int(node.attrs.get("axis", 0)), fixed(node, 1)
    if chosen is not None and len(chosen) == 1 and len(node.inputs[1].shape) == 0:
        index = chosen[0]
        return lambda x, _: x.select(axis, index)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        at = axis % x.dim()
        flat = torch.where(indices < 0, indices + x.shape[at], indices).reshape(-1)
        return x.index_select(at, flat).reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])

    return run


def transpose(node: gs.Node) -> Op:
    order = node.attrs.get("perm")
    return lambda x: x.permute(*(order or reversed(range(x.dim()))))


def reshaped_to(static: Sequence[int], target: Sequence[int], actual: Sequence[int]) -> list[int]:
    """`target`, made for an input of shape `static`, carried over to one of shape `actual`.

    Both shapes are cut into the smallest groups of equal size: (1, C, H, 2, W, 2) -> (1, C, 2H, 2W) is 1|1, C|C,
    H*2|2H, W*2|2W. In each group the first axis of the result takes up the change.
    """
    result, i, j = [], 0, 0
    while i < len(static) or j < len(target):
        start_in, start_out = i, j
        size_in, size_out = 1, 1
        while True:
            if size_in <= size_out and i < len(static) and (i == start_in or size_in < size_out):
                size_in, i = size_in * static[i], i + 1
            elif j < len(target):
                size_out, j = size_out * target[j], j + 1
            elif i < len(static):
                size_in, i = size_in * static[i], i + 1
            if (size_in == size_out and j > start_out and i > start_in) or (i == len(static) and j == len(target)):
                break
        real = math.prod(actual[start_in:i])
        group = list(target[start_out:j])
        if group:
            rest = math.prod(group[1:])
            group[0] = real // rest if rest and real % rest == 0 else group[0]
        result += group
    return result


def reshape(node: gs.Node) -> Op:
    target_of, static = reader(node, 1), static_shape(node.inputs[0])
    allow_zero, is_fixed = bool(node.attrs.get("allowzero", 0)), fixed(node, 1) is not None

    def run(*operands: Tensor | None) -> Tensor:
        x, target = operands[0], target_of(operands)
        assert x is not None
        assert target is not None
        if not allow_zero:
            target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
        if is_fixed and static and list(x.shape) != static and x.dim() == len(static):
            given = fixed(node, 1) or []
            whole = [static[i] if size == 0 and not allow_zero else size for i, size in enumerate(given)]
            known = math.prod(size for size in whole if size != -1)
            whole = [math.prod(static) // known if size == -1 else size for size in whole]
            target = reshaped_to(static, whole, x.shape)
        return x.reshape(target)

    return run


def flatten(node: gs.Node) -> Op:
    axis = int(node.attrs.get("axis", 1))
    return lambda x: x.reshape(math.prod(x.shape[: axis if axis >= 0 else x.dim() + axis]), -1)


def squeeze(node: gs.Node) -> Op:
    axes_of = reader(node, 1, "axes")

    def run(*operands: Tensor | None) -> Tensor:
        x, axes = operands[0], axes_of(operands)
        assert x is not None
        return x.squeeze() if axes is None else x.squeeze(axes)

    return run


def unsqueeze(node: gs.Node) -> Op:
    axes_of = reader(node, 1, "axes")

    def run(*operands: Tensor | None) -> Tensor:
        x, axes = operands[0], axes_of(operands) or []
        assert x is not None
        rank = x.dim() + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def expand(node: gs.Node) -> Op:
    target_of, static = reader(node, 1), static_shape(node.inputs[0])

    def run(*operands: Tensor | None) -> Tensor:
        x, target = operands[0], target_of(operands)
        assert x is not None
        assert target is not None
        sizes, lead = list(target), len(target) - x.dim()
        if lead < 0:
            sizes, lead = [1] * -lead + sizes, 0
        for axis, size in enumerate(x.shape):
            if sizes[axis + lead] == 1 or (static and static[axis] == sizes[axis + lead]):
                sizes[axis + lead] = size  # as many as there are: images in the batch, rows, columns
        return x.expand(sizes)

    return run


def tile(node: gs.Node) -> Op:
    repeats_of = reader(node, 1)
    return lambda *operands: operands[0].repeat(repeats_of(operands))


def shape(node: gs.Node) -> Op:
    start, end = node.attrs.get("start", 0), node.attrs.get("end")
    return lambda x: torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


def constant_of_shape(node: gs.Node) -> Op:
    value, shape_of = node.attrs.get("value"), reader(node, 0)
    number = np.zeros(1, np.float32) if value is None else np.asarray(getattr(value, "values", value))
    filling = torch.from_numpy(np.array(number)).reshape(())

    def run(*operands: Tensor | None) -> Tensor:
        return filling.expand(shape_of(operands) or []).clone()

    return run


def _mirror(mode: str, length: int, before: int, after: int) -> list[int]:
    """The source index of every element of an axis padded by reflection, by its edge, or around."""
    positions = np.arange(-before, length + after)
    if mode == "edge":
        return [int(i) for i in np.clip(positions, 0, length - 1)]
    if mode == "wrap":
        return [int(i) for i in positions % length]
    period = max(2 * (length - 1), 1)
    folded = np.abs(positions) % period
    return [int(i) for i in np.minimum(folded, period - folded)]


_TORCH_PAD = {"reflect": "reflect", "edge": "replicate"}


def pad(node: gs.Node) -> Op:
    mode = node.attrs.get("mode", "constant")
    pads_of, value_of, axes_of = reader(node, 1, "pads"), reader(node, 2, "value"), reader(node, 3)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise unsupported(node, f"the padding mode '{mode}'")

    def run(*operands: Tensor | None) -> Tensor:
        x, pads, axes = operands[0], pads_of(operands), axes_of(operands)
        assert x is not None
        assert pads is not None
        rank = x.dim()
        around = [(0, 0)] * rank
        for i, axis in enumerate(axes or range(rank)):
            around[axis] = (pads[i], pads[i + len(pads) // 2])
        if not any(before or after for before, after in around):
            return x
        flat = [size for pair in reversed(around) for size in pair]
        if mode == "constant":
            value: list[Any] = value_of(operands) or [0]
            return F.pad(x, flat, value=value[0])
        spatial = rank == 4 and not any(flat[4:]) and min(flat) >= 0
        if spatial and mode in _TORCH_PAD and max(flat) < min(x.shape[2:]):
            return F.pad(x, flat[:4], mode=_TORCH_PAD[mode])
        for axis, (before, after) in enumerate(around):
            if before or after:
                source = _mirror(mode, x.shape[axis], before, after)
                x = x.index_select(axis, torch.tensor(source, device=x.device))
        return x

    return run


def depth_to_space(node: gs.Node) -> Op:
    block = int(node.attrs["blocksize"])
    if node.attrs.get("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, block)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return run


def space_to_depth(node: gs.Node) -> Op:
    block = int(node.attrs["blocksize"])

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * block**2, h // block, w // block)

    return run


TABLE: dict[str, OpBuilder] = {
    "Split": split,
    "Concat": concat,
    "Slice": slice_,
    "Gather": gather,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Shape": shape,
    "ConstantOfShape": constant_of_shape,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
