"""NAFNet against its paper: sizes, parameter names, and one block as plain formulas."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.models.nafnet import LayerNorm2d, NAFBlock, NAFNet, NAFNetConfig

TINY = NAFNetConfig(width=4, encoder_blocks=(1, 2), middle_blocks=1, decoder_blocks=(1, 1))


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """No weight stays at the 0 or 1 it is initialised with."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.1)
    return network.eval()


@pytest.mark.parametrize(("width", "millions"), [(32, 29.16), (64, 115.98)])
def test_the_published_configuration_has_the_published_number_of_parameters(width: int, millions: float) -> None:
    with torch.device("meta"):
        network = NAFNet(NAFNetConfig(width=width))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert sum(isinstance(module, NAFBlock) for module in network.modules()) == 36


def block_keys(prefix: str) -> list[str]:
    pairs = ["conv1", "conv2", "conv3", "conv4", "conv5", "sca.1", "norm1", "norm2"]
    return [f"{prefix}.{name}.{kind}" for name in pairs for kind in ("weight", "bias")] + [
        f"{prefix}.beta",
        f"{prefix}.gamma",
    ]


def test_state_dict_keys_are_those_of_the_official_checkpoints() -> None:
    expected = ["intro.weight", "intro.bias", "ending.weight", "ending.bias", "ups.0.0.weight", "ups.1.0.weight"]
    expected += [f"downs.{level}.{kind}" for level in range(2) for kind in ("weight", "bias")]
    blocks = ("encoders.0.0", "encoders.1.0", "encoders.1.1", "middle_blks.0", "decoders.0.0", "decoders.1.0")
    for block in blocks:
        expected += block_keys(block)
    assert sorted(NAFNet(TINY).state_dict()) == sorted(expected)


def test_shapes_of_the_weights() -> None:
    weights = {key: tuple(value.shape) for key, value in NAFNet(TINY).state_dict().items()}
    assert weights["encoders.1.0.conv1.weight"] == (16, 8, 1, 1)
    assert weights["encoders.1.0.conv2.weight"] == (16, 1, 3, 3)
    assert weights["encoders.1.0.sca.1.weight"] == (8, 8, 1, 1)
    assert weights["encoders.1.0.conv5.weight"] == (8, 8, 1, 1)
    assert weights["encoders.1.0.beta"] == (1, 8, 1, 1)
    assert weights["downs.1.weight"] == (16, 8, 2, 2)
    assert weights["ups.0.0.weight"] == (32, 16, 1, 1)


def test_a_new_block_changes_nothing() -> None:
    x = torch.randn(1, 6, 5, 7)
    torch.testing.assert_close(NAFBlock(6)(x), x, rtol=0, atol=0)


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).sum(1, keepdim=True) / x.shape[1]
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    return (x - mean) / (variance + 1e-6).sqrt() * weight[None, :, None, None] + bias[None, :, None, None]


def pointwise(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    kernel, bias = w[f"{name}.weight"][:, :, 0, 0], w[f"{name}.bias"]
    return torch.einsum("oc,nchw->nohw", kernel, x) + bias[None, :, None, None]


def depthwise(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    height, width = x.shape[2:]
    padded, kernel = F.pad(x, (1, 1, 1, 1)), w[f"{name}.weight"]
    taps = [
        padded[:, :, i : i + height, j : j + width] * kernel[None, :, 0, i, j, None, None]
        for i in range(3)
        for j in range(3)
    ]
    return torch.stack(taps).sum(0) + w[f"{name}.bias"][None, :, None, None]


def block_formula(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    channels = x.shape[1]
    wide = depthwise(pointwise(norm(x, w, "norm1"), w, "conv1"), w, "conv2")
    gated = wide[:, :channels] * wide[:, channels:]
    attention = pointwise(gated.mean((2, 3), keepdim=True), w, "sca.1")
    y = x + w["beta"] * pointwise(gated * attention, w, "conv3")
    wide = pointwise(norm(y, w, "norm2"), w, "conv4")
    return y + w["gamma"] * pointwise(wide[:, :channels] * wide[:, channels:], w, "conv5")


def test_a_block_computes_the_formula_of_the_paper() -> None:
    block = randomised(NAFBlock(6).double())
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block_formula(x, block.state_dict()), rtol=1e-11, atol=1e-11)


def net_formula(image: Tensor, w: dict[str, Tensor], config: NAFNetConfig) -> Tensor:
    def blocks(x: Tensor, prefix: str, count: int) -> Tensor:
        for position in range(count):
            start = f"{prefix}.{position}."
            x = block_formula(x, {k.removeprefix(start): v for k, v in w.items() if k.startswith(start)})
        return x

    x = F.conv2d(image, w["intro.weight"], w["intro.bias"], padding=1)
    skips = []
    for level, count in enumerate(config.encoder_blocks):
        x = blocks(x, f"encoders.{level}", count)
        skips.append(x)
        x = F.conv2d(x, w[f"downs.{level}.weight"], w[f"downs.{level}.bias"], stride=2)
    x = blocks(x, "middle_blks", config.middle_blocks)
    for level, count in enumerate(config.decoder_blocks):
        x = F.pixel_shuffle(F.conv2d(x, w[f"ups.{level}.0.weight"]), 2) + skips[-1 - level]
        x = blocks(x, f"decoders.{level}", count)
    return F.conv2d(x, w["ending.weight"], w["ending.bias"], padding=1) + image


def test_the_network_computes_the_formula_of_the_paper() -> None:
    network = randomised(NAFNet(TINY).double())
    image = torch.rand(1, 3, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = net_formula(image, network.state_dict(), TINY)
        torch.testing.assert_close(network(image), expected, rtol=1e-9, atol=1e-9)
    assert (expected - image).abs().max() > 0.1


@pytest.mark.parametrize("size", [(7, 10), (1, 1), (8, 9), (13, 4)])
def test_odd_sizes_are_padded_with_zeros_and_cropped(size: Sequence[int]) -> None:
    network = randomised(NAFNet(TINY))
    image = torch.rand(2, 3, *size)
    padded = torch.zeros(2, 3, *(4 * ((extent + 3) // 4) for extent in size))
    padded[:, :, : size[0], : size[1]] = image
    with torch.no_grad():
        found, expected = network(image), network(padded)[:, :, : size[0], : size[1]]
    assert found.shape == image.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_both_forms_of_the_layer_norm_agree() -> None:
    layer = randomised(LayerNorm2d(12))
    x = torch.randn(2, 12, 5, 6) * 10 + 3
    exported = torch.export.export(layer, (x,))
    called = {str(node.target) for node in exported.graph.nodes}
    assert not any("layer_norm" in name for name in called)  # it is the spelled-out form that was exported
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), layer(x), rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(layer(x), norm(x, layer.state_dict() | {
            "n.weight": layer.weight, "n.bias": layer.bias
        }, "n"), rtol=1e-6, atol=2e-6)  # fmt: skip


def test_a_constant_pixel_normalises_to_the_bias() -> None:
    layer = randomised(LayerNorm2d(5))
    with torch.no_grad():
        found = layer(torch.full((1, 5, 2, 2), 7.0))
    torch.testing.assert_close(found, layer.bias.detach().view(1, 5, 1, 1).expand(1, 5, 2, 2), rtol=0, atol=1e-6)
