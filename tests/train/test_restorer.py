"""Whole images of any size: ONNX against torch, tiles where a graph cannot be reshaped, and half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from graphopt.config.data import EvaluationData
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.train.data import Gaussian, open_photographs, pairs_of
from graphopt.train.metrics import psnr, ssim
from graphopt.train.restorer import OnnxRestorer, evaluate, open_restorer
from graphopt.train.tiling import by_tiles

WEIGHT = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)


def convolution(
    size: tuple[int, int] = (32, 32), constant: bool = False, channels: int = 3, stride: int = 1, half: bool = False
) -> onnx.ModelProto:
    """x + conv3x3(x), with `constant` of the image's full size added."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    weight = np.resize(WEIGHT, (channels, channels, 3, 3)).astype(dtype)
    initialisers = [numpy_helper.from_array(weight, "w")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[stride] * 2)]
    if constant:
        initialisers.append(numpy_helper.from_array(np.full((1, 3, *size), 0.25, dtype), "k"))
        nodes.append(helper.make_node("Add", ["c", "k"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", ["c"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, [1, channels, *size])],
        [helper.make_tensor_value_info("y", kind, [1, channels, size[0] // stride, size[1] // stride])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def by_torch(image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.nn.functional.conv2d(torch.from_numpy(image)[None], torch.from_numpy(WEIGHT), padding=1)[0].numpy()


def image(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((3, height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [(32, 32), (45, 70), (7, 5), (16, 33)])
def test_a_graph_that_can_be_reshaped_runs_on_the_whole_image(size: tuple[int, int]) -> None:
    restore = OnnxRestorer(convolution(), "test")
    found = restore(image(*size))
    assert found.shape == (3, *size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_torch(image(*size)), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def nafnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[NAFNet, Path]:
    """A tiny NAFNet, and its export at 32x32."""
    from graphopt.models.source import export

    folder = tmp_path_factory.mktemp("restorer")
    torch.manual_seed(4)
    network = NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.1)
    save_checkpoint(network, folder / "tiny.safetensors")
    onnx.save(export(folder / "tiny.safetensors", (32, 32)), folder / "tiny.onnx")
    return network, folder


@pytest.mark.parametrize("size", [(32, 32), (41, 54), (64, 37)])
def test_onnx_and_checkpoint_restore_alike_on_odd_sizes(nafnet: tuple[NAFNet, Path], size: tuple[int, int]) -> None:
    network, folder = nafnet
    # The channel attention averages over the padded image, so both must be padded to the same multiple.
    height, width = (extent + -extent % 16 for extent in size)
    padded = np.pad(image(*size), [(0, 0), (0, height - size[0]), (0, width - size[1])])
    with torch.no_grad():
        expected = network(torch.from_numpy(padded)[None])[0].numpy()[:, : size[0], : size[1]]
        own = network(torch.from_numpy(image(*size))[None])[0].numpy()
    by_onnx = open_restorer(folder / "tiny.onnx")
    np.testing.assert_allclose(by_onnx(image(*size)), expected, rtol=1e-4, atol=1e-4)
    assert isinstance(by_onnx, OnnxRestorer)
    assert by_onnx._tile is None
    by_checkpoint = open_restorer(folder / "tiny.safetensors")
    np.testing.assert_allclose(by_checkpoint(image(*size)), own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (100, 137), (20, 90), (64, 65)])
def test_a_graph_with_a_constant_of_its_own_size_runs_by_tiles(size: tuple[int, int]) -> None:
    restore = OnnxRestorer(convolution((64, 64), constant=True), "test")
    picture = image(*size)
    found = restore(picture)
    assert found.shape == picture.shape
    expected = by_torch(picture) + 0.25
    if size != (64, 64):
        assert restore._tile == (64, 64)
    # What a tile takes for zeros beyond its edge counts by 1/33 where tiles meet, and nowhere else.
    missed = np.abs(found - expected)
    assert missed.max() < np.abs(by_torch(picture)).max() / 20
    assert np.median(missed) < 1e-6
    for corner in (np.s_[:, :16, :16], np.s_[:, -4:, -4:]):
        if size != (64, 65):
            np.testing.assert_allclose(found[corner], expected[corner], rtol=0, atol=1e-5)


def failing(height: int | None, width: int | None) -> onnx.ModelProto:
    """Adds a plane of 64x64, which fits images of that size only."""
    model = convolution((64, 64), constant=True)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (height, width), strict=True):
        dim.Clear()
        if size is not None:
            dim.dim_value = size
    for dim in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
    return model


@pytest.mark.parametrize("size", [(None, None), (64, None)])
def test_a_dynamic_input_has_no_size_to_fall_back_on(
    size: tuple[int | None, int | None], capfd: pytest.CaptureFixture[str]
) -> None:
    restore = OnnxRestorer(failing(*size), "net.onnx")
    with pytest.raises(GraphoptError, match=r"^net\.onnx cannot be run on an image of 80x48: onnxruntime "):
        restore(image(70, 40))
    assert restore(image(64, 64)).shape == (3, 64, 64)
    assert capfd.readouterr() == ("", "")  # onnxruntime's own log says nothing more


def test_the_fallback_of_a_static_input_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    restore = OnnxRestorer(failing(64, 64), "net.onnx")
    assert restore(image(70, 40)).shape == (3, 70, 40)
    assert restore._tile == (64, 64)
    assert capfd.readouterr() == ("", "")


def test_tiles_of_a_pointwise_network_leave_no_seam() -> None:
    model = convolution((48, 48), constant=True)
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None] * np.float32(0.5), "w")
    )
    del model.graph.node[0].attribute[:]
    picture = image(131, 97)
    np.testing.assert_allclose(OnnxRestorer(model, "t")(picture), picture * 0.5 + 0.25, rtol=0, atol=1e-6)


def test_half_precision() -> None:
    found = OnnxRestorer(convolution(half=True), "test")(image(45, 70))
    assert found.dtype == np.float32
    expected = by_torch(image(45, 70))
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)
    assert np.abs(found - expected).max() > 1e-6  # it really was computed in half precision


def test_networks_that_do_not_restore_images() -> None:
    with pytest.raises(GraphoptError, match="gray: expected a network for RGB images, found 1 channels"):
        OnnxRestorer(convolution(channels=1), "gray")
    with pytest.raises(GraphoptError, match=r"small: turns \(3, 32, 32\) to \(3, 16, 16\)"):
        OnnxRestorer(convolution(stride=2), "small")(image(40, 40))
    flat = convolution()
    del flat.graph.input[0].type.tensor_type.shape.dim[3]
    with pytest.raises(GraphoptError, match=r"flat: expected an input of the shape \(1, 3, H, W\), found"):
        OnnxRestorer(flat, "flat")


def test_two_inputs_are_one_message() -> None:
    model = convolution()
    model.graph.input.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, [1]))
    model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["c", "sigma"], ["y"]))
    with pytest.raises(GraphoptError, match=r"two: expected one input, found x, sigma"):
        OnnxRestorer(model, "two")


