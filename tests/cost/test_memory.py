"""The plan of onnxruntime's memory, by hand on small graphs and against the real thing on a larger one."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from costs.memory import measured_bytes
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.memory import activation_bytes, image_bytes, weight_bytes

HEAD = '<ir_version: 10, opset_import: ["" : 20]> g '


def model(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    made = parser.parse_model(HEAD + text)
    random = np.random.default_rng(0)
    for name, shape in weights.items():
        made.graph.initializer.append(numpy_helper.from_array(random.random(shape, dtype=np.float32), name))
    return made


def test_a_chain_alternates_between_two_buffers() -> None:
    chain = model("(float[1,2,4,4] x) => (float[1,2,4,4] y) { a = Relu(x) b = Exp(a) c = Neg(b) y = Relu(c) }")
    assert activation_bytes(chain, 4) == 2 * 32 * 4  # the output has a buffer of its own, when one of the two is free
    assert image_bytes(chain, 4) == 32 * 4


def test_a_buffer_waits_for_the_next_tensor_of_its_shape() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
        a = Relu(x) s = ReduceMean<keepdims = 1>(a) large = Expand(s, shape) m = ReduceMean<keepdims = 1>(large)
        b = Add(x, m) y = Neg(b) }"""
    made = model(text)
    made.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 4, 4]), "shape"))
    # nothing reads a's buffer while `large` is there, but it is kept for b; m takes over the buffer of s
    assert activation_bytes(made, 2) == 2 * (32 + 64 + 1)


def test_views_hold_the_buffer_of_what_they_show() -> None:
    text = "(float[1,2,4,4] x) => (float[32] y) { a = Relu(x) v = Reshape(a, shape) b = Exp(v) y = Add(b, v) }"
    made = model(text)
    made.graph.initializer.append(numpy_helper.from_array(np.array([32]), "shape"))
    assert activation_bytes(made, 4) == 3 * 32 * 4
    assert weight_bytes(made, 4) == 0


def test_weights_count_in_the_width_of_the_target() -> None:
    made = model("(float[1,2,4,4] x) => (float[1,3,4,4] y) { y = Conv(x, w) }", w=(3, 2, 1, 1))
    assert (weight_bytes(made, 4), weight_bytes(made, 2)) == (24, 12)


def test_a_phone_gpu_takes_what_tvm_plans(tmp_path: Path) -> None:
    made = model(
        """(float[1,4,16,16] x) => (float[1,2,16,16] y) {
        a = Conv<pads = [1, 1, 1, 1]>(x, v) b = Relu(a) c = Conv<pads = [1, 1, 1, 1]>(b, w) d = Relu(c)
        y = Conv(d, u) }""",
        v=(8, 4, 3, 3),
        w=(8, 8, 3, 3),
        u=(2, 8, 1, 1),
    )
    target, cache = load_target("exynos2100-mali-g78"), CostCache(tmp_path)
    # Relu runs inside the convolutions: two activations of 8 channels, the result; the image and the weights
    elements = 2 * 8 * 256 + 2 * 256 + 4 * 256 + (8 * 4 * 9 + 8 * 8 * 9 + 2 * 8)
    assert open_backend(target, cache).price(made).peak_memory_bytes == 2 * elements


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the resident set is read from /proc")
def test_the_plan_is_what_onnxruntime_needs(tmp_path: Path) -> None:
    image = "float[1,16,512,512]"
    text = f"""({image} x) => ({image} y) {{
        a = Conv<pads = [1, 1, 1, 1]>(x, w) n = Relu(a) wide = Conv(n, e) p, q = Split<axis = 1, num_outputs = 2>(wide)
        g = Mul(p, q) m = ReduceMean<keepdims = 1>(g, axes) s = Mul(g, m) r = Add(x, s) d = Conv<strides = [2, 2]>(r, k)
        u = DepthToSpace<blocksize = 2, mode = "CRD">(d) y = Add(u, r) }}"""
    made = model(text, w=(16, 16, 3, 3), e=(32, 16, 1, 1), k=(64, 16, 2, 2))
    made.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    assert activation_bytes(made, 4) == pytest.approx(measured_bytes(path), rel=0.05)
