from dataclasses import replace
from typing import Any

import pytest

from graphopt.cost.kernel_model import KernelFacts, price
from graphopt.cost.target import UNITS, Fact, KernelModel, Target, load_target
from graphopt.errors import GraphoptError

KERNEL = KernelFacts(
    name="k",
    kind="conv",
    macs=1_000_000,
    flops=0,
    special=0,
    bytes_read=1000,
    bytes_written=1000,
    outputs=10_000,
    reduction=9,
    threads=10_000,
    launches=1,
    local_memory_bytes=0,
)


def fact(value: float, unit: str = "1") -> Fact:
    return Fact(value=value, unit=unit, source="made up for this test")


def target(**changed: float) -> Target:
    """100 GFLOPS fp16, 10 GB/s of which half is reached, 5 us a launch (20 at worst), full from 1000 threads."""
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
        "special_function_rate": 0.25,
        **changed,
    }
    kinds = {"conv": 0.5, "pointwise": 0.4, "depthwise": 0.1, "reduction": 0.2, "elementwise": 0.25}
    return Target(
        name="made-up",
        title="made up",
        kind="opencl",
        device="mali",
        facts={name: fact(value, UNITS[name]) for name, value in values.items()},
        kernel_model=KernelModel(
            efficiency={kind: fact(share) for kind, share in kinds.items()}, reuse=fact(3), spread=fact(2)
        ),
    )


def test_arithmetic_bound_kernel_by_hand() -> None:
    # 1e6 MACs at 100e6 FLOP/ms / 2 x 0.5 x 9 / (9 + 3) = 18.75e6 MAC/ms
    busy = 1e6 / 18.75e6
    assert price(KERNEL, target()) == pytest.approx((0.005 + busy, 0.0025 + busy / 2, 0.020 + busy * 2))


def test_memory_bound_kernel_by_hand() -> None:
    kernel = replace(KERNEL, bytes_read=4_000_000, bytes_written=1_000_000)
    assert price(kernel, target())[0] == pytest.approx(0.005 + 5e6 / 5e6)


def test_elementwise_and_special_functions_by_hand() -> None:
    kernel = replace(KERNEL, kind="elementwise", macs=0, reduction=1, flops=500_000, special=250_000)
    # 5e5 / (1e8 x 0.25) + 2.5e5 / (0.5e8 x 0.25) ms
    assert price(kernel, target())[0] == pytest.approx(0.005 + 0.02 + 0.02)
    # a reduction adds up at its own efficiency
    assert price(replace(kernel, kind="reduction"), target())[0] == pytest.approx(0.005 + 0.025 + 0.02)


def test_few_threads_do_not_fill_the_device() -> None:
    kernel = replace(KERNEL, threads=250, outputs=100)
    assert price(kernel, target())[0] == pytest.approx(0.005 + 4 * 1e6 / 18.75e6)
    # what it writes could be spread over more threads than the default schedule launches
    assert price(replace(kernel, outputs=500), target())[0] == pytest.approx(0.005 + 2 * 1e6 / 18.75e6)


def test_each_launch_costs() -> None:
    once, thrice = price(KERNEL, target()), price(replace(KERNEL, launches=3), target())
    assert thrice[0] - once[0] == pytest.approx(2 * 0.005)
    assert thrice[2] - once[2] == pytest.approx(2 * 0.020)


@pytest.mark.parametrize("name", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_more_work_never_costs_less(name: str) -> None:
    device = load_target(name)
    base = replace(KERNEL, macs=10**8, flops=10**6, special=10**6, bytes_read=10**7, bytes_written=10**7)
    middle = price(base, device)
    assert middle[1] < middle[0] < middle[2]
    for key in ("macs", "flops", "special", "bytes_read", "bytes_written", "launches"):
        more = price(replace(base, **{key: 10 * getattr(base, key)}), device)
        assert all(after >= before for after, before in zip(more, middle, strict=True)), key


def test_depthwise_is_slower_for_each_mac_than_dense() -> None:
    depthwise = replace(KERNEL, kind="depthwise")
    assert price(depthwise, target())[0] - 0.005 == pytest.approx(5 * (price(KERNEL, target())[0] - 0.005))


def test_local_memory_that_the_device_lacks() -> None:
    with pytest.raises(GraphoptError, match="kernel k needs 2048 bytes of local memory, target made-up has 1024"):
        price(replace(KERNEL, local_memory_bytes=2048), target())


def test_a_measured_target_has_no_model() -> None:
    with pytest.raises(GraphoptError, match="host-cpu is measured"):
        price(KERNEL, load_target("host-cpu"))
