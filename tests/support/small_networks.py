"""Small forms of the published networks, every weight random."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphopt.errors import GraphoptError
from graphopt.models.zoo import build

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


def said(act: Any, *arguments: Any) -> str:
    """The one line in which `act` refuses."""
    with pytest.raises(GraphoptError) as caught:
        act(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
