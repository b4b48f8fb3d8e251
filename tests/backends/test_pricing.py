import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from graphopt.backends.pricing import network_cost, network_kernels
from graphopt.cost.cache import CostCache
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.record import NetworkCost
from graphopt.cost.target import Target, load_target
from graphopt.errors import GraphoptError
from graphopt.kernels import keys
from graphopt.kernels.keys import graph_key, price_key

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'
IMAGE = "float[1,16,64,64]"


def model(nodes: str, seed: int = 0, **weights: tuple[int, ...]) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f"{HEAD} g ({IMAGE} x) => ({IMAGE} y) {{ {nodes} }}")
    generator = np.random.default_rng(seed)
    for name, shape in weights.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    return made


def constant(made: onnx.ModelProto, name: str, values: Any, dtype: Any = np.float32) -> onnx.ModelProto:
    made.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
    return made


CONV = {"w": (16, 16, 3, 3), "b": (16,)}
CONV_NODE = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)"
NORM = """mean = ReduceMean<keepdims=1>(x, axes) d = Sub(x, mean) q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes)
    e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s) f = Mul(n, scale) m = Add(f, shift)"""


def normalised(seed: int = 0, height: int = 64) -> onnx.ModelProto:
    nodes = f"{NORM} y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, w, b)"
    made = model(nodes, seed, scale=(1, 16, 1, 1), shift=(1, 16, 1, 1), **CONV)
    constant(made, "axes", [1], np.int64)
    constant(made, "two", 2.0)
    constant(made, "epsilon", 1e-6)
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.shape.dim[2].dim_value = height
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


