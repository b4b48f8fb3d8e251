"""The published networks: sizes, parameter counts, exports, gradients, and their descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_networks import SMALL, said, small

from graphopt.ir.canonical import canonical
from graphopt.models.source import find_model
from graphopt.models.zoo import NETWORKS, build, describe, find_entry

PARAMETERS = {  # counted by hand from each paper's description where it is complete
    "noahtcv": 49_555,
    "dncnn": 64 * 3 * 9 + 64 + 15 * (64 * 64 * 9 + 64) + 3 * 64 * 9 + 3,
    "nafnet-width32": 29_159_715,
    "nafnet-width64": 115_982_915,
}


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


class Several(torch.nn.Module):
    """Many networks as one, whose single export takes hardly longer than that of each."""

    def __init__(self, networks: list[torch.nn.Module]):
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(network(image) for network in self.networks)


QUICK = ["noahtcv", "enerzai-2", "list-unet"]


OTHERS = [name for name in SMALL if not name.startswith("nafnet") and name not in QUICK]  # test_source.py has them


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_rebuilt_from_its_description(name: str) -> None:
    network = small(name)
    again = build(*describe(network))
    assert type(again) is type(network)
    assert again.config == network.config


def test_mistakes_in_names_and_options_name_the_nearest() -> None:
    assert said(find_entry, "noahtvc") == "unknown network 'noahtvc'; did you mean 'noahtcv'?"
    assert said(build, "dncnn", {"widht": 3}) == "network 'dncnn': unknown option 'widht'; did you mean 'width'?"
    text = said(build, "dncnn", {"width": "wide"})
    assert text.startswith("network 'dncnn': option 'width': ")
    assert text.endswith("found 'wide'")
    assert "option 'width': Input should be greater than or equal to 1, found 0" in said(build, "mier", {"width": 0})
    assert "option 'widths.1'" in said(build, "moma", {"widths": (4, -1)})
    assert said(build, "list-unet", {"widths": (4, 12)}).startswith("network 'list-unet': 'widths': with conv: list")
    assert "'heads' must divide 'embedding'" in said(build, "swinir", {"heads": 7})
    assert said(build, "megvii", {"widths": (3, 4)}).endswith("expected even numbers, which split in two")
    assert "comes without weights; write it with `graphopt models export dncnn" in said(find_model, "dncnn", Path())
