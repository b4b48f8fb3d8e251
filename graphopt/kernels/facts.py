"""What TVM says of one kernel: counts from the unscheduled TIR, launch sizes and local memory from the lowered one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any, TypedDict

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir import TensorLoad

from graphopt.errors import GraphoptError
from graphopt.kernels.gpu_rules import gpu_rules, scheduled
from graphopt.kernels.model import KernelFacts
from graphopt.kernels.target import KernelKind

_SPECIAL = {"exp", "exp2", "log", "log2", "sqrt", "rsqrt", "pow", "tanh", "sigmoid", "erf", "sin", "cos"}
_REDUCE = 2  # IterVar.CommReduce


def describe(name: str, function: tirx.PrimFunc, repeats: tuple[int, ...], target: Any) -> KernelFacts:
    """The facts of `function` (unscheduled, static shapes), lowered for the TVM target.

    `repeats` are the parameters that are given the same tensor as an earlier one: it is read once.

    Raises:
        GraphoptError: no schedule rule carries the kernel.
    """
    tally = _Tally(function, repeats)
    _, (launches, threads, local_memory) = lower(name, function, tally.kind, target)
    flops = int(s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": function})))
    return KernelFacts(
        name=name,
        kind=tally.kind,
        macs=tally.macs,
        flops=max(0, flops - 2 * tally.macs),
        special=tally.special,
        bytes_read=tally.bytes_read,
        bytes_written=tally.bytes_written,
        outputs=tally.outputs,
        threads=threads,
        launches=launches,
        local_memory_bytes=local_memory,
        **tally.geometry,
    )


class _Tally:
    """Counts over the blocks of an unscheduled PrimFunc: each block runs its body once for each point of its domain."""

    def __init__(self, function: tirx.PrimFunc, repeats: tuple[int, ...]):
        self.kind: KernelKind = "elementwise"
        self.macs = self.special = self.outputs = 0
        self.geometry: _Geometry = {}
        self.loads: Counter[Any] = Counter()
        self.stores: Counter[Any] = Counter()
        tvm_ffi.structural_walk(function.body, (s_tir.SBlock, self._block), order="pre")
        read = [p for i, p in enumerate(function.params) if p in self.loads and i not in repeats]
        written = [p for p in function.params if p in self.stores]
        self.bytes_read = sum(_bytes(p, self.loads[p]) for p in read)
        self.bytes_written = sum(_bytes(p, self.stores[p]) for p in written)
        if not self.macs:
            self.outputs = sum(min(_elements(p), self.stores[p]) for p in written)

    def _block(self, block: Any) -> None:
        extents = [int(axis.dom.extent) for axis in block.iter_vars]
        if not extents:
            return  # the root block
        domain = prod(extents)
        reduced = [int(axis.dom.extent) for axis in block.iter_vars if int(axis.iter_type) == _REDUCE]
        products = 0
        indices: list[Any] = []

        def load(node: Any) -> None:
            self.loads[node.source] += domain
            indices.append(node.indices)

        def store(node: Any) -> None:
            self.stores[node.buffer] += domain

        def call(node: Any) -> None:
            if str(node.op.name).rpartition(".")[2] in _SPECIAL:
                self.special += domain

        def divide(node: Any) -> None:
            if str(node.ty).startswith("float") and not isinstance(node.b, tirx.FloatImm):
                self.special += domain

        def multiply(node: Any) -> None:
            nonlocal products
            products += _has_load(node.a) and _has_load(node.b)

        visitors = [
            (TensorLoad, load),
            (tirx.BufferStore, store),
            (tvm.ir.Call, call),
            (tirx.Div, divide),
            (tirx.Mul, multiply),
        ]
        tvm_ffi.structural_walk(block.body, visitors, order="pre")
        if reduced and products:
            if domain > self.macs:
                self.kind, self.outputs = _contraction(reduced), domain // prod(reduced)
                self.geometry = _geometry(block, reduced, indices)
            self.macs += domain
        elif reduced and not self.macs:
            self.kind = "reduction"


def _contraction(reduced: list[int]) -> KernelKind:
    """TVM reduces a convolution over (input channels of the group, window), a matrix product over one axis."""
    window = prod(reduced[1:])
    if window == 1:
        return "pointwise"
    return "depthwise" if reduced[0] == 1 else "conv"


class _Geometry(TypedDict, total=False):
    channels: int
    rows: int
    columns: int
    window_rows: int
    window_columns: int
    stride: int


def _geometry(block: Any, reduced: list[int], loads: list[Any]) -> _Geometry:
    """Extents, window and stride of a contraction. TVM makes (batch, channel, row, column) of a convolution and
    reduces it over three axes, and (..., row, column) of a matrix product, whose columns are the channels.
    """
    spatial = [axis for axis in block.iter_vars if int(axis.iter_type) != _REDUCE]
    extents = [int(axis.dom.extent) for axis in spatial]
    if len(reduced) < 3 or len(spatial) < 4:
        return {"channels": extents[-1], "columns": extents[-2] if len(extents) > 1 else 1}
    steps = [_step(index[-1], spatial[-1].var) for index in loads if len(index) == len(spatial)]
    return {
        "channels": extents[1],
        "rows": extents[-2],
        "columns": extents[-1],
        "window_rows": reduced[-2],
        "window_columns": reduced[-1],
        "stride": max(1, *steps, 1),
    }


def _step(index: Any, axis: Any) -> int:
    """By how much `index` grows with `axis`; 0 where it does not, or not evenly."""
    found = sym.detect_linear_equation(index, [axis])
    return int(found[0]) if len(found) and isinstance(found[0], tirx.IntImm) else 0


def _has_load(expression: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (TensorLoad, found.append), order="pre")
    return bool(found)


def _elements(buffer: Any) -> int:
    return prod(int(extent) for extent in buffer.shape)


def _bytes(buffer: Any, accesses: int) -> int:
    """Compulsory traffic: no element more than once, and none that is not asked for."""
    return min(_elements(buffer), accesses) * (tvm.DataType(str(buffer.dtype)).bits // 8)


def kernel_kind(function: tirx.PrimFunc) -> KernelKind:
    """What sort of work dominates an unscheduled kernel."""
    return _Tally(function, ()).kind


def lower(
    name: str, function: tirx.PrimFunc, kind: KernelKind, target: Any
) -> tuple[tirx.PrimFunc, tuple[int, int, int]]:
    """The scheduled function, and (device kernels, threads of the largest, its bytes of local memory), under the first
    rule that can be lowered.

    Raises:
        GraphoptError: none can.
    """
    reasons = []
    for rule in gpu_rules(kind):
        try:
            with target:
                made = scheduled(function, rule, target)
                if made is not None:
                    return made, _lowered_launch(made.with_attr("global_symbol", "kernel"), target)
        except (RuntimeError, AssertionError) as error:  # a rule that fails on this kernel; the next may carry it
            reasons.append(f"{type(rule).__name__}: {str(error).strip().splitlines()[-1]}")
    raise GraphoptError(f"kernel {name}: TVM finds no GPU schedule ({'; '.join(reasons)})")


def launched(facts: KernelFacts, function: tirx.PrimFunc, target: Any) -> KernelFacts:
    """`facts` with what `function`, another schedule of the same kernel, launches."""
    launches, threads, local_memory = _lowered_launch(function.with_attr("global_symbol", "kernel"), target)
    return replace(facts, launches=launches, threads=threads, local_memory_bytes=local_memory)


def _lowered_launch(function: tirx.PrimFunc, target: Any) -> tuple[int, int, int]:
    module = tirx.transform.BindTarget(target)(tvm.IRModule({"kernel": function}))
    module = tirx.get_tir_pipeline("default")[0](module)
    device = [f for f in module.functions.values() if f.attrs["target"].kind.name == "opencl"]
    sizes = [_extents(f) for f in device]
    return len(sizes), max(threads for threads, _ in sizes), max(local for _, local in sizes)


def _extents(function: tirx.PrimFunc) -> tuple[int, int]:
    threads: dict[str, int] = {}
    local = 0

    def attribute(node: Any) -> None:
        if node.attr_key == "thread_extent":
            threads[str(node.node.thread_tag)] = int(node.value)

    def allocate(node: Any) -> None:
        nonlocal local
        if node.buffer.scope().startswith("shared"):
            local += _bytes(node.buffer, _elements(node.buffer))

    tvm_ffi.structural_walk(function.body, [(tirx.AttrStmt, attribute), (tirx.AllocBuffer, allocate)], order="pre")
    return prod(threads.values()), local