@pytest.fixture(scope="module", params=["sm8650-adreno750", "exynos2100-mali-g78"])
def phone(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


def test_one_convolution(phone: Target, cache: CostCache) -> None:
    cost = network_cost(model(f"y = {CONV_NODE}", **CONV), phone, cache)
    macs = 16 * 64 * 64 * 16 * 9
    assert (cost.macs, cost.parameters, cost.provenance) == (macs, 16 * 16 * 9 + 16, "estimated")
    assert cost.low_ms < cost.latency_ms < cost.high_ms
    (kernel,) = cost.kernels
    assert (kernel.kind, kernel.calls, kernel.macs) == ("conv", 1, macs)
    # in fp16, each element once: image, weights and bias in, image out
    assert kernel.bytes_read == 2 * (16 * 64 * 64 + 16 * 16 * 9 + 16)
    assert kernel.bytes_written == 2 * 16 * 64 * 64
    assert kernel.ms == pytest.approx(cost.latency_ms)


def test_epilogues_run_in_the_kernel_of_the_convolution(phone: Target, cache: CostCache) -> None:
    plain = network_cost(model(f"y = {CONV_NODE}", **CONV), phone, cache)
    clipped = constant(model(f"a = {CONV_NODE} y = Clip(a, low, high)", **CONV), "low", -3.0)
    clip = network_cost(constant(clipped, "high", 3.0), phone, cache)
    gamma = {"gamma": (1, 16, 1, 1), **CONV}
    scaled = network_cost(model(f"a = {CONV_NODE} m = Mul(a, gamma) y = Add(x, m)", **gamma), phone, cache)
    assert [len(cost.kernels) for cost in (plain, clip, scaled)] == [1, 1, 1]
    assert plain.latency_ms <= clip.latency_ms < 1.04 * plain.latency_ms
    assert plain.latency_ms < scaled.latency_ms < 1.35 * plain.latency_ms


def test_a_clamp_asks_nothing_of_limits_that_are_known(phone: Target) -> None:
    """One block for the lower limit and one for the upper; MetaSchedule cannot place any that look for NaN."""
    from graphopt.kernels.lowering import kernel_calls, to_relax

    made = model(f"c = {CONV_NODE} y = Clip(c, low, high)", **CONV)
    made = constant(constant(made, "low", np.float32(-1)), "high", np.float32(1.5))
    module = to_relax(made, phone)
    (call,) = kernel_calls(module)
    assert call.name == "fused_conv2d_add_maximum_minimum"
    assert "isnan" not in str(module)


def test_what_depends_on_weights_alone_is_free(phone: Target, cache: CostCache) -> None:
    plain = network_cost(model(f"y = {CONV_NODE}", **CONV), phone, cache)
    affine = model(
        "f = Mul(w, g) h = Mul(b, g1) y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, f, h)",
        g=(1, 16, 1, 1),
        g1=(16,),
        **CONV,
    )
    assert network_cost(affine, phone, cache).latency_ms == pytest.approx(plain.latency_ms, rel=1e-9)


def test_a_layer_norm_costs_three_kernels(phone: Target, cache: CostCache) -> None:
    plain = network_cost(model(f"y = {CONV_NODE}", **CONV), phone, cache)
    normed = network_cost(normalised(), phone, cache)
    assert sum(kernel.calls for kernel in normed.kernels) == 4
    assert normed.latency_ms > plain.latency_ms + 3 * phone.fact("launch_overhead") / 1e3
    assert normed.macs == plain.macs


def test_facts_of_kernels(phone: Target, cache: CostCache) -> None:
    kernels = {facts.kind: facts for facts, _ in network_kernels(normalised(), phone, cache)}
    conv = kernels["conv"]
    assert (conv.channels, conv.rows, conv.columns, conv.outputs) == (16, 64, 64, 16 * 64 * 64)
    assert (conv.window_rows, conv.window_columns, conv.stride, conv.storage) == (3, 3, 1, "unknown")
    assert kernels["reduction"].special == 64 * 64 + 16 * 64 * 64  # a root each pixel, a division each element
    assert kernels["elementwise"].bytes_read == 2 * 16 * 64 * 64  # x * x reads x once
    assert all(facts.threads >= 64 * 64 and facts.launches == 1 for facts in kernels.values())
    assert 0 < kernels["reduction"].local_memory_bytes <= phone.fact("local_memory")


def test_a_depthwise_convolution_is_one_kernel(phone: Target, cache: CostCache) -> None:
    node = "y = Conv<group=16, kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)"
    (facts, calls) = network_kernels(model(node, w=(16, 1, 3, 3), b=(16,)), phone, cache)[0]
    assert (facts.kind, facts.macs, facts.launches, calls) == ("depthwise", 16 * 64 * 64 * 9, 1, 1)
    assert facts.threads == facts.outputs == 16 * 64 * 64


@pytest.mark.parametrize(
    ("node", "weight", "expected"),
    [
        ("Conv<kernel_shape=[2,2], strides=[2,2]>(x, w)", (8, 16, 2, 2), ("conv", 8, 32, 32, 2, 2)),
        ("Conv<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x, w)", (8, 16, 3, 3), ("conv", 8, 32, 32, 3, 2)),
        ("Conv<kernel_shape=[1,1]>(x, w)", (24, 16, 1, 1), ("pointwise", 24, 64, 64, 1, 1)),
        ("MatMul(x, w)", (64, 48), ("pointwise", 48, 1, 64, 1, 1)),
    ],
)
def test_what_threads_can_share(
    node: str, weight: tuple[int, ...], expected: tuple[object, ...], phone: Target, cache: CostCache
) -> None:
    kernels = network_kernels(model(f"y = {node}", w=weight), phone, cache)
    facts = max((facts for facts, _ in kernels), key=lambda facts: facts.macs)
    assert (
        facts.kind,
        facts.channels,
        facts.rows,
        facts.columns,
        facts.window_columns,
        facts.stride,
    ) == expected
    assert facts.macs % facts.outputs == 0


def test_several_inputs_and_outputs(phone: Target, cache: CostCache) -> None:
    text = f"""{HEAD} g ({IMAGE} x, {IMAGE} z) => ({IMAGE} y, float[1,8,64,64] t, float[1,8,64,64] u) {{
        y = Mul(x, z) s = Add(x, z) t, u = Split<axis=1>(s, sizes) }}"""
    made = constant(onnx.parser.parse_model(text), "sizes", [8, 8], np.int64)
    cost = network_cost(made, phone, cache)
    assert cost.latency_ms > 0
    assert cost.macs == 0


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ("y = ConvTranspose<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)", CONV),
        ("a = GlobalAveragePool(x) c = Conv<kernel_shape=[1,1]>(a, w) y = Mul(x, c)", {"w": (16, 16, 1, 1)}),
        ("a = Sigmoid(x) e = Mul(x, a) f = Tanh(e) y = Softmax<axis=1>(f)", {}),
        (
            'a = Conv<kernel_shape=[2,2], strides=[2,2]>(x, w) y = DepthToSpace<blocksize=2, mode="CRD">(a)',
            {"w": (64, 16, 2, 2)},
        ),
        ("a = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[1,1]>(x) y = MatMul(a, w)", {"w": (64, 64)}),
    ],
)
def test_other_operators(nodes: str, weights: dict[str, tuple[int, ...]], phone: Target, cache: CostCache) -> None:
    made = model(nodes, **weights)
    cost = network_cost(made, phone, cache)
    assert cost.macs == macs_and_parameters(made)[0]
    assert 0 < cost.latency_ms < 5
    assert len(cost.kernels) >= 1


def test_nothing_to_run_costs_nothing(phone: Target, cache: CostCache) -> None:
    made = onnx.parser.parse_model(f"{HEAD} g ({IMAGE} y) => ({IMAGE} y) {{ }}")
    assert network_cost(made, phone, cache).latency_ms == 0


def test_an_operator_that_tvm_lacks_is_named(phone: Target, cache: CostCache) -> None:
    made = onnx.parser.parse_model(f"{HEAD} g (float[4,4] x) => (float y) {{ y = Det(x) }}")
    with pytest.raises(GraphoptError, match=r"TVM cannot import the graph 'g'.*Det"):
        network_cost(made, phone, cache)


def renamed(made: onnx.ModelProto) -> onnx.ModelProto:
    names: dict[str, str] = {}
    for node in made.graph.node:
        node.name = f"other/{node.op_type}"
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = names.setdefault(name, f"tensor.{len(names)}")
    for entry in (*made.graph.input, *made.graph.output, *made.graph.initializer):
        entry.name = names[entry.name]
    return made


