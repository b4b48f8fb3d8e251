"""Every built-in candidate on whole networks: NAFNet, a U-Net, a residual CNN, and nn.LayerNorm between permutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from graphs import difference, layer_norm, nafnet, network, norm_weights, random_image, run, space_of
from layers import IMAGES as LAYER_IMAGES
from layers import up

from graphopt import Contract, Stage
from graphopt.ir.canonical import canonical, to_graph
from graphopt.ir.passes import Pass
from graphopt.ir.registry import load_pass, pass_names
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space import Space
from graphopt.ir.space_building import build_space, prepare
from graphopt.models.source import export_network
from graphopt.models.zoo import build
from graphopt.nn.module import GraphModule

IMAGES = [random_image(1, 3, 16, 16, seed=seed) for seed in range(3)]
OPTIONS: dict[str, dict[str, Any]] = {"merge-depthwise": {"border": "plane"}, "gsat-conv": {"groups": 2}}


def all_passes() -> list[Pass]:
    return [load_pass(name, OPTIONS.get(name, {}), Path()) for name in sorted(pass_names())]


def unet() -> gs.Graph:
    """Two levels of conv + ReLU; a strided 3x3 down, a transposed convolution up, a skip by concatenation."""
    same = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
    text = f"""(float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] restored) {{
        ["enc.0/conv"] a = Conv<{same}>(image, w0, b0) ["enc.0/relu"] e = Relu(a)
        ["down.0/conv"] d = Conv<{same}, strides = [2, 2]>(e, w1, b1) ["down.0/relu"] f = Relu(d)
        ["mid.0/conv"] m = Conv<kernel_shape = [3, 3], pads = [2, 2, 2, 2], dilations = [2, 2]>(f, w2)
        ["mid.0/relu"] g = Relu(m)
        ["up.0/convtranspose"] u = ConvTranspose<kernel_shape = [2, 2], strides = [2, 2]>(g, w3, b3)
        ["up.0/concat"] c = Concat<axis = 1>(u, e)
        ["dec.0/conv"] h = Conv<{same}>(c, w4, b4) ["dec.0/relu"] i = Relu(h)
        ["last/conv"] o = Conv<{same}>(i, w5) ["add"] restored = Add(o, image) }}"""
    weights = {
        "w0": (8, 3, 3, 3), "b0": (8,), "w1": (16, 8, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "w3": (16, 8, 2, 2),
        "b3": (8,), "w4": (8, 16, 3, 3), "b4": (8,), "w5": (3, 8, 3, 3),
    }  # fmt: skip
    return network(text, weights)


def residual_cnn() -> gs.Graph:
    """As EDSR: residual blocks of conv, ReLU, conv, one with squeeze-like attention, a 3x3 sub-pixel convolution."""
    same = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
    text = f"""(float[1, 3, 16, 16] image) => (float[1, 3, 32, 32] restored) {{
        ["head/conv"] x = Conv<{same}>(image, w0, b0)
        ["body.0/conv1/conv"] a = Conv<{same}>(x, w1, b1) ["body.0/relu"] r = Relu(a)
        ["body.0/conv2/conv"] c = Conv<{same}>(r, w2, b2)
        ["body.0/pool"] p = GlobalAveragePool(c) ["body.0/scale/conv"] s = Conv(p, w3, b3) ["body.0/mul"] m = Mul(c, s)
        ["body.0/add"] y = Add(x, m)
        ["body.1/depthwise/conv"] d = Conv<{same}, group = 8>(y, w4) ["body.1/point/conv"] q = Conv(d, w5, b5)
        ["body.1/add"] z = Add(q, y)
        ["tail.0/conv"] t = Conv<{same}>(z, w6, b6) ["tail.1/depthtospace"] restored = DepthToSpace<blocksize = 2, mode = "CRD">(t) }}"""
    weights = {
        "w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,),
        "w3": (8, 8, 1, 1), "b3": (8,), "w4": (8, 1, 3, 3), "w5": (8, 8, 1, 1), "b5": (8,), "w6": (12, 8, 3, 3), "b6": (12,),
    }  # fmt: skip
    return network(text, weights)


def permuted_norms() -> gs.Graph:
    """Two feed-forward halves with nn.LayerNorm between permutes; the second gate is written with slices."""
    text = f"""(float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] restored) {{
        ["intro/conv"] x = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image, w0, b0)
        {layer_norm("x", "n", "body.0.norm", "transposed")}
        ["body.0/conv4/conv"] f = Conv(n, w4, b4)
        ["body.0/split"] a, b = Split<axis = 1, num_outputs = 2>(f) ["body.0/mul"] g = Mul(a, b)
        ["body.0/conv5/conv"] h = Conv(g, w5, b5) ["body.0/add"] y = Add(x, h)
        {layer_norm("y", "n2", "body.1.norm", "transposed")}
        ["body.1/conv4/conv"] f2 = Conv(n2, v4, c4)
        ["body.1/slice"] a2 = Slice(f2, zero, eight, one) ["body.1/slice_2"] b2 = Slice(f2, eight, end, one)
        ["body.1/mul"] g2 = Mul(a2, b2)
        ["body.1/conv5/conv"] h2 = Conv(g2, v5, c5) ["body.1/add"] z = Add(y, h2)
        ["ending/conv"] restored = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(z, w6, b6) }}"""
    weights: dict[str, Any] = {
        **norm_weights("body.0.norm", 8, "transposed"), **norm_weights("body.1.norm", 8, "transposed"),
        "w0": (8, 3, 3, 3), "b0": (8,), "w4": (16, 8, 1, 1), "b4": (16,), "w5": (8, 8, 1, 1), "b5": (8,),
        "v4": (16, 8, 1, 1), "c4": (16,), "v5": (8, 8, 1, 1), "c5": (8,), "w6": (3, 8, 3, 3), "b6": (3,),
        "zero": np.array([0]), "eight": np.array([8]), "one": np.array([1]), "end": np.array([16]),
    }  # fmt: skip
    return network(text, weights)


NETWORKS = {"nafnet": lambda: nafnet(width=8), "unet": unet, "residual": residual_cnn, "permuted": permuted_norms}
EXPECTED = {
    "unet": {
        "dec.0/conv": ["list-conv"], "down.0/downsample": ["average-downsample", "feature-align"], "up.0/level": ["feature-align"], "mid.0/dilated": ["gsat-conv"],
    },
    "residual": {
        "body.0/conv1": ["list-conv"], "body.1/depthwise": ["partial-depthwise", "split-depthwise"],
        "body.1/point": ["low-rank-pointwise"], "tail": ["depthwise-subpixel"], "tail.1": ["plain-pixel-shuffle"],
        "body.0/pool": ["two-step-pool"],
    },
    "permuted": {
        "body.0/norm": ["affine-norm", "clipped-norm", "fp16-safe-norm", "plain-layer-norm", "pointwise-layer-norm", "rms-norm", "strided-norm"],
        "body.0": ["skip-feed-forward"], "body.1": ["skip-feed-forward"],
        "body.1/feed-forward-width": ["narrow-feed-forward"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def spaces() -> dict[str, Space]:
    """The space of each network with all passes."""
    rules = all_passes()
    search = [rule for rule in rules if rule.stage is Stage.SEARCH]
    slices = [rule for rule in rules if rule.name == "slices-to-split"]
    made = {}
    for name, make in NETWORKS.items():
        graph = prepare(make(), slices, IMAGES).graph
        made[name] = space_of(graph, search, IMAGES)
    return made


@pytest.mark.parametrize("name", EXPECTED)
def test_what_passes_find_elsewhere(spaces: dict[str, Space], name: str) -> None:
    found = {choice: list(spaces[name].choices[choice].candidates) for choice in spaces[name].choices}
    assert {choice: found.get(choice) for choice in EXPECTED[name]} == EXPECTED[name]


def test_every_candidate_stands_on_some_network(spaces: dict[str, Space]) -> None:
    offered = {option for space in spaces.values() for choice in space.choices.values() for option in choice.candidates}
    assert offered == {rule.name for rule in all_passes() if rule.stage is Stage.SEARCH}


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_computes_and_trains_every_candidate(spaces: dict[str, Space], name: str) -> None:
    space, seen = spaces[name], set()
    expected = run(space.graph, IMAGES[0])
    for choice in space.choices.values():
        for option, candidate in choice.candidates.items():
            if option in seen:
                continue
            seen.add(option)
            graph = apply_selection(space, {choice.name: option})
            judged = run(graph, IMAGES[0])
            module = GraphModule(graph)
            computed = module(torch.from_numpy(IMAGES[0]))
            assert difference(computed.detach().numpy(), judged) < 1e-5, option
            if candidate.contract is Contract.EXACT:
                assert difference(judged, expected) < 1e-5, option
            computed.square().mean().backward()
            made = {constant.name for constant in candidate.fragment.constants}
            trained = {weight: value for weight, value in module.named_initialisers().items() if weight in made}
            for weight, value in trained.items():
                assert value.grad is not None, weight
                assert torch.isfinite(value.grad).all(), weight
                assert value.grad.abs().max() > 0, weight


def test_halves_are_nested_in_blocks(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    names = ("skip-block", "skip-spatial", "skip-feed-forward", "narrow-spatial", "narrow-feed-forward")
    rules = [load_pass(name, {}, Path()) for name in names]
    space = space_of(nafnet_graph, rules, images)
    parents = {name: choice.parent for name, choice in space.choices.items() if name.startswith("decoders")}
    assert parents == {
        "decoders.0.0": None,
        "decoders.0.0/spatial": "decoders.0.0",
        "decoders.0.0/feed-forward": "decoders.0.0",
        "decoders.0.0/spatial-width": "decoders.0.0/spatial",
        "decoders.0.0/feed-forward-width": "decoders.0.0/feed-forward",
    }
    assert space.refusals == []


def test_upsampling_is_one_choice() -> None:
    names = ("resize-upsample", "transposed-upsample", "list-upsample", "depthwise-subpixel", "plain-pixel-shuffle")
    rules = [load_pass(name, {}, Path()) for name in names]
    space = space_of(up(), rules, LAYER_IMAGES)
    assert {name: (choice.parent, choice.options) for name, choice in space.choices.items()} == {
        "ups.0": (None, ("keep", "resize-upsample", "transposed-upsample", "list-upsample", "depthwise-subpixel")),
        "ups.0/shuffle": ("ups.0", ("keep", "plain-pixel-shuffle")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noahtcv", "moma", "gdalgo", "unet", "list-unet", "mfdnet", "swinir-light"])
def test_passes_find_their_patterns_in_published_networks(name: str) -> None:
    torch.manual_seed(0)
    small = {"unet": {"widths": (16, 16)}, "list-unet": {"widths": (8, 16)}, "swinir-light": {"depths": (2,)}}
    network = build(name, small.get(name)).eval()
    graph = to_graph(canonical(export_network(network, (32, 32)), None, name))
    images = [np.random.default_rng(seed).random((1, 3, 32, 32), np.float32) for seed in range(2)]
    passes = [rule for rule in (load_pass(n, {}, Path()) for n in pass_names()) if rule.stage is Stage.SEARCH]
    space = build_space(graph, passes, images, [], lambda share, words: None)  # checks every candidate's contract
    offered = {option for choice in space.choices.values() for option in choice.candidates}
    expected = {
        "moma": "partial-depthwise",
        "gdalgo": "two-step-pool",
        "unet": "gsat-conv",
        "list-unet": "split-depthwise",
    }
    assert expected.get(name, "list-conv") in offered
