"""transposed-upsample, which is exact, and resize-upsample."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from graphopt.passes.resize_upsample import ResizeUpsample
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import difference, kinds, network, onnx_model, random_image, run

from graphopt import Contract
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space_building import build_space
from graphopt.ir.view import GraphView

IMAGE = random_image(1, 6, 5, 7, seed=9)
SIGNATURE = "(float[1, 6, 5, 7] x) => (float[1, 3, 10, 14] y)"


def silent(share: float, text: str) -> None: ...


def upsample(bias: str, attributes: str = "") -> gs.Graph:
    operands = "x, w" if bias == "none" else "x, w, b"
    values = np.repeat([0.5, -1, 2], 4) if bias == "one for each channel" else (12,)
    text = f'{SIGNATURE} {{ ["ups.0/conv"] a = Conv{attributes}({operands})'
    text += ' ["ups.0/depthtospace"] y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }'
    return network(text, {"w": (12, 6, 1, 1), "b": values})


@pytest.mark.parametrize("bias", ["none", "one for each channel", "one for each sub-pixel"])
@pytest.mark.parametrize(
    "attributes", ["", "<kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], group = 1>"]
)
def test_transposed_upsample_is_exact(bias: str, attributes: str) -> None:
    graph = upsample(bias, attributes)
    space = build_space(graph, [TransposedUpsample()], [IMAGE], [], silent)
    assert {name: choice.options for name, choice in space.choices.items()} == {
        "ups.0": ("keep", "transposed-upsample")
    }
    assert space.choices["ups.0"].candidates["transposed-upsample"].contract is Contract.EXACT
    chosen = apply_selection(space, {"ups.0": "transposed-upsample"})
    assert kinds(chosen) == ["ConvTranspose", *(["Add"] if bias == "one for each sub-pixel" else [])]
    assert difference(run(chosen, IMAGE), run(graph, IMAGE)) < 1e-6


@pytest.mark.parametrize("bias", ["none", "one for each sub-pixel"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resize_upsample(bias: str, mode: str) -> None:
    graph = upsample(bias)
    space = build_space(graph, [ResizeUpsample(mode=mode)], [IMAGE], [], silent)
    chosen = apply_selection(space, {"ups.0": "resize-upsample"})
    assert kinds(chosen) == ["Conv", "Resize"]
    # independently: the mean over sub-pixels with numpy, and onnxruntime's Resize on its own
    weight = graph.tensors()["w"].values.reshape(3, 4, 6).mean(axis=1)
    small = np.einsum("oc,nchw->nohw", weight, IMAGE)
    if bias != "none":
        small += graph.tensors()["b"].values.reshape(3, 4).mean(axis=1).reshape(1, -1, 1, 1)
    kind = "linear" if mode == "bilinear" else "nearest"
    text = "(float[1, 3, 5, 7] x) => (float[1, 3, 10, 14] y) {"
    text += f' y = Resize<mode = "{kind}", coordinate_transformation_mode = "half_pixel">(x,, s) }}'
    resize = onnx_model(text, {"s": np.array([1, 1, 2, 2], np.float32)})
    session = onnxruntime.InferenceSession(resize.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": small.astype(np.float32)})[0]
    assert difference(run(chosen, IMAGE), expected) < 1e-5
    if mode == "nearest":  # and that is the mean of the four sub-pixels, everywhere
        original = run(graph, IMAGE)
        means = original.reshape(1, 3, 5, 2, 7, 2).mean(axis=(3, 5))
        assert difference(run(chosen, IMAGE), means.repeat(2, axis=2).repeat(2, axis=3)) < 1e-5


@pytest.mark.parametrize(
    "text",
    [
        'a = Conv(x, w) y = DepthToSpace<blocksize = 2, mode = "DCR">(a)',
        "a = Conv(x, w) y = DepthToSpace<blocksize = 2>(a)",  # DCR is ONNX's default
        'a = Conv<pads = [1, 1, 1, 1]>(x, w3) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
        'b = Resize(x,, twice) a = Conv<strides = [2, 2]>(b, w) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
        'a = Conv<group = 2>(x, w2) y = DepthToSpace<blocksize = 2, mode = "CRD">(a)',
    ],
)
def test_other_upsampling_is_left_alone(text: str) -> None:
    weights = {
        "w": (12, 6, 1, 1),
        "w3": (12, 6, 3, 3),
        "w2": (12, 3, 1, 1),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }
    graph = network(f"{SIGNATURE} {{ {text} }}", weights)
    assert list(TransposedUpsample().sites(GraphView(graph))) == []
    assert list(ResizeUpsample().sites(GraphView(graph))) == []
