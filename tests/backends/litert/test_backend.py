"""Networks through LiteRT's converter, run by XNNPACK: what they compute, what they cost, what the GPU refuses."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import difference, network, onnx_model, random_image, run
from tflite import litert_target, needs_litert

from graphopt.backends.litert.backend import LiteRtBackend
from graphopt.backends.litert.convert import TOLERANCE
from graphopt.backends.litert.flatbuffer import operators, read
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.models.shipped import SHIPPED
from graphopt.models.source import load_source
from graphopt.quantise.quantise import quantise

# A norm, a gate, channel attention, PReLU, down and up, and a skip over all of it.
BLOCK = """(float[1,8,96,64] image) => (float[1,8,96,64] restored) {
    mean = ReduceMean<keepdims=1>(image, channels)
    centred = Sub(image, mean)
    square = Mul(centred, centred)
    variance = ReduceMean<keepdims=1>(square, channels)
    shifted = Add(variance, epsilon)
    deviation = Sqrt(shifted)
    normal = Div(centred, deviation)
    scaled = Mul(normal, norm_scale)
    moved = Add(scaled, norm_shift)
    ["gate/conv"] wide = Conv<kernel_shape=[1,1]>(moved, w1, b1)
    deep = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(wide, w2, b2)
    left, right = Split<axis=1, num_outputs=2>(deep)
    gate = Mul(left, right)
    pool = ReduceMean<keepdims=1>(gate, space)
    attention = Conv<kernel_shape=[1,1]>(pool, w3)
    attended = Mul(gate, attention)
    bent = PRelu(attended, slope)
    small = Conv<kernel_shape=[2,2], strides=[2,2]>(bent, w4)
    much = Conv<kernel_shape=[1,1]>(small, w5)
    large = DepthToSpace<blocksize=2, mode="CRD">(much)
    restored = Add(large, image)
}"""
WEIGHTS = {
    "channels": np.array([1]), "space": np.array([2, 3]), "epsilon": 1e-6, "norm_scale": (1, 8, 1, 1),
    "norm_shift": (1, 8, 1, 1), "w1": (16, 8, 1, 1), "b1": (16,), "w2": (16, 1, 3, 3), "b2": (16,), "w3": (8, 8, 1, 1),
    "slope": (8, 1, 1), "w4": (12, 8, 2, 2), "w5": (32, 12, 1, 1),
}  # fmt: skip


def block() -> onnx.ModelProto:
    return to_model(network(BLOCK, WEIGHTS))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("cache"))


def backend(cache: CostCache, name: str = "host-litert", **fields: Any) -> LiteRtBackend:
    return LiteRtBackend(litert_target(name, **fields), cache)


def kinds(path: Path) -> list[str]:
    return [one.name for one in operators(read(path.read_bytes()))]


@needs_litert
def test_a_network_on_this_host(cache: CostCache, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, image = block(), np.abs(random_image(1, 8, 96, 64))
    artefact = backend(cache).build(model, tmp_path)
    (path,) = artefact.files
    assert path == tmp_path / "host-litert.tflite"
    assert not {"SPLIT", "SLICE", "TRANSPOSE", "DEPTH_TO_SPACE"} & set(kinds(path))
    (found,) = backend(cache).run(artefact, [image])
    assert difference(found, run(model, image)) < 1e-5
    manifest = artefact.manifest
    assert (manifest["format"], manifest["delegate"], manifest["precision"]) == ("tflite", "xnnpack", "fp32")
    image_says = {
        "layout": "NHWC",
        "shape": [1, 96, 64, 8],
        "dtype": "float32",
        "range": [0.0, 1.0],
        "quantisation": None,
    }
    assert manifest["inputs"] == [{"name": "image", **image_says}]
    assert manifest["outputs"] == [{"name": "restored", **image_says}]
    cost = backend(cache).price(model)
    assert (cost.provenance, 0 < cost.low_ms <= cost.latency_ms <= cost.high_ms) == ("measured", True)
    assert capfd.readouterr() == ("", "")


@needs_litert
def test_a_quantised_network(cache: CostCache, tmp_path: Path) -> None:
    """What can compute in integers does, the rest between conversions; numbers are those of the QDQ graph."""
    text = """(float[1,3,32,24] image) => (float[1,3,32,24] restored) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(image, w1, b1)
        left, right = Split<axis=1, num_outputs=2>(a)
        b = Mul(left, right)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=4>(b, w2)
        pool = ReduceMean<keepdims=1>(c, space)
        square = Mul(pool, pool)
        total = Add(square, one)
        root = Div(pool, total)
        d = Mul(c, root)
        large = ConvTranspose<kernel_shape=[2,2], strides=[2,2]>(d, w4)
        e = Conv<kernel_shape=[2,2], strides=[2,2]>(large, w3, b3)
        restored = Add(e, image)
    }"""
    weights = {
        "w1": (8, 3, 3, 3),
        "b1": (8,),
        "w2": (4, 1, 3, 3),
        "space": np.array([2, 3]),
        "w4": (4, 6, 2, 2),
        "one": 1.0,
    }
    model = to_model(network(text, {**weights, "w3": (3, 6, 2, 2), "b3": (3,)}))
    image = np.random.default_rng(1).random((1, 3, 32, 24), np.float32)
    made = quantise(model, [image], lambda one: 0.0, "w8a8", "litert")
    assert made.in_float == {"Div": 1}
    here = backend(cache, precision="w8a8")
    artefact = here.build(made.model, tmp_path)
    found = list(operators(read(artefact.files[0].read_bytes())))
    of_integers = {one.name for one in found if set(one.types) == {"INT8"}}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "MUL", "ADD", "MEAN"} <= of_integers
    assert artefact.manifest["inputs"][0]["dtype"] == artefact.manifest["outputs"][0]["dtype"] == "float32"
    (computed,), expected = here.run(artefact, [image]), run(made.model, image)
    step = max(np.ptp(expected), -expected.min(), expected.max()) / 255
    assert np.abs(computed - expected).max() < 2.01 * step
    assert np.abs(computed - expected).mean() < 0.1 * step
    assert here.price(made.model).latency_ms > 0


@needs_litert
def test_a_network_for_the_gpu(cache: CostCache, tmp_path: Path) -> None:
    gpu = backend(cache, "android-litert-gpu")
    artefact = gpu.build(block(), tmp_path)
    (path,) = artefact.files
    assert (artefact.manifest["delegate"], artefact.manifest["precision"]) == ("gpu", "fp16")
    assert artefact.manifest["inputs"][0]["dtype"] == "float32"
    assert kinds(path).count("DEQUANTIZE") >= 6  # the weights of each convolution are in fp16
    assert "TRANSPOSE" not in kinds(path)
    assert gpu.elsewhere == gpu.unpriced == "An Android phone's GPU, LiteRT is another device"
    with pytest.raises(GraphoptError, match="its artefacts do not run here"):
        gpu.run(artefact, [])
    here = backend(cache, precision="fp16").load(artefact)
    image = np.abs(random_image(1, 8, 96, 64))
    apart = difference(here([image])[0], run(block(), image))
    assert 1e-5 < apart < TOLERANCE["float16"]  # weights are rounded, and nothing else


@needs_litert
def test_what_the_gpu_refuses_is_named(cache: CostCache, tmp_path: Path) -> None:
    text = """(float[1,4,96,64] x) => (float[1,4,96,64] y) {
        ["head/clip"] a = Clip(x, zero, one)
        pool = ReduceMean<keepdims=1>(a, space)
        y = Mul(a, pool)
    }"""
    model = to_model(network(text, {"zero": 0.0, "one": 1.0, "space": np.array([2, 3])}))
    artefact = backend(cache, "android-litert-gpu", prepare=[]).build(model, tmp_path)
    assert artefact.files == ()
    assert artefact.refusal.startswith(
        "the GPU delegate does not take RELU_0_TO_1 at head/clip: the GPU delegate has no such operator; MEAN at "
    )
    assert artefact.refusal.endswith(
        "it sums 6144 values in fp16, 4096 at most stay in its range (pass two-step-pool, fp16-safe-norm)"
    )
    assert backend(cache).build(model, tmp_path).files  # a CPU takes it


@needs_litert
def test_several_inputs_and_outputs(cache: CostCache, tmp_path: Path) -> None:
    text = """(float[1,2,6,4] a, float[1,3] b) => (float[1,3] s, float[1,2,6,4] t) { s = Neg(b) t = Relu(a) }"""
    model = onnx_model(text, {})
    here = backend(cache, prepare=[])
    artefact = here.build(model, tmp_path)
    a, b = random_image(1, 2, 6, 4), random_image(1, 3)
    s, t = here.run(artefact, [a, b])
    np.testing.assert_array_equal(s, -b)
    np.testing.assert_array_equal(t, np.maximum(a, 0))


@needs_litert
def test_it_is_converted_once(cache: CostCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend(cache).build(block(), tmp_path)
    monkeypatch.setattr(subprocess, "run", None)
    backend(cache).build(block(), tmp_path)
    other = network(BLOCK, WEIGHTS, seed=1)  # the same graph, and other weights
    with pytest.raises(TypeError):
        backend(cache).build(to_model(other), tmp_path)


@needs_litert
def test_an_op_that_is_not_carried(cache: CostCache, tmp_path: Path) -> None:
    model = to_model(network("(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Celu(x) }"))
    with pytest.raises(GraphoptError, match="target host-litert: .*'Celu'.* cannot run in torch"):
        backend(cache).build(model, tmp_path)
    assert not list(tmp_path.iterdir())


@needs_litert
def test_what_is_in_the_key(cache: CostCache) -> None:
    key = backend(cache).key()
    assert backend(cache, title="Another title").key() == key
    assert backend(cache, threads=2).key() != key
    assert backend(cache, prepare=[]).key() != key


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize("name", ["nafnet-width8-sigma25", "nafnet-width16-mali-g78"])
@pytest.mark.parametrize("target", ["host-litert", "android-litert-gpu"])
def test_what_ships(name: str, target: str, cache: CostCache, tmp_path: Path) -> None:
    """`build` itself compares each with onnxruntime."""
    model, _ = load_source(SHIPPED[name].path, None, tmp_path)
    artefact = backend(cache, target).build(model, tmp_path)
    assert artefact.refusal == ""
    weights = {"fp32": 4, "fp16": 2}[artefact.manifest["precision"]]
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert parameters * weights < artefact.files[0].stat().st_size < parameters * weights + 400_000
    here = backend(cache, target)
    measured = here.measured_memory(model)
    assert (measured is None) == bool(here.unpriced)
    if measured is not None:
        assert here.planned_memory(model) == pytest.approx(measured, rel=0.15)
