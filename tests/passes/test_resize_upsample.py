"""resize-upsample: the mean of the four sub-pixels, enlarged."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from graphopt.passes.resize_upsample import ResizeUpsample
from graphs import difference, kinds, onnx_model, refused, rewritten, run, site_names
from layers import IMAGES, OTHER_UPSAMPLING, UP_BIASES, other_upsampling, up


@pytest.mark.parametrize("bias", ["none", "one for each sub-pixel"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_the_mean_is_enlarged(bias: str, mode: str) -> None:
    graph, image = up(bias=UP_BIASES[bias]), IMAGES[0]
    chosen = rewritten(graph, ResizeUpsample(mode=mode), IMAGES)
    assert kinds(chosen) == ["Conv", "Resize"]
    # independently: the mean over sub-pixels with numpy, and onnxruntime's Resize on its own
    weight = graph.tensors()["w"].values.reshape(3, 4, 8).mean(axis=1)
    small = np.einsum("oc,nchw->nohw", weight, image)
    if bias != "none":
        small += graph.tensors()["b"].values.reshape(3, 4).mean(axis=1).reshape(1, -1, 1, 1)
    kind = "linear" if mode == "bilinear" else "nearest"
    text = "(float[1, 3, 12, 10] x) => (float[1, 3, 24, 20] y) {"
    text += f' y = Resize<mode = "{kind}", coordinate_transformation_mode = "half_pixel">(x,, s) }}'
    resize = onnx_model(text, {"s": np.array([1, 1, 2, 2], np.float32)})
    session = onnxruntime.InferenceSession(resize.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": small.astype(np.float32)})[0]
    assert difference(run(chosen, image), expected) < 1e-5
    if mode == "nearest":  # and that is the mean of the four sub-pixels, everywhere
        means = run(graph, image).reshape(1, 3, 12, 2, 10, 2).mean(axis=(3, 5))
        assert difference(run(chosen, image), means.repeat(2, axis=2).repeat(2, axis=3)) < 1e-5


def test_upsamplings_are_sites(nafnet_graph: gs.Graph) -> None:
    assert site_names(nafnet_graph, ResizeUpsample()) == ["ups.0"]


@pytest.mark.parametrize("text", OTHER_UPSAMPLING)
def test_other_upsampling_is_left_alone(text: str) -> None:
    assert site_names(other_upsampling(text), ResizeUpsample()) == []


def test_a_convolution_that_is_read_elsewhere_stays() -> None:
    graph = up()
    graph.outputs.append(graph.tensors()["a"])
    assert refused(graph, ResizeUpsample()) == ["a, inside the site, is an output of the graph"]
