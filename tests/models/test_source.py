"""Source: names and paths of models, sizes, and one export that is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_networks import SMALL, said, small

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.session import OnnxSession
from graphopt.models import source
from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.source import check_export, export_network, find_model, load_source, parse_size
from graphopt.models.zoo import build


def test_a_path_is_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    assert find_model("net.onnx", tmp_path) == tmp_path / "net.onnx"
    assert find_model(str(tmp_path / "net.onnx"), Path("elsewhere")) == tmp_path / "net.onnx"


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="unknown model 'nafnet-width8'; did you mean 'nafnet-width8-sigma25'"):
        find_model("nafnet-width8", tmp_path)
    with pytest.raises(GraphoptError, match=r"unknown model 'zzz'; known: nafnet-width16.*\.onnx"):
        find_model("zzz", tmp_path)
    with pytest.raises(GraphoptError, match=r"model .*gone\.pth does not exist"):
        find_model("gone.pth", tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NAFNet, onnx.ModelProto, float]:
    """A tiny network through torch's exporter, once."""
    folder = tmp_path_factory.mktemp("source")
    torch.manual_seed(1)
    network = NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.1)
    save_checkpoint(network, folder / "tiny.safetensors")
    model, difference = load_source(folder / "tiny.safetensors", (32, 32), folder / "cache")
    return folder, network, model, difference


def test_the_export_computes_what_the_network_computes(
    exported: tuple[Path, NAFNet, onnx.ModelProto, float],
) -> None:
    _, network, model, difference = exported
    assert difference <= 1e-5
    assert input_shape(model) == (1, 3, 32, 32)
    image = np.random.default_rng(5).random((1, 3, 32, 32), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(OnnxSession(model).run(image), expected, rtol=1e-4, atol=1e-5)


def test_nodes_are_named_after_modules(exported: tuple[Path, NAFNet, onnx.ModelProto, float]) -> None:
    model = exported[2]
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names))
    convs = {node.name for node in model.graph.node if node.op_type == "Conv"}
    expected = {"intro/conv", "ending/conv", "downs.0/conv", "downs.1/conv", "ups.0.0/conv", "ups.1.0/conv"}
    blocks = ("encoders.0.0", "encoders.1.0", "middle_blks.0", "decoders.0.0", "decoders.1.0")
    expected |= {f"{block}/{name}/conv" for block in blocks for name in ("conv1", "conv2", "conv3", "conv4", "conv5")}
    expected |= {f"{block}/sca.1/conv" for block in blocks}
    assert convs == expected
    assert "encoders.0.0/norm1/sqrt" in names
    initialisers = {tensor.name for tensor in model.graph.initializer}
    assert "encoders.0.0.conv1.weight" in initialisers


def test_the_second_call_reads_what_was_kept(
    exported: tuple[Path, NAFNet, onnx.ModelProto, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, model, difference = exported
    (kept,) = (folder / "cache").iterdir()
    assert re.fullmatch(r"tiny-[0-9a-f]{16}-[0-9a-f]{8}-32x32\.onnx", kept.name)

    def never(*_: object) -> onnx.ModelProto:
        raise AssertionError("exported twice")

    monkeypatch.setattr(source, "export", never)
    again, found = load_source(folder / "tiny.safetensors", (32, 32), folder / "cache")
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    assert found == pytest.approx(difference, abs=1e-6)
    with pytest.raises(AssertionError, match="exported twice"):  # another size is another export
        load_source(folder / "tiny.safetensors", (48, 48), folder / "cache")
    os.utime(folder / "tiny.safetensors")  # only the content counts
    load_source(folder / "tiny.safetensors", (32, 32), folder / "cache")


def test_a_resolution_changes_an_onnx_file(exported: tuple[Path, NAFNet, onnx.ModelProto, float]) -> None:
    folder = exported[0]
    (kept,) = (folder / "cache").iterdir()
    model, difference = load_source(kept, (64, 48), folder / "unused")
    assert input_shape(model) == (1, 3, 64, 48)
    assert difference <= 1e-5
    assert not (folder / "unused").exists()


def test_sizes_that_are_too_small(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="resolution 0x64 is too small; expected a height and a width of 16"):
        load_source(tmp_path / "any.onnx", (0, 64), tmp_path)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(GraphoptError, match=r"text\.onnx"):
        load_source(tmp_path / "text.onnx", None, tmp_path / "cache")
    with pytest.raises(GraphoptError, match=r"gone\.pth does not exist"):
        load_source(tmp_path / "gone.pth", None, tmp_path / "cache")
    with pytest.raises(GraphoptError, match=r"gone\.onnx does not exist"):
        load_source(tmp_path / "gone.onnx", None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_export_that_is_another_network_is_an_error() -> None:
    model = export_network(small("mier"), (16, 16))
    with pytest.raises(GraphoptError, match="mier: the export differs from torch by"):
        check_export(build("mier", SMALL["mier"]), model, "mier")


@pytest.mark.parametrize("text", ["720", "720x", "x480", "720x480x3", "8x480", "-720x480", "720*480", ""])
def test_sizes_that_are_none(text: str) -> None:
    assert said(parse_size, text).startswith(f"size '{text}': expected WIDTHxHEIGHT")


def test_a_size_is_width_by_height() -> None:
    assert parse_size("720x480") == (480, 720)
