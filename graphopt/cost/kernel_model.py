"""The kernel model: a roofline with occupancy, that prices one GPU kernel from what TVM says of it.

After S. Williams et al., "Roofline: an insightful visual performance model" (CACM 2009): a kernel takes as long as the
slower of its arithmetic and its memory traffic, and a launch on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphopt.cost.target import KernelKind, Target
from graphopt.errors import GraphoptError

FORMULA = 2  # part of the key of every cached price: raise it whenever `price`, or what is lowered, changes


@dataclass(frozen=True)
class KernelFacts:
    """What TVM says of one fused kernel, lowered for a target.

    `macs` are the multiply-accumulates of its contraction, `flops` all other arithmetic, `special` exponentials, roots,
    powers and divisions. `bytes_read` and `bytes_written` are compulsory traffic: each element that the kernel touches
    once. `reduction` is the length of its contraction.
    `threads` are launched in all, `outputs` elements written; `launches` is above 1 where TVM had to cut the kernel.
    """

    name: str
    kind: KernelKind
    macs: int
    flops: int
    special: int
    bytes_read: int
    bytes_written: int
    outputs: int
    reduction: int
    threads: int
    launches: int
    local_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> KernelFacts:
        return cls(**content)


def price(kernel: KernelFacts, target: Target) -> tuple[float, float, float]:
    """Milliseconds of one call: middle, low, high.

    - occupancy = threads / `threads_to_fill`, at most 1, where a kernel's threads are those that TVM launches or, if
      there are more, the elements that it writes: a schedule better than TVM's default one could use them.
    - arithmetic = MACs / (peak / 2 x efficiency(kind) x reduction / (reduction + `reuse`))
      + other FLOPs / (peak x efficiency(reduction or elementwise))
      + special functions / (peak / 2 x `special_function_rate`).
      Short reductions reuse little of what they load, so that loads and address arithmetic outweigh the MACs.
    - memory = compulsory bytes / (`dram_bandwidth` x `dram_share`). What a kernel reads twice comes from cache.
    - time = launches x `launch_overhead` + max(arithmetic, memory) / occupancy.

    The bounds divide and multiply the busy time by `spread`; the high one launches at `launch_overhead_worst`.

    Raises:
        GraphoptError: the target has no kernel model, or too little local memory for the kernel.
    """
    model = target.kernel_model
    if model is None:
        raise GraphoptError(f"target {target.name} is measured: it has no kernel model")
    if kernel.local_memory_bytes > target.fact("local_memory"):
        needs, has = kernel.local_memory_bytes, target.fact("local_memory")
        raise GraphoptError(
            f"kernel {kernel.name} needs {needs} bytes of local memory, target {target.name} has {has:g}"
        )
    peak = target.peak_gflops * 1e6  # FLOP per ms
    occupancy = min(1.0, max(kernel.threads, kernel.outputs) / target.fact("threads_to_fill"))
    reused = kernel.reduction / (kernel.reduction + model.reuse.value)
    other: KernelKind = "reduction" if kernel.kind == "reduction" else "elementwise"
    arithmetic = kernel.macs / (peak / 2 * model.efficiency[kernel.kind].value * reused) if kernel.macs else 0.0
    arithmetic += kernel.flops / (peak * model.efficiency[other].value)
    arithmetic += kernel.special / (peak / 2 * target.fact("special_function_rate"))
    bandwidth = target.fact("dram_bandwidth") * target.fact("dram_share") * 1e6  # bytes per ms
    memory = (kernel.bytes_read + kernel.bytes_written) / bandwidth
    busy = max(arithmetic, memory) / occupancy
    launch = kernel.launches * target.fact("launch_overhead") / 1e3
    worst = kernel.launches * target.fact("launch_overhead_worst") / 1e3
    spread = model.spread.value
    return launch + busy, busy / spread + launch / 2, worst + busy * spread
