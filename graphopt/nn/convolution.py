"""Convolutions, pooling and normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_graphsurgeon as gs
import torch
import torch.nn.functional as F
from torch import Tensor

from graphopt.nn.operands import Op, OpBuilder, unsupported

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class Window:
    """The attributes that convolutions and pools share, for `rank` spatial axes."""

    def __init__(self, node: gs.Node, rank: int):
        attributes = node.attrs
        self.rank = rank
        self.stride = list(attributes.get("strides") or [1] * rank)
        self.dilation = list(attributes.get("dilations") or [1] * rank)
        self.auto = attributes.get("auto_pad", "NOTSET")
        pads = list(attributes.get("pads") or [0] * (2 * rank))
        self.begin, self.end = pads[:rank], pads[rank:]
        if self.auto == "VALID":
            self.begin, self.end = [0] * rank, [0] * rank

    @property
    def native(self) -> bool:
        """True where torch's own padding argument says it all."""
        return self.auto in ("NOTSET", "VALID") and self.begin == self.end

    def pads(self, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
        """Zeros before and after each spatial axis."""
        if self.auto not in ("SAME_UPPER", "SAME_LOWER"):
            return self.begin, self.end
        begin, end = [], []
        for size, k, stride, dilation in zip(sizes, kernel, self.stride, self.dilation, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            begin.append(small if self.auto == "SAME_UPPER" else large)
            end.append(large if self.auto == "SAME_UPPER" else small)
        return begin, end

    def padded(self, x: Tensor, kernel: Sequence[int], value: float = 0.0) -> Tensor:
        begin, end = self.pads(x.shape[2:], kernel)
        if not any(begin) and not any(end):
            return x
        flat = [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]
        return F.pad(x, flat, value=value)


def _rank_of(node: gs.Node, weight: int | None = None) -> int:
    """The number of spatial axes, from the kernel or from the shapes that the graph states."""
    if node.attrs.get("kernel_shape"):
        return len(node.attrs["kernel_shape"])
    tensors = [node.inputs[0]] if weight is None else [node.inputs[weight], node.inputs[0]]
    shapes = [tensor.shape for tensor in tensors if tensor.shape is not None]
    if not shapes:
        raise unsupported(node, "a kernel of unknown rank", "run shape inference on the graph first")
    return len(shapes[0]) - 2


def conv(node: gs.Node) -> Op:
    window = Window(node, _rank_of(node, 1))
    if window.rank not in _CONV:
        raise unsupported(node, f"a convolution over {window.rank} axes")
    function, stride, dilation = _CONV[window.rank], window.stride, window.dilation
    groups = int(node.attrs.get("group", 1))
    if window.native:
        padding = window.begin
        return lambda x, w, b=None: function(x, w, b, stride, padding, dilation, groups)
    return lambda x, w, b=None: function(window.padded(x, w.shape[2:]), w, b, stride, 0, dilation, groups)


def conv_transpose(node: gs.Node) -> Op:
    """Uneven padding, `output_shape` and `auto_pad` are the full result, cropped."""
    window = Window(node, _rank_of(node, 1))
    if window.rank not in _TRANSPOSED:
        raise unsupported(node, f"a transposed convolution over {window.rank} axes")
    function, stride, dilation, rank = _TRANSPOSED[window.rank], window.stride, window.dilation, window.rank
    groups, extra = int(node.attrs.get("group", 1)), list(node.attrs.get("output_padding") or [0] * rank)
    shape = node.attrs.get("output_shape")
    if window.native and not shape:
        padding = window.begin
        return lambda x, w, b=None: function(x, w, b, stride, padding, extra, groups, dilation)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        full = function(x, w, b, stride, 0, extra, groups, dilation)
        for axis in range(rank):
            size = full.shape[axis + 2]
            begin, end = window.begin[axis], window.end[axis]
            if shape or window.auto.startswith("SAME"):
                wanted = shape[axis] if shape else x.shape[axis + 2] * stride[axis]
                surplus = size - wanted
                begin = surplus // 2 if window.auto == "SAME_UPPER" else surplus - surplus // 2
                end = surplus - begin
            full = full.narrow(axis + 2, begin, size - begin - end)
        return full

    return run


def average_pool(node: gs.Node) -> Op:
    window, kernel = Window(node, len(node.attrs["kernel_shape"])), list(node.attrs["kernel_shape"])
    ceil, include = bool(node.attrs.get("ceil_mode", 0)), bool(node.attrs.get("count_include_pad", 0))
    if any(dilation != 1 for dilation in window.dilation) or window.rank not in _AVERAGE:
        raise unsupported(node, "this average pool (dilated, or over more than 3 axes)")
    function, stride = _AVERAGE[window.rank], window.stride
    if window.native and all(2 * pad <= size for pad, size in zip(window.begin, kernel, strict=True)):
        padding = window.begin
        return lambda x: function(x, kernel, stride, padding, ceil, include)

    def run(x: Tensor) -> Tensor:
        pooled = function(window.padded(x, kernel), kernel, stride, 0, ceil)
        if include:
            return pooled
        inside = function(window.padded(x.new_ones(1, 1, *x.shape[2:]), kernel), kernel, stride, 0, ceil)
        return pooled / inside

    return run


def max_pool(node: gs.Node) -> Op:
    window, kernel = Window(node, len(node.attrs["kernel_shape"])), list(node.attrs["kernel_shape"])
    if window.rank not in _MAXIMUM:
        raise unsupported(node, f"a pool over {window.rank} axes")
    function, stride, dilation = _MAXIMUM[window.rank], window.stride, window.dilation
    ceil = bool(node.attrs.get("ceil_mode", 0))
    return lambda x: function(window.padded(x, kernel, -math.inf), kernel, stride, 0, dilation, ceil)


def global_pool(node: gs.Node) -> Op:
    function = torch.mean if node.op == "GlobalAveragePool" else torch.amax
    return lambda x: function(x, list(range(2, x.dim())), True)


def batch_normalization(node: gs.Node) -> Op:
    if node.attrs.get("training_mode", 0):
        raise unsupported(node, "training_mode 1", "export the network in eval mode")
    epsilon = float(node.attrs.get("epsilon", 1e-5))
    return lambda x, weight, bias, mean, var: F.batch_norm(x, mean, var, weight, bias, False, 0.0, epsilon)


def instance_normalization(node: gs.Node) -> Op:
    epsilon = float(node.attrs.get("epsilon", 1e-5))
    return lambda x, weight, bias: F.instance_norm(x, None, None, weight, bias, True, 0.0, epsilon)


def layer_normalization(node: gs.Node) -> Op:
    axis, epsilon = int(node.attrs.get("axis", -1)), float(node.attrs.get("epsilon", 1e-5))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        return F.layer_norm(x, shape, weight.expand(shape), None if bias is None else bias.expand(shape), epsilon)

    return run


TABLE: dict[str, OpBuilder] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
}
