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
    known = Parameters.of(target)
    middle = float(busy_time(kernel, target, known, buffers=kernel.storage == "buffer"))
    slow = float(busy_time(kernel, target, known, buffers=kernel.storage != "texture"))
    launch = kernel.launches * known.launch
    worst = kernel.launches * target.fact("launch_overhead_worst") / 1e3
    spread = target.kernel_model.spread.value
    return launch + middle, middle / spread + launch / 2, worst + slow * spread


@dataclass(frozen=True)
class Parameters:
    """What the model knows of a device: each a number, or an array with a value for each of many draws.

    `peak` is in FLOP a millisecond as kernels of the target's dtype see it, `bandwidth` in bytes a millisecond,
    `launch` in milliseconds; the others are the shares and counts of the target's file.
    """

    peak: Any
    efficiency: Mapping[KernelKind, Any]
    buffer_share: Any
    special: Any
    cache_load: Any
    fill: Any
    bandwidth: Any
    overlap: Any
    launch: Any

    @classmethod
    def of(cls, target: GpuTarget) -> Parameters:
        model = target.kernel_model
        return cls(
            peak=target.peak_gflops * 1e6 * (model.half_share.value if target.dtype == "float16" else 1.0),
            efficiency={kind: fact.value for kind, fact in model.efficiency.items()},
            buffer_share=model.buffer_share.value,
            special=target.fact("special_function_rate"),
            cache_load=model.cache_load.value,
            fill=target.fact("threads_to_fill"),
            bandwidth=target.fact("dram_bandwidth") * target.fact("dram_share") * 1e6,
            overlap=model.overlap.value,
            launch=target.fact("launch_overhead") / 1e3,
        )


def busy_time(kernel: KernelFacts, target: GpuTarget, known: Parameters, *, buffers: bool) -> Any:
    """Milliseconds of one call without its launch, under each draw of `known`.

    `buffers`: its contraction reads buffers. The shape of register tiles is the target's, whatever is drawn.
    """
    arithmetic: Any = 0.0
    if kernel.macs:
        rate = known.peak / 2 * known.efficiency[kernel.kind] * (known.buffer_share if buffers else 1.0)
        tiles = register_tiles(kernel, int(target.fact("accumulators")), int(target.fact("vector_width")))
        work, load, fill = (np.asarray(v)[..., None] for v in (kernel.macs / rate, known.cache_load, known.fill))
        arithmetic = tiled_work(work, kernel.outputs, *tiles, load, fill).min(axis=-1)
    other: KernelKind = "reduction" if kernel.kind == "reduction" else "elementwise"
    rest = kernel.flops / (known.peak * known.efficiency[other])
    rest = rest + kernel.special / (known.peak / 2 * known.special)
    arithmetic = arithmetic + (rest if kernel.macs else rest * (1 + known.fill / max(kernel.threads, kernel.outputs)))
    return overlapped(arithmetic, (kernel.bytes_read + kernel.bytes_written) / known.bandwidth, known.overlap)


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