def test_a_checkpoint_for_one_channel_is_one_message(tmp_path: Path) -> None:
    config = NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,), image_channels=1)
    save_checkpoint(NAFNet(config), tmp_path / "gray.safetensors")
    with pytest.raises(GraphoptError, match=r"gray\.safetensors: expected a network for RGB images"):
        open_restorer(tmp_path / "gray.safetensors")


def test_evaluate_gives_the_same_figures_twice(tmp_path: Path) -> None:
    for position in range(2):
        pixels = (image(30, 24, position) * 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(tmp_path / f"{position}.png")
    data, said = EvaluationData(test=[tmp_path], sigma=25), list[tuple[float, str]]()
    runs = [evaluate(lambda noisy: noisy, data, lambda *words: said.append(words)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert said[:2] == [(0.5, "image 1/2"), (1.0, "image 2/2")]
    pairs = list(pairs_of(open_photographs([tmp_path]), Gaussian(25, 25)))
    assert runs[0].psnr == pytest.approx(np.mean([psnr(*pair) for pair in pairs]), abs=1e-9)
    assert runs[0].ssim == pytest.approx(np.mean([ssim(*pair) for pair in pairs]), abs=1e-9)
    assert runs[0].psnr == pytest.approx(20.17, abs=0.5)  # 20 log10(255 / 25), and clipping helps
    assert not np.array_equal(pairs[0][0] - pairs[0][1], pairs[1][0] - pairs[1][1])


def test_large_images_of_a_checkpoint_go_by_tiles_when_asked(nafnet: tuple[NAFNet, Path]) -> None:
    _, folder = nafnet
    sizes: list[tuple[int, ...]] = []

    def pointwise(tile: np.ndarray) -> np.ndarray:
        sizes.append(tile.shape[1:])
        return tile * np.float32(0.5)

    picture = image(131, 90)
    np.testing.assert_allclose(by_tiles(pointwise, picture, (64, 48), 16), picture * 0.5, rtol=0, atol=1e-6)
    assert set(sizes) == {(64, 48)}
    assert len(sizes) == 3 * 3
    whole, tiled = open_restorer(folder / "tiny.safetensors"), open_restorer(folder / "tiny.safetensors", 96)
    np.testing.assert_array_equal(tiled(picture[:, :96, :80]), whole(picture[:, :96, :80]))
    assert tiled(picture).shape == picture.shape
    np.testing.assert_array_equal(tiled(picture), by_tiles(whole, picture, (96, 90)))
    assert np.abs(tiled(picture) - whole(picture)).max() > 1e-3  # the pools of the network saw tiles
    with pytest.raises(GraphoptError, match="tiles of 8 pixels are too small; give 16 or more"):
        open_restorer(folder / "tiny.safetensors", 8)
