"""The published networks: sizes, parameter counts, exports, gradients, and the checkpoints that say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.models.checkpoints import load_checkpoint, load_weights, save_checkpoint
from graphopt.models.mfdnet import Haar
from graphopt.models.nafnet import NAFNet
from graphopt.models.source import check_export, export_network, find_model, parse_size
from graphopt.models.swinir import roll_mask
from graphopt.models.zoo import NETWORKS, build, describe, find_entry

SMALL: dict[str, dict[str, Any]] = {
    "noahtcv": {"width": 4, "bottom_width": 6},
    "megvii": {"widths": (4, 8, 12), "convolutions": 1, "bottom_convolutions": 1},
    "enerzai": {"widths": (4, 8)},
    "enerzai-2": {"widths": (4, 8), "growth": 4},
    "moma": {"widths": (4, 8)},
    "mier": {"width": 8, "blocks": 1},
    "gdalgo": {"widths": (4, 8), "blocks": 1},
    "feature-align": {"widths": (4, 8)},
    "dncnn": {"width": 8, "depth": 3},
    "list-dncnn": {"width": 8, "depth": 3},
    "unet": {"widths": (4, 8)},
    "list-unet": {"widths": (4, 8)},
    "litedenoise": {"widths": (4, 8)},
    "mfdnet": {"width": 8, "blocks": 1},
    "swinir-light": {"embedding": 8, "depths": (2,), "heads": 2},
    "swinir": {"embedding": 12, "depths": (1, 1), "heads": 2},
    "nafnet-width32": {"width": 4, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)},
    "nafnet-width64": {"width": 4, "encoder_blocks": (), "middle_blocks": 1, "decoder_blocks": ()},
}
PARAMETERS = {  # counted by hand from each paper's description where it is complete
    "noahtcv": 49_555,
    "dncnn": 64 * 3 * 9 + 64 + 15 * (64 * 64 * 9 + 64) + 3 * 64 * 9 + 3,
    "nafnet-width32": 29_159_715,
    "nafnet-width64": 115_982_915,
}


def small(name: str, **options: Any) -> Any:
    """A small form of a network, every weight random and none at its neutral start."""
    torch.manual_seed(4)
    network = build(name, {**SMALL[name], **options})
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim < 2 or parameter.abs().max() == 0:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def on_meta(name: str) -> Any:
    with torch.device("meta"):
        return build(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_goes_in_and_comes_out(name: str) -> None:
    network = small(name)
    image = torch.rand(2, network.config.image_channels, 21, 19)
    with torch.no_grad():
        restored = network(image)
        assert restored.shape == image.shape
        assert torch.isfinite(restored).all()
        assert (restored - image).abs().max() > 1e-4
        stride = network.config.stride
        padded = torch.nn.functional.pad(image, (0, -19 % stride, 0, -21 % stride))
        torch.testing.assert_close(network(padded)[..., :21, :19], restored, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.published])
def test_parameters_fill_the_published_file_in_float32(name: str) -> None:
    published = NETWORKS[name].published
    assert published is not None
    parameters = sum(parameter.numel() for parameter in on_meta(name).parameters())
    assert 4 * parameters / 1000 == pytest.approx(published.size_kb, rel=0.10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_networks_that_are_published_in_full(name: str) -> None:
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == PARAMETERS[name]


def test_swinir_has_the_published_size_and_macs() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = on_meta("swinir")
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(11.5e6, rel=0.005)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64, device="meta"))
    assert counter.get_total_flops() / 2 / 64**2 * 256**2 == pytest.approx(800e9, rel=0.01)


def test_the_haar_transform_keeps_lengths_and_comes_back() -> None:
    torch.manual_seed(0)
    haar, x = Haar(3), torch.randn(2, 3, 8, 6)
    y = haar(x)
    assert y.shape == (2, 12, 4, 3)
    torch.testing.assert_close(y.norm(), x.norm())
    torch.testing.assert_close(y[:, 4], x[:, 1].unfold(1, 2, 2).unfold(2, 2, 2).sum((-1, -2)) / 2)  # the means
    torch.testing.assert_close(haar.inverse(y), x, rtol=0, atol=1e-5)


def test_rolled_windows_attend_only_within_what_was_together() -> None:
    mask = roll_mask(16, 16, 8, 4)
    assert mask.shape == (4, 64, 64)
    assert (mask[0] == 0).all()
    assert (mask[3].reshape(8, 8, 8, 8)[0, 0] == -100).sum() == 48  # its quarter of the corner window stays


class Several(torch.nn.Module):
    """Many networks as one, whose single export takes hardly longer than that of each."""

    def __init__(self, networks: list[torch.nn.Module]):
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(network(image) for network in self.networks)


QUICK = ["noahtcv", "enerzai-2", "list-unet"]
OTHERS = [name for name in SMALL if not name.startswith("nafnet") and name not in QUICK]  # test_models_nafnet has it


@pytest.mark.parametrize("names", [QUICK, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["quick", "others"])
def test_exports_are_the_networks_on_raw_images_of_an_odd_size(names: list[str]) -> None:
    several = Several([small(name, image_channels=4) for name in names]).eval()
    image = torch.rand(1, 4, 20, 22)
    program = torch.onnx.export(several, (image,), dynamo=True, verbose=False)
    assert program is not None
    model = canonical(program.model_proto, None, "several")
    assert [node for node in model.graph.node if node.op_type == "BatchNormalization"] == []
    with torch.no_grad():
        expected = several(image)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {model.graph.input[0].name: image.numpy()})
    for name, mine, theirs in zip(names, found, expected, strict=True):
        worst = float(np.abs(mine - theirs.numpy()).max() / theirs.abs().max())
        assert worst <= 1e-5, name


def test_an_export_that_is_another_network_is_an_error() -> None:
    model = export_network(small("mier"), (16, 16))
    with pytest.raises(GraphoptError, match="mier: the export differs from torch by"):
        check_export(build("mier", SMALL["mier"]), model, "mier")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_lowers_the_loss(name: str) -> None:
    network = small(name).train()
    torch.manual_seed(0)
    clean = torch.rand(2, network.config.image_channels, 16, 16)
    noisy = clean + 0.1 * torch.randn_like(clean)
    optimiser = torch.optim.SGD(network.parameters(), 1.0)

    def loss() -> torch.Tensor:
        found: torch.Tensor = (network(noisy) - clean).square().mean()
        return found

    before = loss()
    before.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    length = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    for group in optimiser.param_groups:  # a step along the gradient that is short enough for any of the networks
        group["lr"] = float(1e-3 * before.detach() / length**2)
    optimiser.step()
    assert loss().item() < before.item()


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_rebuilt_from_its_description(name: str) -> None:
    network = small(name)
    again = build(*describe(network))
    assert type(again) is type(network)
    assert again.config == network.config


def test_a_nafnets_file_stays_as_it_was(tmp_path: Path) -> None:
    from safetensors import safe_open

    network = build("nafnet-width32", SMALL["nafnet-width32"])
    assert isinstance(network, NAFNet)
    save_checkpoint(network, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as content:
        assert not content.metadata()


def message(act: Any, *arguments: Any) -> str:
    with pytest.raises(GraphoptError) as caught:
        act(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_checkpoint_of_another_network_names_the_keys_that_differ(tmp_path: Path) -> None:
    save_checkpoint(small("mier"), tmp_path / "mier.safetensors")
    text = message(load_weights, small("dncnn"), None, tmp_path / "mier.safetensors")
    assert "is not a DnCNN of this form: missing model.0.bias" in text
    assert "unknown blocks.0.conv1.bias" in text
    torch.save(small("mier").state_dict(), tmp_path / "mier.pth")
    assert "is not a NAFNet: it has no convolution 'intro'" in message(load_checkpoint, tmp_path / "mier.pth")
    text = message(load_weights, small("mier", width=4), None, tmp_path / "mier.safetensors")
    assert "has the shape (8, 3, 3, 3), expected (4, 3, 3, 3)" in text


@pytest.mark.parametrize("said", ["[1]", "{}", "words", '{"network": 3, "options": {}}'])
def test_metadata_that_says_nothing(said: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"graphopt": said})
    assert "its metadata 'graphopt' names no network" in message(load_checkpoint, tmp_path / "w.safetensors")


def test_mistakes_in_names_and_options_name_the_nearest() -> None:
    assert message(find_entry, "noahtvc") == "unknown network 'noahtvc'; did you mean 'noahtcv'?"
    assert message(build, "dncnn", {"widht": 3}) == "network 'dncnn': unknown option 'widht'; did you mean 'width'?"
    text = message(build, "dncnn", {"width": "wide"})
    assert text.startswith("network 'dncnn': option 'width': ")
    assert text.endswith("found 'wide'")
    assert "option 'width': Input should be greater than or equal to 1, found 0" in message(build, "mier", {"width": 0})
    assert "option 'widths.1'" in message(build, "moma", {"widths": (4, -1)})
    assert message(build, "list-unet", {"widths": (4, 12)}).startswith("network 'list-unet': 'widths': with conv: list")
    assert "'heads' must divide 'embedding'" in message(build, "swinir", {"heads": 7})
    assert message(build, "megvii", {"widths": (3, 4)}).endswith("expected even numbers, which split in two")
    assert "comes without weights; write it with `graphopt models export dncnn" in message(find_model, "dncnn", Path())


@pytest.mark.parametrize("text", ["720", "720x", "x480", "720x480x3", "8x480", "-720x480", "720*480", ""])
def test_sizes_that_are_none(text: str) -> None:
    assert message(parse_size, text).startswith(f"size '{text}': expected WIDTHxHEIGHT")


def test_a_size_is_width_by_height() -> None:
    assert parse_size("720x480") == (480, 720)
