"""Networks and spaces become workloads: distinct kernels, weighted by what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuned_network import network

from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.ir.registry import load_pass
from graphopt.ir.space_building import build_space
from graphopt.kernels import facts as kernel_facts
from graphopt.kernels.model import KernelFacts, price
from graphopt.tuning.workload import network_workloads, space_workloads


def test_two_kernels_of_one_shape_are_one_workload(phone: Target, shared: CostCache) -> None:
    workloads = network_workloads(network(), phone, shared)
    assert [w.name for w in workloads.found if "conv" in w.name] == ["fused_conv2d_add_relu"]
    assert len(workloads.found) == 2  # and the pool with the product
    convolution = next(w for w in workloads.found if "conv" in w.name)
    assert convolution.facts is not None
    one = price(KernelFacts.from_dict(convolution.facts), phone)[0]
    assert convolution.weight == pytest.approx(2 * one)
    assert [w.weight for w in workloads.found] == sorted((w.weight for w in workloads.found), reverse=True)


def test_a_space_brings_the_kernels_of_its_candidates(phone: Target, shared: CostCache) -> None:
    from graphs import nafnet

    graph = nafnet()
    passes = [load_pass("static-attention", {}, Path())]
    images = [np.random.default_rng(0).random((1, 3, 16, 16), np.float32)]
    space = build_space(graph, passes, images, [], lambda share, words: None)
    assert space.choices
    said: list[str] = []
    found = space_workloads(space, phone, [], shared, lambda share, words: said.append(words))
    from graphopt.ir.canonical import to_model

    base = network_workloads(to_model(space.graph), phone, shared)
    assert {w.key for w in base.found} < {w.key for w in found.found}
    assert "lowers static-attention" in said
    assert len({w.key for w in found.found}) == len(found.found)


def test_a_kernel_that_tvm_cannot_compile_is_priced_by_its_parts(
    phone: Target, cache: CostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_backend(phone, cache).price(network())
    other = CostCache(cache.folder.parent / "other")
    monkeypatch.setattr(kernel_facts, "scheduled", _refusing(kernel_facts.scheduled))
    workloads = network_workloads(network(), phone, other)
    parts = open_backend(phone, other).price(network())
    assert list(workloads.refused) == ["fused_conv2d_add_relu"]
    assert "kernel fused_conv2d_add_relu: TVM finds no GPU schedule" in workloads.refused["fused_conv2d_add_relu"]
    marked = [row for row in parts.kernels if row.basis == "parts"]
    assert [row.name for row in marked] == [f"fused_conv2d_add_relu/{part}" for part in ("conv2d", "add", "relu")]
    assert {row.calls for row in marked} == {2}
    assert parts.latency_ms > whole.latency_ms
    assert parts.macs == whole.macs == sum(row.macs for row in parts.kernels)


def _refusing(scheduled: Any) -> Any:
    def refuse(function: Any, rule: Any, target: Any) -> Any:
        if "conv2d" in str(function) and "T.max" in str(function):
            raise RuntimeError("cannot schedule a clamp after a convolution")
        return scheduled(function, rule, target)

    return refuse
