"""fp16-safe-norm: the same function, with sums that fp16 can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.fp16_safe_norm import Fp16SafeNorm
from graphs import difference, refused, rewritten, run, site_names, space_of
from norms import READ_INSIDE, SCENES, norm, over_space, read_inside, spellings

from graphopt import Contract
from graphopt.ir.rewriting import apply_selection


@spellings
@pytest.mark.parametrize("k", [2.0, 32.0, 128.0])
def test_it_is_exact(spelling: str, k: float) -> None:
    graph = norm(spelling)
    space = space_of(graph, [Fp16SafeNorm(scale=k)], SCENES)
    assert space.choices["block.0/norm1"].candidates["fp16-safe-norm"].contract is Contract.EXACT
    chosen = apply_selection(space, {"block.0/norm1": "fp16-safe-norm"})
    for factor in (50, 1, 0.01):
        assert difference(run(chosen, factor * SCENES[0]), run(graph, factor * SCENES[0])) < 2e-6


def in_half_precision(graph: gs.Graph, x: np.ndarray) -> np.ndarray:
    """The graph with numpy, where every sum and every product is one of fp16."""
    values: dict[str, Any] = {"x": x.astype(np.float16)}
    values |= {n: t.values.astype(np.float16) for n, t in graph.tensors().items() if isinstance(t, gs.Constant)}
    for node in graph.nodes:
        a, *rest = (values[tensor.name] for tensor in node.inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            if node.op == "ReduceMean":
                result = np.add.accumulate(a, axis=1, dtype=np.float16)[:, -1:] / np.float16(a.shape[1])
            elif node.op == "Sqrt":
                result = np.sqrt(a)
            else:
                kind = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide, "Pow": np.power}
                result = kind[node.op](a, rest[0])
        assert result.dtype == np.float16
        values[node.outputs[0].name] = result
    return values["y"].astype(np.float32)


@pytest.mark.parametrize(("spread", "original_fails"), [(175.0, True), (10.0, False), (0.3, False)])
def test_fp16_safe_norm_stays_in_range(spread: float, original_fails: bool) -> None:
    """512 channels at the magnitudes of NAFNet's residual stream: sums of squares reach 1.6e7."""
    x = (spread * np.random.default_rng(2).normal(size=(1, 512, 4, 4))).astype(np.float32)
    graph = norm("decomposed", 512, (4, 4))
    expected = run(graph, x)
    safe = in_half_precision(rewritten(graph, Fp16SafeNorm(), [x]), x)
    assert difference(safe, expected) < 0.02
    plain = in_half_precision(graph, x)
    assert (not np.isfinite(plain).all() or difference(plain, expected) > 0.5) == original_fails


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), Fp16SafeNorm())) == READ_INSIDE
    assert site_names(over_space(), Fp16SafeNorm()) == []


@pytest.mark.parametrize("k", [1.0, 3.0, 100.0, -2.0, 0.0, float("inf")])
def test_scales_that_would_round(k: float) -> None:
    with pytest.raises(ValueError, match="expected a power of 2 above 1, e.g. 32"):
        Fp16SafeNorm(scale=k)
