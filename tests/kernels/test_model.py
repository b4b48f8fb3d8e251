from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.backends.targets import list_targets, load_target
from graphopt.cost.target import UNITS, Fact
from graphopt.errors import GraphoptError
from graphopt.kernels.model import KernelFacts, overlapped, price, register_tiles
from graphopt.kernels.target import GpuTarget, KernelModel

KERNEL = KernelFacts(
    name="k",
    kind="conv",
    macs=1_000_000,
    flops=0,
    special=0,
    bytes_read=0,
    bytes_written=0,
    outputs=8000,
    threads=8000,
    storage="texture",
)
# 100 GFLOPS fp16 of which kernels see 0.8, conv at half of that: 20e6 MAC/ms. One output a thread: two loads a MAC, each
# as long as half a MAC. 1000 threads fill half of the lanes.
ALONE = 1e6 / 20e6 * (1 + 0.5 * 2) * (1 + 1000 / 8000)


def fact(value: float, unit: str = "1") -> Fact:
    return Fact(value=value, unit=unit, source="made up for this test")


def target(**changed: float) -> GpuTarget:
    """100 GFLOPS fp16, 10 GB/s of which half is reached, 5 us a launch (20 at worst)."""
    values: dict[str, Any] = {
        "fp32_peak": 50,
        "fp16_peak": 100,
        "dram_bandwidth": 10,
        "dram_share": 0.5,
        "launch_overhead": 5,
        "launch_overhead_worst": 20,
        "max_threads": 256,
        "threads_to_fill": 1000,
        "local_memory": 1024,
        "wave_size": 16,
        "vector_width": 1,
        "accumulators": 4,
        "special_function_rate": 0.25,
        **changed,
    }
    kinds = {"conv": 0.5, "pointwise": 0.4, "depthwise": 0.1, "transform": 0.3, "reduction": 0.2, "elementwise": 0.25}
    return GpuTarget(
        name="made-up",
        title="made up",
        kind="opencl",
        device="mali",
        facts={name: fact(value, UNITS[name]) for name, value in values.items()},
        kernel_model=KernelModel(
            efficiency={kind: fact(share) for kind, share in kinds.items()},
            half_share=fact(0.8),
            cache_load=fact(0.5),
            overlap=fact(2),
            buffer_share=fact(0.25),
            spread=fact(2),
        ),
    )


def test_arithmetic_bound_kernel_by_hand() -> None:
    assert price(KERNEL, target()) == pytest.approx((0.005 + ALONE, 0.0025 + ALONE / 2, 0.020 + ALONE * 2))


def test_float32_sees_all_of_its_own_peak() -> None:
    wide = target().with_precision("fp32")
    assert price(KERNEL, wide)[0] - 0.005 == pytest.approx(ALONE * 100 * 0.8 / 50)


def test_a_tile_saves_loads_and_threads() -> None:
    # 4 channels x 2 columns, at most 4 sums: 2 x 2 loads 1/2 + 1/2 a MAC, 4 x 1 1/4 + 1, and a quarter of the threads
    tiled = replace(KERNEL, channels=4, columns=2, macs=64_000, outputs=64_000)
    work = 64_000 / 20e6
    candidates = {1: 2.0, 2: 1.5, 4: 1.0}
    best = min(work * (1 + 0.5 * loads) * (1 + 1000 * size / 64_000) for size, loads in candidates.items())
    assert price(tiled, target())[0] == pytest.approx(0.005 + best)
    sizes, loads = register_tiles(tiled, 4, 1)
    assert dict(zip(sizes, loads, strict=True)) == candidates


def test_tiles_divide_and_windows_overlap() -> None:
    # 17 columns have no divisor but 17 and 1: nothing to share along them
    assert register_tiles(replace(KERNEL, rows=17, columns=17), 16, 1)[0].tolist() == [1]
    # two columns under 3 x 3 windows of stride 1 see 12 pixels of 18, of stride 2 15 of 18; a depthwise kernel shares
    # pixels with no other channel
    seen = replace(KERNEL, columns=2, window_rows=3, window_columns=3)
    assert register_tiles(seen, 2, 1)[1].tolist() == pytest.approx([2, 12 / 18 + 1 / 2])
    assert register_tiles(replace(seen, stride=2), 2, 1)[1].tolist() == pytest.approx([2, 15 / 18 + 1 / 2])
    deep = replace(seen, channels=8, kind="depthwise")
    assert register_tiles(deep, 4, 4)[1].tolist() == [2]
    assert register_tiles(replace(deep, kind="conv"), 4, 4)[1].tolist() == [1 + 1 / 4]


