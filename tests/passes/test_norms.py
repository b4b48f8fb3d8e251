"""clipped-norm, rms-norm, strided-norm and fp16-safe-norm, each for both spellings of a channel LayerNorm."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.clipped_norm import ClippedNorm
from graphopt.passes.fp16_safe_norm import Fp16SafeNorm
from graphopt.passes.rms_norm import RmsNorm
from graphopt.passes.strided_norm import StridedNorm
from graphs import NORM_CONSTANTS, difference, kinds, layer_norm, network, norm_weights, refused, rewritten, run

EPSILON = {"decomposed": 1e-6, "transposed": 1e-5}  # ONNX's default
spellings = pytest.mark.parametrize("spelling", list(EPSILON))


def scenes(channels: int = 4, size: tuple[int, int] = (16, 16)) -> list[np.ndarray]:
    """Images in which channels differ in level and spread."""
    random = np.random.default_rng(0)
    level, spread = random.normal(size=(2, 1, channels, 1, 1))
    return [(level + spread * random.normal(size=(1, channels, *size))).astype(np.float32) for _ in range(3)]


IMAGES = scenes()


def norm(spelling: str, channels: int = 4, size: tuple[int, int] = (16, 16)) -> gs.Graph:
    shape = f"float[1, {channels}, {size[0]}, {size[1]}]"
    text = f"({shape} x) => ({shape} y) {{ {layer_norm('x', 'y', 'block.0.norm1', spelling)} }}"
    constants = NORM_CONSTANTS if spelling == "decomposed" else {}
    return network(text, {**constants, **norm_weights("block.0.norm1", channels, spelling)}, seed=5)


def affine(graph: gs.Graph) -> tuple[np.ndarray, np.ndarray]:
    tensors = graph.tensors()
    scale, shift = (np.asarray(tensors[f"block.0.norm1.{part}"].values) for part in ("scale", "shift"))
    return scale.reshape(1, -1, 1, 1).astype(np.float64), shift.reshape(1, -1, 1, 1).astype(np.float64)


def by_channel(images: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.moveaxis(image, 1, -1).reshape(-1, image.shape[1]) for image in images])


@spellings
def test_clipped_norm_is_a_clamped_line(spelling: str) -> None:
    graph = norm(spelling)
    chosen = rewritten(graph, ClippedNorm(tail=0.05), IMAGES)
    assert kinds(chosen) == ["Mul", "Add", "Max", "Min"]
    outputs = [run(graph, image) for image in IMAGES]
    low, high = np.quantile(by_channel(outputs), [0.05, 0.95], axis=0)
    x, y = by_channel(IMAGES).astype(np.float64), by_channel(outputs)
    lines = [np.polyfit(x[:, c], y[:, c], 1) for c in range(4)]
    expected = [np.clip(a * IMAGES[0][0, c] + b, low[c], high[c]) for c, (a, b) in enumerate(lines)]
    assert difference(run(chosen, IMAGES[0]), np.stack(expected)[None]) < 2e-5
    # the bounds act, and differ between channels
    assert len({float(value) for value in low}) == 4
    far = run(chosen, 100 * IMAGES[0])
    np.testing.assert_allclose(far.min(axis=(0, 2, 3)), low, rtol=1e-5)
    np.testing.assert_allclose(far.max(axis=(0, 2, 3)), high, rtol=1e-5)
    fixed = [tensor.name for node in chosen.nodes[2:] for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    assert all(name.endswith("_fixed") for name in fixed)  # never trained


def test_tails_that_are_none() -> None:
    with pytest.raises(ValueError, match="option 'tail' is 0.5; expected a number from 0 to below 0.5"):
        ClippedNorm(tail=0.5)


@spellings
def test_rms_norm_is_the_least_squares_fit(spelling: str) -> None:
    graph = norm(spelling)
    chosen = rewritten(graph, RmsNorm(), IMAGES)
    assert kinds(chosen) == ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]

    def normal(image: np.ndarray) -> np.ndarray:
        power = np.square(image.astype(np.float64)).mean(axis=1, keepdims=True)
        return image / np.sqrt(power + EPSILON[spelling])

    z = by_channel([normal(image) for image in IMAGES])
    y = by_channel([run(graph, image) for image in IMAGES])
    lines = [np.polyfit(z[:, c], y[:, c], 1) for c in range(4)]
    expected = [a * normal(IMAGES[1])[0, c] + b for c, (a, b) in enumerate(lines)]
    assert difference(run(chosen, IMAGES[1]), np.stack(expected)[None]) < 2e-5


@spellings
def test_rms_norm_is_exact_where_channels_have_no_mean(spelling: str) -> None:
    images = [image - image.mean(axis=1, keepdims=True) for image in IMAGES]
    graph = norm(spelling)
    assert difference(run(rewritten(graph, RmsNorm(), images), images[0]), run(graph, images[0])) < 1e-5


@spellings
@pytest.mark.parametrize(("stride", "size"), [(2, (16, 12)), (4, (16, 12)), (3, (9, 12))])
def test_strided_norm(spelling: str, stride: int, size: tuple[int, int]) -> None:
    graph, images = norm(spelling, size=size), scenes(size=size)
    chosen = rewritten(graph, StridedNorm(stride=stride), images)
    x = images[0].astype(np.float64)
    small = x[:, :, ::stride, ::stride]
    mean = small.mean(axis=1, keepdims=True)
    deviation = np.sqrt(small.var(axis=1, keepdims=True) + EPSILON[spelling])
    mean, deviation = (t.repeat(stride, axis=2).repeat(stride, axis=3) for t in (mean, deviation))
    scale, shift = affine(graph)
    assert difference(run(chosen, images[0]), (x - mean) / deviation * scale + shift) < 1e-5
    assert difference(run(chosen, images[0]), run(graph, images[0])) > 1e-2
    flat = images[0][:, :, ::stride, ::stride].repeat(stride, axis=2).repeat(stride, axis=3)
    assert difference(run(chosen, flat), run(graph, flat)) < 1e-5  # exact where statistics do not change


def test_strided_norm_refuses_sizes_that_do_not_divide() -> None:
    reasons = refused(norm("decomposed", size=(16, 15)), StridedNorm())
    assert set(reasons) == {"expected a height and width that 2 divides, found 16x15"}
    with pytest.raises(ValueError, match="option 'stride' is 1; expected 2 or more"):
        StridedNorm(stride=1)


@spellings
@pytest.mark.parametrize("k", [2.0, 32.0, 128.0])
def test_fp16_safe_norm_is_exact(spelling: str, k: float) -> None:
    graph = norm(spelling)
    chosen = rewritten(graph, Fp16SafeNorm(scale=k), IMAGES)
    assert difference(run(chosen, 50 * IMAGES[0]), run(graph, 50 * IMAGES[0])) < 2e-6
    assert difference(run(chosen, 0.01 * IMAGES[0]), run(graph, 0.01 * IMAGES[0])) < 2e-6


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


@pytest.mark.parametrize("k", [1.0, 3.0, 100.0, -2.0, 0.0, float("inf")])
def test_scales_that_would_round(k: float) -> None:
    with pytest.raises(ValueError, match="expected a power of 2 above 1, e.g. 32"):
        Fp16SafeNorm(scale=k)
