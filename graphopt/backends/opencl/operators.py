"""Single operators: the kernels that TVM's templates make of each, and their price.

They are those of TVM's TopHub: operators that AutoTVM tuned and timed. Each of its templates runs more than the
operator itself (texture copies, packing, Winograd's transforms), and the time in a row is that of all of it.
`docs/costs.md` says what the columns mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from graphopt.kernels.model import KernelFacts, price
from graphopt.kernels.target import GpuTarget, KernelKind

Storage = Literal["texture", "buffer"]

TASKS = ("conv2d", "conv2d_transpose", "depthwise_conv2d", "group_conv2d", "dense")
_BYTES = {"float16": 2, "float32": 4}

# apache/tvm, python/tvm/topi/adreno: outputs of texture convolutions are padded to multiples of 4 rows and columns
# (utils.expand_spatial_dimensions), dense_small_batch gives 64 threads to each sum; Winograd makes tiles of 4 x 4 where
# the height is a multiple of 8, on Mali of 4 (topi/mali/conv2d._pick_tile_size), and of 2 x 2 elsewhere.
_TEXTURE_STEP = 4
_DENSE_THREADS = 64
_LARGE_TILE = {"adreno": 8, "mali": 4}


@dataclass(frozen=True)
class Operator:
    """One convolution or matrix product. `height` and `width` are the input's, `rows` and `columns` the output's."""

    task: str
    dtype: Literal["float16", "float32"]
    batch: int
    channels: int
    height: int
    width: int
    filters: int
    window: tuple[int, int]
    stride: int
    groups: int
    rows: int
    columns: int

    @property
    def family(self) -> str:
        """`conv2d`, `conv2d_transpose`, `depthwise_conv2d`, `group_conv2d` or `dense`."""
        return max((task for task in TASKS if self.task.startswith(task)), key=len)

    @property
    def reduction(self) -> int:
        return self.channels // self.groups * self.window[0] * self.window[1]

    @property
    def inputs(self) -> int:
        return self.batch * self.channels * self.height * self.width

    @property
    def weights(self) -> int:
        return self.filters * self.reduction

    @property
    def outputs(self) -> int:
        return self.batch * self.filters * self.rows * self.columns


def operator_price(operator: Operator, target: GpuTarget) -> tuple[float, float, float]:
    """Microseconds of all kernels of an operator, in the operator's dtype: middle, low, high."""
    device = target.with_precision("fp16" if operator.dtype == "float16" else "fp32")
    bounds = [price(kernel, device) for kernel in operator_kernels(operator, target)]
    middle, low, high = (1e3 * math.fsum(column) for column in zip(*bounds, strict=True))
    return middle, low, high


def operator_kernels(operator: Operator, target: GpuTarget) -> list[KernelFacts]:
    """The kernels that TVM's template for the target's device runs for an operator."""
    make = _adreno if target.device == "adreno" else _mali
    return list(make(operator, int(target.fact("vector_width"))))


def _adreno(operator: Operator, vector: int) -> Iterator[KernelFacts]:
    """Image and weights are copied to textures, where the template reads textures; channels come in vectors."""
    filters, channels = _up(operator.filters, vector), _up(operator.channels, vector)
    if operator.family == "dense":
        # groups of threads share a sum: each output is split, and its row of weights is read once
        yield _contraction(operator, "pointwise", "texture", outputs=operator.outputs * _DENSE_THREADS)
    elif "winograd" in operator.task:
        yield from _winograd(operator, filters, channels, texture=True)
    elif ".image2d" not in operator.task:
        yield _contraction(operator, _kind(operator), "buffer")
    else:
        rows, columns = _up(operator.rows, _TEXTURE_STEP), _up(operator.columns, _TEXTURE_STEP)
        reduction = operator.reduction
        if operator.groups == 1 and operator.family != "conv2d_transpose":
            reduction = channels * operator.window[0] * operator.window[1]
        outputs = operator.batch * filters * rows * columns
        yield _copy(operator, operator.inputs)
        yield _copy(operator, operator.weights)
        yield _contraction(
            operator,
            _kind(operator),
            "texture",
            outputs=outputs,
            macs=_macs(operator, outputs, reduction),
            channels=filters,
            rows=rows,
            columns=columns,
        )


