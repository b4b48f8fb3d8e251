"""Prices on phones' GPUs: what TVM fuses, what a kernel moves, what is free."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnx.parser
import pytest
from small_models import CONV, CONV_NODE, HEAD, IMAGE, constant, model, normalised

from graphopt.backends.opencl.estimate import network_kernels
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import silent


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


@pytest.fixture(scope="module", params=["sm8650-adreno750", "exynos2100-mali-g78"])
def phone(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


def test_one_convolution(phone: Target, cache: CostCache) -> None:
    cost = open_backend(phone, cache).price(model(f"y = {CONV_NODE}", **CONV))
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
    plain = open_backend(phone, cache).price(model(f"y = {CONV_NODE}", **CONV))
    clipped = constant(model(f"a = {CONV_NODE} y = Clip(a, low, high)", **CONV), "low", -3.0)
    clip = open_backend(phone, cache).price(constant(clipped, "high", 3.0))
    gamma = {"gamma": (1, 16, 1, 1), **CONV}
    scaled = open_backend(phone, cache).price(model(f"a = {CONV_NODE} m = Mul(a, gamma) y = Add(x, m)", **gamma))
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
    plain = open_backend(phone, cache).price(model(f"y = {CONV_NODE}", **CONV))
    affine = model(
        "f = Mul(w, g) h = Mul(b, g1) y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, f, h)",
        g=(1, 16, 1, 1),
        g1=(16,),
        **CONV,
    )
    assert open_backend(phone, cache).price(affine).latency_ms == pytest.approx(plain.latency_ms, rel=1e-9)


def test_a_layer_norm_costs_three_kernels(phone: Target, cache: CostCache) -> None:
    plain = open_backend(phone, cache).price(model(f"y = {CONV_NODE}", **CONV))
    normed = open_backend(phone, cache).price(normalised())
    assert sum(kernel.calls for kernel in normed.kernels) == 4
    assert normed.latency_ms > plain.latency_ms + 3 * phone.fact("launch_overhead") / 1e3
    assert normed.macs == plain.macs


def test_facts_of_kernels(phone: Target, cache: CostCache) -> None:
    kernels = {kernel.facts.kind: kernel.facts for kernel in network_kernels(normalised(), phone, cache, silent)}
    conv = kernels["conv"]
    assert (conv.channels, conv.rows, conv.columns, conv.outputs) == (16, 64, 64, 16 * 64 * 64)
    assert (conv.window_rows, conv.window_columns, conv.stride, conv.storage) == (3, 3, 1, "unknown")
    assert kernels["reduction"].special == 64 * 64 + 16 * 64 * 64  # a root each pixel, a division each element
    assert kernels["elementwise"].bytes_read == 2 * 16 * 64 * 64  # x * x reads x once
    assert all(facts.threads >= 64 * 64 and facts.launches == 1 for facts in kernels.values())
    assert 0 < kernels["reduction"].local_memory_bytes <= phone.fact("local_memory")


def test_a_depthwise_convolution_is_one_kernel(phone: Target, cache: CostCache) -> None:
    node = "y = Conv<group=16, kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)"
    kernel = network_kernels(model(node, w=(16, 1, 3, 3), b=(16,)), phone, cache, silent)[0]
    facts, calls = kernel.facts, kernel.calls
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
    kernels = [(k.facts, k.calls) for k in network_kernels(model(f"y = {node}", w=weight), phone, cache, silent)]
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
    cost = open_backend(phone, cache).price(made)
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
    cost = open_backend(phone, cache).price(made)
    assert cost.macs == macs_and_parameters(made)[0]
    assert 0 < cost.latency_ms < 5
    assert len(cost.kernels) >= 1


def test_nothing_to_run_costs_nothing(phone: Target, cache: CostCache) -> None:
    made = onnx.parser.parse_model(f"{HEAD} g ({IMAGE} y) => ({IMAGE} y) {{ }}")
    assert open_backend(phone, cache).price(made).latency_ms == 0


def test_an_operator_that_tvm_lacks_is_named(phone: Target, cache: CostCache) -> None:
    made = onnx.parser.parse_model(f"{HEAD} g (float[4,4] x) => (float y) {{ y = Det(x) }}")
    with pytest.raises(GraphoptError, match=r"TVM cannot import the graph 'g'.*Det"):
        open_backend(phone, cache).price(made)


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
    cost = open_backend(phone, cache).price(nafnet)
    assert cost.latency_ms == pytest.approx(sum(kernel.ms for kernel in cost.kernels))
    # a block: two norms of 3, 5 convolutions, attention's mean and convolution, 2 gates = 15; gates 2, ends 2, 2 + 2
    calls = sum(kernel.calls for kernel in cost.kernels)
    assert 5 * 15 <= calls <= 5 * 15 + 10
    contractions = sum(kernel.macs for kernel in cost.kernels)
    assert contractions == cost.macs
