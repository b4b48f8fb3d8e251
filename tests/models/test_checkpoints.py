"""Checkpoints: the official layout is taken unchanged; anything else is one clear message and is never run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_networks import SMALL, said, small
from torch import Tensor

from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import load_checkpoint, load_weights, save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.shipped import SHIPPED
from graphopt.models.zoo import build

CONFIG = NAFNetConfig(width=4, encoder_blocks=(1, 0, 2), middle_blocks=1, decoder_blocks=(1, 1, 0))


@pytest.fixture
def network() -> NAFNet:
    torch.manual_seed(3)
    made = NAFNet(CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return made


def test_the_official_36_block_layout_is_read_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = NAFNet(NAFNetConfig(width=4))
    torch.save({"params": original.state_dict()}, tmp_path / "NAFNet-SIDD-width4.pth")
    loaded = load_checkpoint(tmp_path / "NAFNet-SIDD-width4.pth")
    assert loaded.config == NAFNetConfig(width=4, encoder_blocks=(2, 2, 4, 8), middle_blocks=12)
    for key, value in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)
    assert not loaded.training


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("plain.pth", lambda weights: weights),
        ("params.pt", lambda weights: {"params": weights}),
        ("lightning.pth", lambda weights: {"state_dict": weights, "epoch": 3}),
        ("parallel.pth", lambda weights: {"params": {f"module.{key}": value for key, value in weights.items()}}),
    ],
)
def test_layouts(
    name: str, wrap: Callable[[dict[str, Tensor]], dict[str, Any]], tmp_path: Path, network: NAFNet
) -> None:
    torch.save(wrap(network.state_dict()), tmp_path / name)
    loaded = load_checkpoint(tmp_path / name)
    assert loaded.config == CONFIG
    image = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), rtol=0, atol=0)


def test_safetensors_go_out_and_come_back(tmp_path: Path, network: NAFNet) -> None:
    channels_last = network.to(memory_format=torch.channels_last)  # as training leaves it
    save_checkpoint(channels_last, tmp_path / "new" / "weights.safetensors")
    loaded = load_checkpoint(tmp_path / "new" / "weights.safetensors")
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)


def test_half_precision_weights_become_float32(tmp_path: Path, network: NAFNet) -> None:
    save_file(
        {key: value.half().contiguous() for key, value in network.state_dict().items()}, tmp_path / "h.safetensors"
    )
    loaded = load_checkpoint(tmp_path / "h.safetensors")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(loaded.intro.weight, network.intro.weight.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "width"), [("nafnet-width8-sigma25", 8), ("nafnet-width16", 16)])
def test_shipped_checkpoints_load(name: str, width: int) -> None:
    loaded = load_checkpoint(SHIPPED[name].path)
    assert loaded.config == NAFNetConfig(width=width)
    assert all(torch.isfinite(value).all() for value in loaded.state_dict().values())


class Touch:
    """Pickles into a call that makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def message(path: Path) -> str:
    with pytest.raises(GraphoptError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "weights_only" not in text  # torch's own text advises to load the file without the safeguard
    return text


def test_a_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    evil, proof = tmp_path / "evil.pth", tmp_path / "proof"
    torch.save({"params": Touch(proof)}, evil)
    assert "cannot be read as weights" in message(evil)
    assert not proof.exists()
    evil.write_bytes(pickle.dumps(Touch(proof)))
    assert "cannot be read as weights" in message(evil)
    assert not proof.exists()
    pickle.loads(evil.read_bytes())  # shows that the file does what the test says
    assert proof.exists()


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n", bytes(range(256)), b"\x80\x02."])
def test_not_a_checkpoint(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    assert "cannot be read as weights" in message(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"conv.weight": torch.zeros(1)}, "is not a NAFNet: it has no convolution 'intro'; its keys begin conv.weight"),
        ({"intro.weight": torch.zeros(3)}, "is not a NAFNet"),
        ({"params": {}}, "is not a NAFNet"),
        ({0: torch.zeros(3)}, "holds no state dict"),
        ([torch.zeros(3)], "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ({"params": {"intro.weight": 3}}, "holds no state dict"),
    ],
)
def test_other_contents(content: Any, expected: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert expected in message(tmp_path / "other.pth")


def test_other_keys_are_named(tmp_path: Path, network: NAFNet) -> None:
    weights = network.state_dict()
    del weights["encoders.0.0.beta"]
    weights["encoders.0.0.relu.weight"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pth")
    text = message(tmp_path / "w.pth")
    assert "missing encoders.0.0.beta; unknown encoders.0.0.relu.weight" in text


def test_a_wrong_shape_is_named(tmp_path: Path, network: NAFNet) -> None:
    weights = network.state_dict()
    weights["middle_blks.0.conv1.weight"] = torch.zeros(64, 32, 3, 3)
    torch.save(weights, tmp_path / "w.pth")
    text = message(tmp_path / "w.pth")
    assert "middle_blks.0.conv1.weight has the shape (64, 32, 3, 3), expected (64, 32, 1, 1)" in text


def test_unequal_levels_are_refused(tmp_path: Path, network: NAFNet) -> None:
    weights = {key: value for key, value in network.state_dict().items() if not key.startswith("ups.2")}
    torch.save(weights, tmp_path / "w.pth")
    assert "3 levels down and 2 up" in message(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["noahtcv", "enerzai-2", "list-unet", "feature-align"])
def test_checkpoints_say_which_network_they_hold(name: str, tmp_path: Path) -> None:
    network = small(name)
    save_checkpoint(network, tmp_path / "w.safetensors")
    loaded = load_checkpoint(tmp_path / "w.safetensors")
    assert type(loaded) is type(network)
    assert loaded.config == network.config
    assert not loaded.training
    image = torch.rand(1, network.config.image_channels, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), rtol=0, atol=0)


def test_a_nafnets_file_stays_as_it_was(tmp_path: Path) -> None:
    from safetensors import safe_open

    network = build("nafnet-width32", SMALL["nafnet-width32"])
    assert isinstance(network, NAFNet)
    save_checkpoint(network, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as content:
        assert not content.metadata()


def test_the_checkpoint_of_another_network_names_the_keys_that_differ(tmp_path: Path) -> None:
    save_checkpoint(small("mier"), tmp_path / "mier.safetensors")
    text = said(load_weights, small("dncnn"), None, tmp_path / "mier.safetensors")
    assert "is not a DnCNN of this form: missing model.0.bias" in text
    assert "unknown blocks.0.conv1.bias" in text
    torch.save(small("mier").state_dict(), tmp_path / "mier.pth")
    assert "is not a NAFNet: it has no convolution 'intro'" in said(load_checkpoint, tmp_path / "mier.pth")
    text = said(load_weights, small("mier", width=4), None, tmp_path / "mier.safetensors")
    assert "has the shape (8, 3, 3, 3), expected (4, 3, 3, 3)" in text


@pytest.mark.parametrize("metadata", ["[1]", "{}", "words", '{"network": 3, "options": {}}'])
def test_metadata_that_says_nothing(metadata: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"graphopt": metadata})
    assert "its metadata 'graphopt' names no network" in said(load_checkpoint, tmp_path / "w.safetensors")


def test_a_network_that_is_not_there_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"graphopt": '{"network": "gone", "options": {}}'})
    with pytest.raises(GraphoptError, match="unknown network 'gone'"):
        load_checkpoint(tmp_path / "w.safetensors")
