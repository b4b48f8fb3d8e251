"""One file that runs the network of each image, and one for each network."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from graphopt.ir.session import OnnxSession
from graphopt.models.specialised import NoiseSelector, Specialised
from graphopt.models.specialised_export import export_specialised
from graphopt.models.zoo import build


def test_one_file_runs_the_network_of_each_image_at_any_size() -> None:
    torch.manual_seed(0)
    networks = [build("dncnn", {"depth": 3, "width": 4}) for _ in range(3)]
    selector = NoiseSelector(3)
    with torch.no_grad():  # scores by the strength of the noise, without a training
        for parameter in selector.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
        selector.ending.weight.copy_(torch.tensor([[-1.0], [0.0], [1.0]]).expand(3, 16))
        images = [torch.rand(1, 3, 24, 40) * 0.1 + strength * torch.randn(1, 3, 24, 40) for strength in (0, 0.1, 0.5)]
        levels = [float(selector(image)[0, 2] - selector.ending.bias[2]) for image in images]
        low, high = (levels[0] + levels[1]) / 2, (levels[1] + levels[2]) / 2
        assert levels == sorted(levels)
        selector.ending.bias.copy_(torch.tensor([low, 0.0, -high]))  # the middle wins between low and high
        specialised = Specialised(networks, [10, 30], selector).eval()
        assert [int(selector(image).argmax()) for image in images] == [0, 1, 2]
        models, worst = export_specialised(specialised, (24, 40), "test")
        assert worst < 1e-5
        assert list(models) == ["", "range0", "range1", "range2", "selector"]
        session = OnnxSession(models[""])
        for place, image in enumerate(images):
            expected = networks[place](image).numpy()
            np.testing.assert_allclose(session.run(image.numpy()), expected, rtol=0, atol=1e-5)
            np.testing.assert_allclose(OnnxSession(models[f"range{place}"]).run(image.numpy()), expected, atol=1e-5)
    top = [node.op_type for node in models[""].graph.node]
    assert top.count("If") == 1  # the networks are inside, so that one of them runs
    assert top[-1] == "If"
    onnx.checker.check_model(models[""])