def test_names_and_weights_do_not_change_a_price(tmp_path: Path) -> None:
    phone, fresh = load_target("sm8650-adreno750"), CostCache(tmp_path)
    first = network_cost(normalised(seed=0), phone, fresh)
    assert (fresh.hits, fresh.misses) == (0, 5)  # the network and its four kernels
    assert network_cost(normalised(seed=0), phone, fresh) == first
    assert network_cost(renamed(normalised(seed=1)), phone, fresh) == first
    assert (fresh.hits, fresh.misses) == (2, 5)
    assert network_cost(normalised(seed=2), phone, CostCache(tmp_path)) == first  # from disk


def test_what_changes_a_price_changes_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    phone, base = load_target("sm8650-adreno750"), normalised()
    faster = phone.facts["dram_bandwidth"].model_copy(update={"value": 100.0})
    other_source = phone.facts["dram_bandwidth"].model_copy(update={"source": "measured by somebody else"})
    key = price_key(base, phone, 0)
    assert price_key(base, phone.model_copy(update={"facts": {**phone.facts, "dram_bandwidth": faster}}), 0) != key
    assert (
        price_key(base, phone.model_copy(update={"facts": {**phone.facts, "dram_bandwidth": other_source}}), 0) == key
    )
    assert price_key(base, phone, 8) != key
    monkeypatch.setattr(keys, "PLAN", keys.PLAN + 1)  # the price holds what memory the plan takes
    assert price_key(base, phone, 0) != key
    assert graph_key(normalised(height=32)) != graph_key(base)
    cubed = normalised()
    cubed.graph.initializer[-2].CopyFrom(numpy_helper.from_array(np.float32(3), "two"))
    assert graph_key(cubed) != graph_key(base)
    over_rows = normalised()
    over_rows.graph.initializer[-3].CopyFrom(numpy_helper.from_array(np.array([2]), "axes"))
    assert graph_key(over_rows) != graph_key(base)


def test_a_changed_fact_is_priced_anew(tmp_path: Path) -> None:
    phone, fresh = load_target("sm8650-adreno750"), CostCache(tmp_path)
    made = model(f"y = {CONV_NODE}", **CONV)
    before = network_cost(made, phone, fresh)
    slow = phone.facts["launch_overhead"].model_copy(update={"value": 30.0})
    after = network_cost(made, phone.model_copy(update={"facts": {**phone.facts, "launch_overhead": slow}}), fresh)
    assert after.latency_ms - before.latency_ms == pytest.approx((30.0 - phone.fact("launch_overhead")) / 1e3)


def test_a_cache_that_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "prices.sqlite").write_text("not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(GraphoptError, match="delete it to start afresh"):
        CostCache(tmp_path)


def test_prices_survive_a_round_trip(cache: CostCache) -> None:
    cost = network_cost(normalised(), load_target("sm8650-adreno750"), cache)
    assert NetworkCost.from_dict(cost.to_dict()) == cost


@pytest.fixture(scope="module")
def nafnet() -> onnx.ModelProto:
    """A NAFNet of width 8 with one block a level and random weights, 1x3x32x32."""
    import torch

    from graphopt.models.nafnet import NAFNet, NAFNetConfig

    torch.manual_seed(0)
    network = NAFNet(NAFNetConfig(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (torch.zeros(1, 3, 32, 32),), dynamo=True, verbose=False)
    assert program is not None
    made: onnx.ModelProto = program.model_proto
    assert sum(p.numel() for p in network.parameters()) == macs_and_parameters(made)[1]
    return made


def test_macs_of_a_nafnet(nafnet: onnx.ModelProto) -> None:
    def block(c: int, size: int) -> int:
        convolutions = c * 2 * c + 2 * c * 9 + c * c + c * 2 * c + c * c  # conv1, conv2, conv3, conv4, conv5
        return convolutions * size * size + c * c  # and the attention, on one pooled vector

    ends = 2 * 3 * 8 * 9 * 32 * 32
    down = 8 * 16 * 4 * 16 * 16 + 16 * 32 * 4 * 8 * 8
    up = 32 * 64 * 8 * 8 + 16 * 32 * 16 * 16
    blocks = 2 * block(8, 32) + 2 * block(16, 16) + block(32, 8)
    assert macs_and_parameters(nafnet)[0] == ends + down + up + blocks


def test_a_nafnet_is_its_kernels(nafnet: onnx.ModelProto, phone: Target, cache: CostCache) -> None:
    cost = network_cost(nafnet, phone, cache)
    assert cost.latency_ms == pytest.approx(sum(kernel.ms for kernel in cost.kernels))
    # a block: two norms of 3, 5 convolutions, attention's mean and convolution, 2 gates = 15; gates 2, ends 2, 2 + 2
    calls = sum(kernel.calls for kernel in cost.kernels)
    assert 5 * 15 <= calls <= 5 * 15 + 10
    contractions = sum(kernel.macs for kernel in cost.kernels)
    assert contractions == cost.macs
