"""The emulated NPU beside integer arithmetic in numpy: how it rounds, where onnxruntime-qnn is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from npu import hexagon, needs_compiler
from numpy.typing import NDArray
from onnx import numpy_helper

from graphopt.backends.qnn.compiler import compile_npu
from graphopt.backends.qnn.emulator import emulate
from graphopt.cost.cache import CostCache
from graphopt.ir.session import OnnxSession

Floats = NDArray[np.float64]
SHAPE = (1, 16, 32, 32)
IMAGE = "float[1,16,32,32]"
TOP = {"uint8": 255, "uint16": 65535}
both = pytest.mark.parametrize("kind", TOP)


def parsed(text: str, **initialisers: NDArray[np.generic]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in initialisers.items())
    return model


def on_npu(model: onnx.ModelProto, folder: Path, *images: NDArray[np.float32]) -> NDArray[np.float32]:
    _, files = compile_npu(model, hexagon(), folder)
    made: NDArray[np.float32] = emulate(files, images, hexagon(), CostCache(folder / "cache"))[0]
    return made


def away(made: NDArray[np.float32], exact: Floats, step: float, zero: int, top: int) -> Floats:
    """By how many steps integers differ from what they round, where it lies within the range."""
    inside = (exact > 1) & (exact < top - 1)
    assert inside.mean() > 0.5
    found: Floats = (np.rint(made / step) + zero - exact)[inside]
    return found


def convolution(kind: str) -> tuple[onnx.ModelProto, NDArray[np.float32], Floats, float, int]:
    """3x3 with a step for each output channel and a bias; an image on the grid of its steps, and what comes out of
    exact arithmetic, in steps of the output.
    """
    random, top = np.random.default_rng(0), TOP[kind]
    step_x, step_y, zero_x, zero_y = 1 / top, 3.3 / top, top // 10, top // 2
    weights = random.integers(-127, 128, (16, 16, 3, 3), dtype=np.int8)
    step_w = (random.uniform(0.5, 1.5, 16) / 760).astype(np.float32)
    step_b = step_w * np.float32(step_x)
    bias = random.integers(-50 * top, 50 * top, 16, dtype=np.int32)
    model = parsed(
        f"""g ({IMAGE} x) => ({IMAGE} y) <float sx = {{{step_x}}}, {kind} zx = {{{zero_x}}},
        float sy = {{{step_y}}}, {kind} zy = {{{zero_y}}}> {{
        q = QuantizeLinear(x, sx, zx) d = DequantizeLinear(q, sx, zx)
        v = DequantizeLinear<axis=0>(w, sw, zw) b = DequantizeLinear<axis=0>(bq, sb, zb)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, v, b)
        e = QuantizeLinear(c, sy, zy) y = DequantizeLinear(e, sy, zy) }}""",
        w=weights, sw=step_w, zw=np.zeros(16, np.int8), bq=bias, sb=step_b, zb=np.zeros(16, np.int32),
    )  # fmt: skip
    levels = random.integers(0, top + 1, SHAPE) - zero_x
    padded = np.pad(levels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    total = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.int64), optimize=True) + bias[:, None, None]
    exact = total * (step_x * step_w.astype(float) / step_y)[:, None, None] + zero_y
    return model, (levels * step_x).astype(np.float32), exact, step_y, zero_y


@needs_compiler
@both
def test_a_convolution_is_that_of_integers_within_a_step(tmp_path: Path, kind: str) -> None:
    """Requantising multiplies by a rounded factor: up to a quarter of a step beside the half that rounding takes."""
    model, image, exact, step, zero = convolution(kind)
    found = away(on_npu(model, tmp_path, image), exact, step, zero, TOP[kind])
    assert np.abs(found).max() < 0.75
    assert abs(found.mean()) < 0.1
    assert (np.abs(found) > 0.5).mean() < 0.1  # the rest rounds to the nearest
    cpu = away(OnnxSession(model, optimise=False).run(image), exact, step, zero, TOP[kind])
    assert np.abs(cpu).max() < 0.51


@needs_compiler
@pytest.mark.parametrize(("kind", "most"), [("uint8", 0.51), ("uint16", 1.5)])
def test_a_sum_of_two_scales(tmp_path: Path, kind: str, most: float) -> None:
    """To the nearest in 8 bits; in 16 it is up to a step and a half off."""
    random, top = np.random.default_rng(1), TOP[kind]
    steps, zeros = (1 / top, 1.7 / top, 2.4 / top), (top // 10, top // 2, int(0.4 * top))
    constants = ", ".join(f"float s{i} = {{{steps[i]}}}, {kind} z{i} = {{{zeros[i]}}}" for i in range(3))
    model = parsed(f"""g ({IMAGE} a, {IMAGE} b) => ({IMAGE} y) <{constants}> {{
        qa = QuantizeLinear(a, s0, z0) da = DequantizeLinear(qa, s0, z0)
        qb = QuantizeLinear(b, s1, z1) db = DequantizeLinear(qb, s1, z1) c = Add(da, db)
        q = QuantizeLinear(c, s2, z2) y = DequantizeLinear(q, s2, z2) }}""")
    given = [(random.integers(0, top + 1, SHAPE) - zero) * step for step, zero in zip(steps[:2], zeros, strict=False)]
    made = on_npu(model, tmp_path, *(image.astype(np.float32) for image in given))
    found = away(made, (given[0] + given[1]) / steps[2] + zeros[2], steps[2], zeros[2], top)
    assert np.abs(found).max() < most


@needs_compiler
@pytest.mark.parametrize(("kind", "turns_up"), [("uint8", 7 / 16), ("uint16", 1 / 2)])
def test_an_image_rounds_up_early_in_8_bits(tmp_path: Path, kind: str, turns_up: float) -> None:
    """Float to integer at the network's input: from 7/16 of a step upwards, where onnxruntime takes the nearest."""
    top = TOP[kind]
    step, zero = 1 / top, top // 10
    model = parsed(f"""g ({IMAGE} x) => ({IMAGE} y) <float s = {{{step}}}, {kind} z = {{{zero}}}> {{
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) m = MaxPool<kernel_shape=[1,1]>(d)
        r = QuantizeLinear(m, s, z) y = DequantizeLinear(r, s, z) }}""")
    image = np.random.default_rng(2).uniform(-0.05, 0.85, SHAPE).astype(np.float32)
    exact = image.astype(float) / step + zero
    found = away(on_npu(model, tmp_path, image), exact, step, zero, top)
    assert found.max() == pytest.approx(1 - turns_up, abs=0.01)
    assert found.min() == pytest.approx(-turns_up, abs=0.07)  # the bounds overlap: it is not exact there
