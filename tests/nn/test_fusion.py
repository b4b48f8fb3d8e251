"""Channel norms run as one kernel in every spelling, with the values and the gradients of their single ops."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from graphs import onnx_model, random_image, run
from norm_spellings import OTHER_NORMS, SPELLINGS, Spelling

from graphopt.nn.fusion import find_fused
from graphopt.nn.module import GraphModule

X = random_image(1, 4, 8, 6)


def raw_graph(spelling: Spelling) -> tuple[onnx.ModelProto, gs.Graph]:
    """As it is written: at its own opset, and not in canonical form."""
    model = onnx_model(spelling.text, spelling.weights, opset=spelling.opset)
    return model, gs.import_onnx(onnx.shape_inference.infer_shapes(model))


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_norm_is_one_kernel_with_the_values_of_onnxruntime(spelling: Spelling) -> None:
    model, graph = raw_graph(spelling)
    (fused,) = find_fused(graph.nodes, frozenset({"y"}))
    assert {node.name for node in fused.nodes} == {node.name for node in graph.nodes}
    found = GraphModule(graph)(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(found, run(model, X), atol=2e-6)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_its_gradients_are_those_of_its_single_ops(spelling: Spelling) -> None:
    _, graph = raw_graph(spelling)
    inner = graph.nodes[0].outputs[0].name
    assert find_fused(graph.nodes, frozenset({"y", inner})) == []
    gradients = []
    for watch in ([], [inner]):
        module = GraphModule(graph, watch).double()
        x = torch.from_numpy(X).double().requires_grad_()
        module(x).pow(3).sum().backward()
        weights = module.named_initialisers()
        assert set(weights) == {name for name in ("w", "b") if name in spelling.weights}
        gradients.append({"x": x.grad, **{name: weight.grad for name, weight in weights.items()}})
    fused, single = gradients
    for name, gradient in single.items():
        assert gradient.abs().max() > 0.1
        torch.testing.assert_close(fused[name], gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spelling", OTHER_NORMS.values(), ids=OTHER_NORMS)
def test_other_norms_are_not_fused(spelling: Spelling) -> None:
    assert find_fused(raw_graph(spelling)[1].nodes, frozenset({"y"})) == []


def test_one_weight_for_all_channels() -> None:
    weights = {**SPELLINGS["permuted"].weights, "w": np.array([2], np.float32), "b": np.array([0.5], np.float32)}
    model = onnx_model(SPELLINGS["permuted"].text, weights)
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    assert len(find_fused(graph.nodes, frozenset({"y"}))) == 1
    np.testing.assert_allclose(GraphModule(graph)(torch.from_numpy(X)).detach().numpy(), run(model, X), atol=2e-6)


def test_weights_of_more_channels_than_the_image_has_are_not_fused() -> None:
    """The product has four channels, of an image with one."""
    text = SPELLINGS["as the official NAFNet"].text.replace("[1, 4, 8, 6] x", "[1, 1, 8, 6] x")
    model = onnx_model(text, SPELLINGS["as the official NAFNet"].weights)
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    x = random_image(1, 1, 8, 6)
    np.testing.assert_allclose(GraphModule(graph)(torch.from_numpy(x)).detach().numpy(), run(model, x), atol=1e-6)


def test_a_norm_that_reaches_beyond_the_nodes_is_not_fused() -> None:
    _, graph = raw_graph(SPELLINGS["two subs"])
    assert find_fused(graph.nodes[1:], frozenset({"y"})) == []
    assert len(find_fused(graph.nodes[:-1], frozenset({"a"}))) == 1