def test_memory_bound_kernel_by_hand() -> None:
    kernel = replace(KERNEL, bytes_read=4_000_000, bytes_written=1_000_000)
    assert price(kernel, target())[0] == pytest.approx(0.005 + (1.0 + ALONE**2) ** 0.5)


def test_overlap_from_sum_to_maximum() -> None:
    assert overlapped(3.0, 4.0, 1.0) == pytest.approx(7)
    assert overlapped(3.0, 4.0, 2.0) == pytest.approx(5)
    assert overlapped(3.0, 4.0, 200.0) == pytest.approx(4)
    assert overlapped(0.0, 0.0, 1.5) == pytest.approx(0, abs=1e-20)


def test_elementwise_and_special_functions_by_hand() -> None:
    kernel = replace(KERNEL, kind="elementwise", macs=0, flops=500_000, special=250_000)
    # 5e5 / (8e7 x 0.25) + 2.5e5 / (4e7 x 0.25) ms
    assert price(kernel, target())[0] == pytest.approx(0.005 + (0.025 + 0.025) * (1 + 1000 / 8000))
    # a reduction adds up at its own efficiency, by as many threads as TVM launches
    assert price(replace(kernel, kind="reduction", outputs=10), target())[0] == pytest.approx(
        0.005 + (0.03125 + 0.025) * (1 + 1000 / 8000)
    )


def test_few_threads_do_not_fill_the_device() -> None:
    work = 1e6 / 20e6 * 2
    assert price(replace(KERNEL, outputs=500), target())[0] == pytest.approx(0.005 + work * 3)


def test_each_launch_costs() -> None:
    once, thrice = price(KERNEL, target()), price(replace(KERNEL, launches=3), target())
    assert thrice[0] - once[0] == pytest.approx(2 * 0.005)
    assert thrice[2] - once[2] == pytest.approx(2 * 0.020)


def test_buffers_are_slower_than_textures() -> None:
    buffers = price(replace(KERNEL, storage="buffer"), target())
    assert buffers[0] == pytest.approx(0.005 + 4 * ALONE)
    # where nobody knows, the middle is that of textures and the high bound that of buffers
    assert price(replace(KERNEL, storage="unknown"), target()) == (*price(KERNEL, target())[:2], buffers[2])


GPUS = [device.name for device in list_targets() if device.kind == "opencl"]
COUNTS = st.integers(1, 10**9)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(GPUS),
    kind=st.sampled_from(["conv", "pointwise", "depthwise", "transform", "reduction", "elementwise"]),
    counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    shape=st.tuples(*[st.integers(1, 300)] * 3, st.integers(1, 7), st.integers(1, 3)),
    more=st.tuples(*[st.integers(0, 10**9)] * 5),
    half=st.booleans(),
)
def test_more_work_never_costs_less(
    name: str, kind: Any, counts: Any, shape: Any, more: tuple[int, ...], half: bool
) -> None:
    device = load_target(name).with_precision("fp16" if half else "fp32")
    keys = ("macs", "flops", "special", "bytes_read", "bytes_written")
    channels, rows, columns, window, stride = shape
    base = replace(
        KERNEL,
        kind=kind,
        **dict(zip(keys, counts, strict=True)),
        outputs=channels * rows * columns,
        channels=channels,
        rows=rows,
        columns=columns,
        window_rows=window,
        window_columns=window,
        stride=stride,
    )
    middle = price(base, device)
    assert 0 < middle[1] < middle[0] < middle[2]
    for key, extra in zip(keys, more, strict=True):
        dearer = price(replace(base, **{key: getattr(base, key) + extra}), device)
        assert all(after >= before * (1 - 1e-12) for after, before in zip(dearer, middle, strict=True)), key
    assert price(replace(base, launches=2), device)[0] > middle[0]


def test_local_memory_that_the_device_lacks() -> None:
    with pytest.raises(GraphoptError, match="kernel k needs 2048 bytes of local memory, target made-up has 1024"):
        price(replace(KERNEL, local_memory_bytes=2048), target())
