"""Whole graphs in torch: values, gradients, names and the way back into ONNX."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper, parser

from graphopt.errors import GraphoptError
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.nn.initialisers import attribute_name
from graphopt.nn.module import GraphModule
from graphopt.nn.program import NodeStep, Routing


def run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    results: list[np.ndarray] = session.run(None, dict(zip(names, inputs, strict=True)))
    return results


def assert_close(got: torch.Tensor, expected: np.ndarray, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def labels(module: GraphModule) -> list[str]:
    return [step.label for step, _ in module._program._plan]


@pytest.fixture(scope="module")
def network() -> NAFNet:
    """A NAFNet whose every weight is random: at the initial beta = 0 the blocks would do nothing."""
    torch.manual_seed(0)
    net = NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(one + 0.3 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def model(network: NAFNet) -> onnx.ModelProto:
    program = torch.onnx.export(network.eval(), (torch.rand(1, 3, 16, 24),), dynamo=True, verbose=False)
    assert program is not None
    return onnx.shape_inference.infer_shapes(program.model_proto)


@pytest.fixture
def graph(model: onnx.ModelProto) -> gs.Graph:
    return gs.import_onnx(copy.deepcopy(model))


def image(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).random(shape).astype(np.float32))


def test_nafnet_equals_onnxruntime(model: onnx.ModelProto, graph: gs.Graph) -> None:
    x = image(1, 3, 16, 24)
    assert_close(GraphModule(graph)(x), run(model, x.numpy())[0])


def test_nafnet_at_another_batch_and_size_and_layout(network: NAFNet, graph: gs.Graph) -> None:
    module = GraphModule(graph).to(memory_format=torch.channels_last)
    x = image(3, 3, 32, 20).to(memory_format=torch.channels_last)
    result = module(x)
    assert_close(result, network(x).detach().numpy())
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_every_norm_of_nafnet_runs_as_one_kernel(graph: gs.Graph) -> None:
    module = GraphModule(graph)
    assert sum("channel norm" in label for label in labels(module)) == 10
    assert not any("(Sqrt)" in label for label in labels(module))


def test_gradients_are_those_of_the_network(network: NAFNet, graph: gs.Graph) -> None:
    x = image(2, 3, 16, 24)
    module = GraphModule(graph)
    network.zero_grad()
    network(x).square().mean().backward()
    module(x).square().mean().backward()
    mine = module.named_initialisers()
    assert len(mine) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        if "norm" not in name:  # the exporter renames the norms' reshaped weights
            assert parameter.grad is not None
            gradient = mine[name].grad
            assert gradient is not None
            assert_close(gradient, parameter.grad.numpy(), rtol=1e-4)


def test_numbers_and_integers_are_not_trained(graph: gs.Graph) -> None:
    module = GraphModule(graph)
    constants = {t.name: t for t in graph.tensors().values() if isinstance(t, gs.Constant)}
    buffers = set(constants) - set(module.named_initialisers())
    assert buffers
    assert all(constants[name].values.size <= 2 for name in buffers)
    assert {t.requires_grad for n, t in module.initialisers.tensors().items() if n in buffers} == {False}
    assert module.get_parameter(f"initialisers.{attribute_name('intro.weight')}") is not None


def values_of(graph: gs.Graph) -> dict[str, bytes]:
    return {i.name: i.SerializeToString() for i in gs.export_onnx(graph).graph.initializer}


def test_untrained_weights_go_back_bit_for_bit(model: onnx.ModelProto, graph: gs.Graph) -> None:
    before = values_of(graph)
    module = GraphModule(graph).to(memory_format=torch.channels_last)
    blank = gs.import_onnx(copy.deepcopy(model))
    for name in module.named_initialisers():
        constant = blank.tensors()[name]
        constant.values = np.zeros_like(constant.values)
    assert values_of(blank) != before
    module.write_back(blank)
    assert values_of(blank) == before
    module.double().write_back(graph)
    assert values_of(graph) == before


def test_trained_weights_go_back_and_run(model: onnx.ModelProto, graph: gs.Graph) -> None:
    module = GraphModule(graph)
    x = image(1, 3, 16, 24)
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    module(x).square().mean().backward()
    optimiser.step()
    module.write_back(graph)
    changed = run(gs.export_onnx(graph), x.numpy())[0]
    assert_close(module(x), changed)
    assert np.abs(changed - run(model, x.numpy())[0]).max() > 1e-4


def text_graph(text: str) -> tuple[onnx.ModelProto, gs.Graph]:
    model = onnx.shape_inference.infer_shapes(parser.parse_model(text))
    return model, gs.import_onnx(copy.deepcopy(model))


def with_constants(text: str, **constants: np.ndarray) -> tuple[onnx.ModelProto, gs.Graph]:
    """A model from text, with initialisers added; the text may name them freely."""
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model = onnx.shape_inference.infer_shapes(model)
    return model, gs.import_onnx(copy.deepcopy(model))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


NUMBERS = {"two": np.array(2, np.float32), "eps": np.array(1e-6, np.float32), "four": np.array(4, np.float32)}
# The spelling of exporters that trace: Constant nodes, axes as attributes, the mean subtracted twice, sizes computed.
LEGACY = """
<ir_version: 8, opset_import: ["" : 17]>
legacy (float[1, 4, 6, 8] x) => (float[1, 4, 6, 8] y)
{
  m = ReduceMean <axes = [1], keepdims = 1> (x)
  first = Sub (x, m)
  power = Pow (first, two)
  variance = ReduceMean <axes = [-3], keepdims = 1> (power)
  raised = Add (eps, variance)
  root = Sqrt (raised)
  second = Sub (x, m)
  normal = Div (second, root)
  scaled = Mul (w, normal)
  shifted = Add (scaled, b)
  pads = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> ()
  padded = Pad <mode = "reflect"> (shifted, pads)
  z = Conv <kernel_shape = [3, 3], pads = [0, 0, 0, 0]> (padded, k)
  sizes = Shape (z)
  two_axis = Constant <value = int64 {2}> ()
  height = Gather <axis = 0> (sizes, two_axis)
  axes0 = Constant <value = int64[1] {0}> ()
  end = Unsqueeze (height, axes0)
  cut_axis = Constant <value = int64[1] {2}> ()
  cut = Slice (z, axes0, end, cut_axis)
  sliced = Add (cut, x)
  y = Identity (sliced)
}
"""


def legacy() -> tuple[onnx.ModelProto, gs.Graph]:
    weights = {"w": random(1, 4, 1, 1), "b": random(4, 1, 1, seed=1), "k": random(4, 4, 3, 3, seed=2), **NUMBERS}
    return with_constants(LEGACY, **weights)


def test_legacy_spelling_equals_onnxruntime_with_its_norm_fused() -> None:
    model, graph = legacy()
    module = GraphModule(graph)
    x = random(1, 4, 6, 8, seed=3)
    assert_close(module(torch.from_numpy(x)), run(model, x)[0])
    assert sum("channel norm" in label for label in labels(module)) == 1
    assert set(module.named_initialisers()) == {"w", "b", "k"}
    assert module(torch.rand(2, 4, 9, 7)).shape == (2, 4, 9, 7)


@pytest.mark.parametrize("inner", ["m", "first", "power", "variance", "root", "second", "normal", "scaled"])
def test_a_norm_whose_inside_is_read_is_not_fused(inner: str) -> None:
    model, _ = legacy()
    model.graph.output.append(helper.make_tensor_value_info(inner, onnx.TensorProto.FLOAT, None))
    model.graph.output[1].type.tensor_type.ClearField("shape")
    module = GraphModule(gs.import_onnx(model))
    x = random(1, 4, 6, 8, seed=3)
    fused = sum("channel norm" in label for label in labels(module))
    assert fused == (1 if inner in ("normal", "scaled") else 0)  # what is before the affine may still be one kernel
    for got, expected in zip(module(torch.from_numpy(x)), run(model, x), strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m = ReduceMean <axes = [1]", "m = ReduceMean <axes = [2]"),
        ("Pow (first, two)", "Pow (first, four)"),
        ("power = Pow (first, two)", "power = Mul (first, x)"),
        ("second = Sub (x, m)", "second = Sub (m, x)"),
    ],
)
def test_what_is_only_like_a_norm_is_not_fused(old: str, new: str) -> None:
    weights = {"w": random(1, 4, 1, 1), "b": random(4, 1, 1, seed=1), "k": random(4, 4, 3, 3, seed=2), **NUMBERS}
    assert old in LEGACY
    model, graph = with_constants(LEGACY.replace(old, new), **weights)
    module = GraphModule(graph)
    assert not any("channel norm" in label for label in labels(module))
    x = random(1, 4, 6, 8, seed=3)
    expected = run(model, x)[0]
    got = module(torch.from_numpy(x)).detach().numpy()
    real = np.isfinite(expected)
    assert real.any()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got[real], expected[real], rtol=1e-4, atol=1e-5 * np.abs(expected[real]).max())


def test_transposed_layer_norm_keeps_its_image_channels_last() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    transposed (float[1, 4, 6, 8] x) => (float[1, 4, 6, 8] y)
    {
      rows = Transpose <perm = [0, 2, 3, 1]> (x)
      normal = LayerNormalization <axis = -1, epsilon = 0.000001> (rows, w, b)
      y = Transpose <perm = [0, 3, 1, 2]> (normal)
    }
    """
    model, graph = with_constants(text, w=random(4), b=random(4, seed=1))
    x = random(1, 4, 6, 8, seed=3)
    result = GraphModule(graph)(torch.from_numpy(x).to(memory_format=torch.channels_last))
    assert_close(result, run(model, x)[0])
    assert result.is_contiguous(memory_format=torch.channels_last)