def _mali(operator: Operator, _: int) -> Iterator[KernelFacts]:
    """Convolutions pack their image before and unpack it afterwards; depthwise ones pad it before."""
    if operator.family == "dense":
        yield _contraction(operator, "pointwise", "buffer")
    elif "winograd" in operator.task:
        yield from _winograd(operator, operator.filters, operator.channels, texture=False)
    else:
        yield _copy(operator, operator.inputs)
        yield _contraction(operator, _kind(operator), "buffer")
        if _kind(operator) != "depthwise":
            yield _copy(operator, operator.outputs)


def _winograd(operator: Operator, filters: int, channels: int, *, texture: bool) -> Iterator[KernelFacts]:
    """Image transform, one matrix product for each of the points of a tile, output transform (Lavin and Gray, 2015).

    On Adreno each thread makes one point of a transform, on Mali a whole tile. Transformed weights are at hand; on
    Adreno they are copied to a texture, as the image is.
    """
    large = _LARGE_TILE["adreno" if texture else "mali"]
    side = 4 if operator.height % large == 0 else 2
    points = (side + operator.window[0] - 1) ** 2
    tiles = operator.batch * -(-operator.rows // side) * -(-operator.columns // side)
    images, weights, sums = points * channels * tiles, points * channels * filters, points * filters * tiles
    if texture:
        yield _copy(operator, operator.inputs)
        yield _copy(operator, weights)
    threads = images if texture else channels * tiles
    yield _kernel(operator, "transform", images * points, operator.inputs + images, threads)
    yield _kernel(
        operator,
        "pointwise",
        sums * channels,
        images + weights + sums,
        sums,
        channels=filters,
        columns=tiles if texture else _up(tiles, 4),
        storage="texture" if texture else "buffer",
    )
    threads = operator.outputs if texture else filters * tiles
    yield _kernel(operator, "transform", operator.outputs * points, sums + operator.outputs, threads)


def _kind(operator: Operator) -> KernelKind:
    if operator.groups == operator.channels and operator.groups > 1:
        return "depthwise"
    return "pointwise" if operator.window == (1, 1) else "conv"


def _macs(operator: Operator, outputs: int, reduction: int) -> int:
    """A transposed convolution of stride s meets s x s fewer taps for each output than its window has."""
    if operator.family == "conv2d_transpose":
        return outputs * reduction // operator.stride**2
    return outputs * reduction


def _copy(operator: Operator, elements: int) -> KernelFacts:
    return _kernel(operator, "elementwise", 0, 2 * elements, elements)


def _contraction(
    operator: Operator,
    kind: KernelKind,
    storage: Storage,
    *,
    outputs: int | None = None,
    macs: int | None = None,
    channels: int | None = None,
    rows: int | None = None,
    columns: int | None = None,
) -> KernelFacts:
    transposed = operator.family == "conv2d_transpose"
    window = tuple(-(-side // operator.stride) if transposed else side for side in operator.window)
    return _kernel(
        operator,
        kind,
        _macs(operator, operator.outputs, operator.reduction) if macs is None else macs,
        operator.inputs + operator.weights + operator.outputs,
        operator.outputs if outputs is None else outputs,
        channels=operator.filters if channels is None else channels,
        rows=operator.rows if rows is None else rows,
        columns=operator.columns if columns is None else columns,
        window=(window[0], window[1]),
        stride=1 if transposed else operator.stride,
        storage=storage,
    )


def _kernel(
    operator: Operator,
    kind: KernelKind,
    macs: int,
    elements: int,
    outputs: int,
    *,
    channels: int = 1,
    rows: int = 1,
    columns: int = 1,
    window: tuple[int, int] = (1, 1),
    stride: int = 1,
    storage: Storage = "buffer",
) -> KernelFacts:
    return KernelFacts(
        name=operator.task,
        kind=kind,
        macs=macs,
        flops=0,
        special=0,
        bytes_read=elements * _BYTES[operator.dtype],  # read and written bytes cost the same
        bytes_written=0,
        outputs=outputs,
        threads=outputs,
        channels=channels,
        rows=rows,
        columns=columns,
        window_rows=window[0],
        window_columns=window[1],
        stride=stride,
        storage=storage,
    )


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
