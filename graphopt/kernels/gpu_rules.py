"""GPU schedules: dlight's rules in the order that suits a kind of kernel, and one for contractions with epilogues."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.dlight.analysis import normalize_prim_func
from tvm.s_tir.dlight.base import try_inline
from tvm.s_tir.dlight.gpu.base import GPUScheduleRule

from graphopt.kernels.target import KernelKind


class DirectContraction(GPUScheduleRule):
    """One thread for each output of a convolution or matrix product; padding is inlined, the sum stays in a register
    and the epilogue (bias, clip, scale, residual) runs in the same kernel. dlight's `Fallback` would cut it in two.

    Does not apply where the epilogue is larger than the contraction (a pooled convolution that scales a whole image).
    """

    def apply(self, function: tirx.PrimFunc, target: Any, _: bool) -> s_tir.Schedule | None:
        schedule = s_tir.Schedule(function)
        blocks = normalize_prim_func(schedule)
        blocks = try_inline(schedule, blocks) if blocks else []
        if len(blocks) != 2 or not blocks[0].is_reduction() or not blocks[1].is_injective():
            return None
        contraction, epilogue = blocks
        kinds = zip(_extents(contraction), contraction.dom_kind(), strict=True)
        if prod(extent for extent, kind in kinds if kind == "S") != prod(_extents(epilogue)):
            return None
        outer, thread = schedule.split(
            schedule.fuse(*schedule.get_loops(epilogue.block_rv)), factors=[None, int(target.attrs["max_num_threads"])]
        )
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(thread, "threadIdx.x")
        schedule.compute_at(contraction.block_rv, thread, preserve_unit_loops=True)
        schedule.set_scope(contraction.block_rv, 0, "local")
        loops = schedule.get_loops(contraction.block_rv)
        schedule.decompose_reduction(contraction.block_rv, loops[2])
        return schedule


def _extents(block: Any) -> list[int]:
    return [int(axis.dom) for axis in block.iters]


def gpu_rules(kind: KernelKind) -> list[Any]:
    """The rules for a kernel of that kind; the first that applies schedules it.

    Without dlight's GEMV, which miscompiles a 1x1 convolution on a pooled vector (TVM 0.27). Contractions do not get
    the rules that give a group of threads to each sum: their sums are short and many.
    """
    gpu = dlight.gpu
    if kind in ("conv", "pointwise", "depthwise"):
        return [gpu.Matmul(), DirectContraction(), gpu.Fallback()]
    return [gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback()]


def scheduled(function: tirx.PrimFunc, rule: Any, target: Any) -> tirx.PrimFunc | None:
    """`function` scheduled by one rule, None where the rule does not apply."""
    made = rule.apply(function, target, False)
    if made is None:
        return None
    return (made[0] if isinstance(made, list) else made).mod["main"]