GRADIENTS = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[1, 4, 4, 4] x) => (float[1, 2, 8, 8] y)
{
  m = ReduceMean (x, axes)
  c = Sub (x, m)
  s = Mul (c, c)
  v = ReduceMean (s, axes)
  e = Add (v, eps)
  r = Sqrt (e)
  n = Div (c, r)
  a = Mul (n, w)
  z = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a, k, kb)
  g, h = Split <axis = 1, num_outputs = 2> (z)
  gated = Mul (g, h)
  limited = Clip (gated, low, high)
  p = GlobalAveragePool (limited)
  attended = Mul (limited, p)
  y = DepthToSpace <blocksize = 2, mode = "CRD"> (attended)
}
"""


def gradient_graph() -> gs.Graph:
    return with_constants(
        GRADIENTS,
        axes=np.array([1], np.int64),
        eps=np.array(1e-3, np.float32),
        low=np.array(-9, np.float32),
        high=np.array(9, np.float32),
        w=random(1, 4, 1, 1, seed=5),
        k=random(16, 4, 3, 3, seed=6) * 0.3,
        kb=random(16, seed=7),
    )[1]


def test_gradients_against_finite_differences() -> None:
    module = GraphModule(gradient_graph()).double()
    assert any("channel norm" in label for label in labels(module))
    parameters = module.named_initialisers()
    assert set(parameters) == {"w", "k", "kb"}
    x = torch.from_numpy(random(1, 4, 4, 4, seed=8)).double().requires_grad_()

    def result(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        held = {f"initialisers.{attribute_name(n)}": w for n, w in zip(parameters, weights, strict=True)}
        return torch.func.functional_call(module, held, (x,))

    assert torch.autograd.gradcheck(result, (x, *parameters.values()), fast_mode=True)


def test_running_statistics_are_not_trained() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    batch (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = BatchNormalization (x, w, b, mean, var) }
    """
    weights = {name: random(3, seed=i) for i, name in enumerate(("w", "b", "mean"))}
    _, graph = with_constants(text, **weights, var=np.ones(3, np.float32))
    module = GraphModule(graph)
    assert set(module.named_initialisers()) == {"w", "b"}
    assert module(torch.rand(2, 3, 4, 4)).requires_grad


