"""The networks of `npu_int8_facts.csv` as they were timed: torchvision's, timm's, and those of `npu_published.py`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from costs import npu_published as published
from costs.npu_published_larger import DeepLabMobileNet, HRNetPose

_CLASSES = {
    **{name: name for name in ("convnext_base", "convnext_tiny", "densenet121", "mobilenet_v2", "mobilenet_v3_large")},
    **{name: name for name in ("regnet_y_800mf", "resnet101", "resnet18", "resnet50", "squeezenet1_1")},
    **{"mnasnet05": "mnasnet0_5", "regnet": "regnet_x_3_2gf", "resnext50": "resnext50_32x4d", "swin_tiny": "swin_t"},
    **{"resnext101": "resnext101_32x8d", "shufflenet_v2": "shufflenet_v2_x1_0", "vit": "vit_b_16"},
    "wideresnet50": "wide_resnet50_2",
}
_OF_TIMM = {"dla102x": "dla102x", "mobilenet_v4": "mobilenetv4_conv_medium", "levit": "levit_128s"} | {
    "efficientformer": "efficientformer_l1",
    "efficientvit_b2_cls": "efficientvit_b2",
    "efficientvit_l2_cls": "efficientvit_l2",
}
_VIDEOS = {"resnet_2plus1d": "r2plus1d_18", "resnet_3d": "r3d_18", "resnet_mixed": "mc3_18"}
_FFNETS = {"ffnet_40s": (4, 5, 6, 4), "ffnet_54s": (5, 8, 8, 5), "ffnet_78s": (6, 12, 12, 8)}
Inside = Literal["by channel", "range", ""]


@dataclass(frozen=True)
class Network:
    """`make` the network with random weights; `inside`: how it normalises images itself: each channel by its own mean
    and deviation, from [0, 1] to [-1, 1], or not.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 3, 224, 224)
    inside: Inside = "by channel"


def networks(models: Any) -> dict[str, Network]:
    """By name in the calibration file. `models`: torchvision.models."""
    import timm

    def vision(name: str, **arguments: Any) -> Callable[[], nn.Module]:
        return lambda: getattr(models, name)(weights=None, **arguments)

    def of_timm(name: str) -> Callable[[], nn.Module]:
        return lambda: timm.create_model(name, pretrained=False)

    def video(name: str) -> Callable[[], nn.Module]:
        return lambda: getattr(models.video, name)(weights=None)

    def ffnet(blocks: tuple[int, ...]) -> Callable[[], nn.Module]:
        return lambda: published.ffnet_s(blocks)

    def fcn() -> nn.Module:
        made: nn.Module = models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=False)
        return made

    plain = {"aux_logits": False, "init_weights": False}
    small, wide = (1, 3, 128, 128), (1, 3, 512, 1024)
    return {
        **{name: Network(vision(constructor)) for name, constructor in _CLASSES.items()},
        **{name: Network(of_timm(constructor)) for name, constructor in _OF_TIMM.items()},
        **{name: Network(video(constructor), (1, 3, 16, 112, 112), "") for name, constructor in _VIDEOS.items()},
        **{name: Network(ffnet(blocks), (1, 3, 1024, 2048)) for name, blocks in _FFNETS.items()},
        "deeplabv3_plus_mobilenet": Network(DeepLabMobileNet, (1, 3, 513, 513)),
        "dncnn": Network(published.DnCnn, (1, 1, 256, 256), ""),
        "efficientnet_b4": Network(vision("efficientnet_b4"), (1, 3, 380, 380)),
        "efficientnet_lite4": Network(of_timm("tf_efficientnet_lite4"), (1, 3, 300, 300)),
        "efficientnet_v2_s": Network(vision("efficientnet_v2_s"), (1, 3, 384, 384)),
        "face_det_lite": Network(published.FaceDetLite, (1, 1, 480, 640), ""),
        "facemap_3dmm": Network(published.Facemap, small, ""),
        "fcn_resnet50": Network(fcn, (1, 3, 520, 520)),
        "ffnet_122ns_lowres": Network(published.ffnet_122ns, wide),
        "ffnet_78s_lowres": Network(lambda: published.ffnet_s(_FFNETS["ffnet_78s"], low_resolution=True), wide),
        "googlenet": Network(vision("googlenet", **plain), inside="range"),
        "hrnet_pose": Network(HRNetPose, (1, 3, 256, 192)),
        "inception_v3": Network(vision("inception_v3", **plain), inside="range"),
        "inception_v4": Network(of_timm("inception_v4"), (1, 3, 299, 299), "range"),
        "midas": Network(lambda: published.Midas(of_timm("tf_efficientnet_lite3")()), (1, 3, 256, 256)),
        "mobile_vit": Network(of_timm("mobilevit_s"), (1, 3, 256, 256), ""),
        "quicksrnetmedium": Network(lambda: published.quicksrnet(5), small, ""),
        "quicksrnetsmall": Network(lambda: published.quicksrnet(2), small, ""),
        "xlsr": Network(published.Xlsr, small, ""),
    }


class Timed(nn.Module):
    """A network as it was timed: images are normalised inside; a segmentation gives classes."""

    def __init__(self, network: nn.Module, inside: Inside):
        super().__init__()
        self.network, self.inside = network, inside
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> Any:
        if self.inside:
            by_channel = self.inside == "by channel"
            image = (image - self.mean) / self.deviation if by_channel else image * 2 - 1
        made = self.network(image)
        return made["out"].argmax(1).to(torch.int32) if isinstance(made, dict) else made


def load_torchvision(folder: Path) -> Any:
    """torchvision.models from `folder`, its compiled operators declared empty; timm is found there too."""
    sys.path.insert(0, str(folder))
    source = (folder / "torchvision" / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(r'register_meta\("(\w+)"|register_fake\("torchvision::(\w+)"', source))):
        library.define(f"{''.join(name)}(Tensor a) -> Tensor")
    import torchvision

    torchvision.graphopt_library = library  # declarations end with it
    return torchvision.models


def randomise(network: nn.Module) -> None:
    """Draws every parameter and statistic.

    Where initialisers are equal, the exporter writes Identity nodes, biases are then not quantised, and the compiler
    needs many times the supertiles.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.1, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
        for name, parameter in network.named_parameters():
            if parameter.dim() <= 1 or any(part in name for part in ("layer_scale", "class_token", "pos_emb")):
                low, high = (0.5, 1.0) if "weight" in name or "scale" in name else (-0.1, 0.1)
                parameter.uniform_(low, high, generator=generator)
