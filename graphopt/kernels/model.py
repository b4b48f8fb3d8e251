"""The kernel model: a roofline with occupancy and register tiles, that prices one GPU kernel from what is known of it.

After S. Williams et al., "Roofline: an insightful visual performance model" (CACM 2009). `docs/costs.md` has the
equations, what each parameter means, and how they were calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.kernels.target import GpuTarget, KernelKind

FORMULA = 3  # part of the key of every cached price: raise it whenever `price`, or what is lowered, changes
_WIDEST = 16  # channels, rows or columns in one tile: what MetaSchedule and AutoTVM try


@dataclass(frozen=True)
class KernelFacts:
    """What is known of one fused kernel.

    `macs` are the multiply-accumulates of its contraction, `flops` all other arithmetic, `special` exponentials, roots,
    powers and divisions. `bytes_read` and `bytes_written` are compulsory traffic: each element that the kernel touches
    once. `outputs` are the sums of its contraction, or the elements that it writes.
    `channels`, `rows` and `columns` are the extents of its outputs along which threads can share what they load, and
    `window_rows` x `window_columns`, moved by `stride`, is what each of them sees of an image.
    `threads` are launched in all; `launches` is above 1 where TVM had to cut the kernel. `storage` says what operands
    are read from, where that is known.
    """

    name: str
    kind: KernelKind
    macs: int
    flops: int
    special: int
    bytes_read: int
    bytes_written: int
    outputs: int
    threads: int
    channels: int = 1
    rows: int = 1
    columns: int = 1
    window_rows: int = 1
    window_columns: int = 1
    stride: int = 1
    launches: int = 1
    local_memory_bytes: int = 0
    storage: Literal["texture", "buffer", "unknown"] = "unknown"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> KernelFacts:
        return cls(**content)


def price(kernel: KernelFacts, target: GpuTarget) -> tuple[float, float, float]:
    """Milliseconds of one call: middle, low, high.

    - MACs take MACs / (peak / 2 x efficiency(kind)), times what the best register tile costs (`tiled_work`).
    - other FLOPs take FLOPs / (peak x efficiency(reduction or elementwise)), special functions / (peak / 2 x
      `special_function_rate`), times 1 + `threads_to_fill` / threads where the kernel has no contraction.
    - memory takes compulsory bytes / (`dram_bandwidth` x `dram_share`).
    - time = launches x `launch_overhead` + (arithmetic ^ `overlap` + memory ^ `overlap`) ^ (1 / `overlap`).

    `peak` is the dtype's, times `half_share` in float16. Contractions that read buffers reach `buffer_share` of their
    efficiency. Both bounds divide or multiply the busy time by `spread`; the high one launches at
    `launch_overhead_worst`, and takes operands for buffers where nothing is known of them.

    Raises:
        GraphoptError: the target has too little local memory for the kernel.
    """
    if kernel.local_memory_bytes > target.fact("local_memory"):
        needs, has = kernel.local_memory_bytes, target.fact("local_memory")
        raise GraphoptError(
            f"kernel {kernel.name} needs {needs} bytes of local memory, target {target.name} has {has:g}"
        )
    middle = busy_time(kernel, target, buffers=kernel.storage == "buffer")
    slow = busy_time(kernel, target, buffers=kernel.storage != "texture")
    launch = kernel.launches * target.fact("launch_overhead") / 1e3
    worst = kernel.launches * target.fact("launch_overhead_worst") / 1e3
    spread = target.kernel_model.spread.value
    return launch + middle, middle / spread + launch / 2, worst + slow * spread


def busy_time(kernel: KernelFacts, target: GpuTarget, *, buffers: bool) -> float:
    """Milliseconds of one call without its launch; `buffers`: its contraction reads buffers."""
    model = target.kernel_model
    peak = target.peak_gflops * 1e6 * (model.half_share.value if target.dtype == "float16" else 1.0)  # FLOP per ms
    fill = target.fact("threads_to_fill")
    arithmetic = 0.0
    if kernel.macs:
        rate = peak / 2 * model.efficiency[kernel.kind].value * (model.buffer_share.value if buffers else 1.0)
        tiles = register_tiles(kernel, int(target.fact("accumulators")), int(target.fact("vector_width")))
        arithmetic = float(tiled_work(kernel.macs / rate, kernel.outputs, *tiles, model.cache_load.value, fill).min())
    other: KernelKind = "reduction" if kernel.kind == "reduction" else "elementwise"
    rest = kernel.flops / (peak * model.efficiency[other].value)
    rest += kernel.special / (peak / 2 * target.fact("special_function_rate"))
    arithmetic += rest if kernel.macs else rest * (1 + fill / max(kernel.threads, kernel.outputs))
    bandwidth = target.fact("dram_bandwidth") * target.fact("dram_share") * 1e6  # bytes per ms
    return float(overlapped(arithmetic, (kernel.bytes_read + kernel.bytes_written) / bandwidth, model.overlap.value))


def tiled_work(work: Any, outputs: Any, tile: Any, loads: Any, cache_load: Any, fill: Any) -> Any:
    """work x (1 + cache_load x loads) x (1 + fill x tile / outputs), for numbers or arrays.

    A thread that computes `tile` outputs at once loads `loads` operands for each MAC, and a load from cache takes as
    long as `cache_load` MACs. Larger tiles load less and leave fewer threads, outputs / tile, of which `fill` keep half
    of the device's lanes busy.
    """
    return work * (1 + cache_load * loads) * (1 + fill * tile / outputs)


def overlapped(arithmetic: Any, memory: Any, overlap: Any) -> Any:
    """(a ^ overlap + m ^ overlap) ^ (1 / overlap): the sum of both at 1, towards the longer of them above.

    For numbers or arrays, in any unit of time.
    """
    longer = np.maximum(np.maximum(arithmetic, memory), 1e-30)  # powers of what is far below 1 would vanish
    return longer * ((arithmetic / longer) ** overlap + (memory / longer) ** overlap) ** (1 / overlap)


def register_tiles(
    kernel: KernelFacts, accumulators: int, vector: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tiles worth trying: outputs that a thread computes at once, and operands that it loads for each MAC.

    A tile has `vector` channels times a divisor of their number, and divides rows and columns, as the tiles of
    AutoTVM's and MetaSchedule's perfect splits do; it holds at most `accumulators` sums in registers. What it loads of
    an image are the pixels under its windows, shared by its channels unless the kernel is depthwise, and one weight for
    each channel, shared by its pixels.
    """
    return _tiles(
        -(-kernel.channels // vector),
        kernel.rows,
        kernel.columns,
        (kernel.window_rows, kernel.window_columns, kernel.stride),
        kernel.kind == "depthwise",
        max(accumulators, vector),
        vector,
    )


@lru_cache(maxsize=4096)
def _tiles(
    blocks: int, rows: int, columns: int, window: tuple[int, int, int], depthwise: bool, accumulators: int, vector: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    window_rows, window_columns, stride = window
    best: dict[int, float] = {}
    for channels in (c for c in (1, 2, 4, 8, 16) if blocks % c == 0):
        for high in _divisors(rows):
            for wide in _divisors(columns):
                size = vector * channels * high * wide
                if size > accumulators:
                    break
                seen = ((high - 1) * stride + window_rows) * ((wide - 1) * stride + window_columns)
                pixels = seen / (high * wide * window_rows * window_columns)
                loads = pixels / (1 if depthwise else channels * vector) + 1 / (high * wide)
                best[size] = min(loads, best.get(size, loads))
    worth = [size for size in sorted(best) if best[size] <= min(best[other] for other in best if other <= size)]
    return np.array(worth, dtype=float), np.array([best[size] for size in worth])


def _divisors(extent: int) -> list[int]:
    return [d for d in range(1, min(extent, _WIDEST) + 1) if extent % d == 0]