def test_names_decide_what_is_fixed() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    named (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { a = Mul (x, w_fixed)  y = PRelu (a, slope) }
    """
    _, graph = with_constants(text, w_fixed=random(3, 1, 1), slope=np.array([0.1], np.float32))
    assert set(GraphModule(graph).named_initialisers()) == {"slope"}


@pytest.fixture
def chain() -> GraphModule:
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    chain (float[1, 3] x) => (float[1, 3] e, float[1, 3] a)
    { a = Relu (x)  b = Sigmoid (a)  c, unused = Split <axis = 1, num_outputs = 2> (b)  d = Neg (b)  e = Add (d, a) }
    """
    return GraphModule(text_graph(text)[1])


def test_tensors_are_dropped_after_their_last_use(chain: GraphModule) -> None:
    alive: list[set[str]] = []

    class Watch(dict):
        def __setitem__(self, name: str, tensor: torch.Tensor) -> None:
            super().__setitem__(name, tensor)
            alive.append(set(self))

    environment = Watch(x=torch.rand(1, 3))
    chain._program.run(environment, Routing())
    assert set(environment) == {"x", "a", "e"}
    assert alive[-1] == {"x", "a", "d", "e"}
    assert all(isinstance(step, NodeStep) for step, _ in chain._program._plan)


def test_outputs_come_in_the_order_of_the_graph(chain: GraphModule) -> None:
    x = torch.tensor([[1.0, -2.0, 3.0]])
    e, a = chain(x)
    assert torch.equal(a, torch.relu(x))
    torch.testing.assert_close(e, torch.relu(x) - torch.sigmoid(torch.relu(x)))


POOL = """
<ir_version: 10, opset_import: ["" : 20]>
pool (float[1, 2, 4, 4] x) => (float[1, 2, 2, 2] y)
{ y, where = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }
"""


def test_an_optional_output_may_be_named_but_not_read() -> None:
    model, graph = text_graph(POOL)
    x = random(1, 2, 4, 4)
    assert_close(GraphModule(graph)(torch.from_numpy(x)), run(model, x)[0])
    graph.outputs.append(graph.tensors()["where"])
    with pytest.raises(GraphoptError, match="the output 'where' is not computed"):
        GraphModule(graph)


def test_mistakes_are_named(chain: GraphModule, graph: gs.Graph) -> None:
    with pytest.raises(GraphoptError, match=r"takes 1 inputs \(x\), 2 were given"):
        chain(torch.rand(1, 3), torch.rand(1, 3))
    module = GraphModule(graph)
    with pytest.raises(GraphoptError, match=r"no initialiser 'intro\.weight'"):
        module.write_back(gradient_graph())
    graph.tensors()["intro.weight"].values = np.zeros((4, 3, 1, 1), np.float32)
    with pytest.raises(
        GraphoptError, match=r"'intro\.weight' has shape \(4, 3, 1, 1\), the trained one \(4, 3, 3, 3\)"
    ):
        module.write_back(graph)
    _, broken = text_graph(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[3] x) => (float[3] y) { a = Relu (x)  y = Add (a, x) }'
    )
    broken.nodes.pop(0)
    with pytest.raises(GraphoptError, match=r"\(Add\) reads the tensor 'a', which nothing before it makes"):
        GraphModule(broken)
