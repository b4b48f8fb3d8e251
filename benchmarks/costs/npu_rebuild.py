"""Rebuilds the table `npu_int8_facts.csv`: what the NPU's compiler says of public networks, quantised.

    pip install --no-deps --target TORCHVISION torchvision==0.28.0
    python benchmarks/costs/npu_rebuild.py TORCHVISION resnet18 w8a8 >> FACTS.csv

One row for each call: a network of torchvision with random weights, images normalised in the graph, quantised by
onnxruntime's configuration for QNN (per tensor) on one random image. torchvision's compiled operators are not needed:
they are declared empty. About half a minute for each row on a quiet core.

Every parameter and statistic is drawn: where initialisers are equal, the exporter writes Identity nodes, biases are
then not quantised, and the compiler needs many times the supertiles.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model
from torch import nn

from graphopt.backends.qnn.compiler import compile_npu
from graphopt.backends.qnn.padding import padded_macs
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.qnn.vectors import vector_values
from graphopt.backends.targets import load_target
from graphopt.cost.counts import macs_and_parameters

# Name in the calibration file: constructor of torchvision.models, side of the image, arguments.
NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "convnext_base": ("convnext_base", 224, {}),
    "convnext_tiny": ("convnext_tiny", 224, {}),
    "densenet121": ("densenet121", 224, {}),
    "efficientnet_b4": ("efficientnet_b4", 380, {}),
    "efficientnet_v2_s": ("efficientnet_v2_s", 384, {}),
    "fcn_resnet50": ("segmentation.fcn_resnet50", 520, {"weights_backbone": None, "aux_loss": False}),
    "googlenet": ("googlenet", 224, {"aux_logits": False, "init_weights": False}),
    "inception_v3": ("inception_v3", 224, {"aux_logits": False, "init_weights": False}),
    "mobilenet_v2": ("mobilenet_v2", 224, {}),
    "mobilenet_v3_large": ("mobilenet_v3_large", 224, {}),
    "resnet18": ("resnet18", 224, {}),
    "resnet50": ("resnet50", 224, {}),
    "resnext101": ("resnext101_32x8d", 224, {}),
    "shufflenet_v2": ("shufflenet_v2_x1_0", 224, {}),
    "squeezenet1_1": ("squeezenet1_1", 224, {}),
    "vit": ("vit_b_16", 224, {}),
    "wideresnet50": ("wide_resnet50_2", 224, {}),
}


class Timed(nn.Module):
    """A network as it was timed: images are normalised inside; a segmentation gives classes."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        made = self.network((image - self.mean) / self.deviation)
        return made["out"].argmax(1).to(torch.int32) if isinstance(made, dict) else made


class OneImage(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, side: int):
        self.images = iter([{"x": np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.images, None)


def load_torchvision(folder: Path) -> Any:
    """torchvision.models from `folder`, its compiled operators declared empty."""
    sys.path.insert(0, str(folder))
    source = (folder / "torchvision" / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(r'register_meta\("(\w+)"|register_fake\("torchvision::(\w+)"', source))):
        library.define(f"{''.join(name)}(Tensor a) -> Tensor")
    import torchvision

    torchvision.graphopt_library = library  # declarations end with it
    return torchvision.models


def randomise(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.1, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
        for name, parameter in network.named_parameters():
            if parameter.dim() <= 1 or any(part in name for part in ("layer_scale", "class_token", "pos_emb")):
                low, high = (0.5, 1.0) if "weight" in name or "scale" in name else (-0.1, 0.1)
                parameter.uniform_(low, high, generator=generator)


def facts(models: Any, name: str, precision: str) -> list[Any]:
    """A row of the table, and the values of the vector units (those of `npu_vector_values.csv`) last."""
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    path, side, arguments = NETWORKS[name]
    constructor = models
    for part in path.split("."):
        constructor = getattr(constructor, part)
    torch.manual_seed(0)
    network = Timed(constructor(weights=None, **arguments)).eval()
    randomise(network)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (Path(folder) / f"{stem}.onnx" for stem in ("plain", "ready", "made"))
        image = torch.rand(1, 3, side, side)
        torch.onnx.export(network, (image,), plain, input_names=["x"], opset_version=18, external_data=False)
        source = ready if qnn_preprocess_model(plain, ready) else plain
        activations = QuantType.QUInt16 if precision == "w8a16" else QuantType.QUInt8
        config = get_qnn_qdq_config(source, OneImage(side), activation_type=activations, weight_type=QuantType.QUInt8)
        quantize(source, made, config)
        original, found = onnx.load(plain), compile_npu(onnx.load(made), target)[0]
    macs, _ = macs_and_parameters(original)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    moved, spilled = found.read_bytes + found.written_bytes, found.spilled_bytes + found.filled_bytes
    counts = [macs, padded_macs(original), moved, spilled, found.main_ops, found.vector_ops, found.supertiles]
    return [name, precision, f"1x3x{side}x{side}", parameters, *counts, vector_values(original)]


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] not in NETWORKS or sys.argv[3] not in ("w8a8", "w8a16"):
        sys.exit(f"usage: python benchmarks/costs/npu_rebuild.py TORCHVISION NETWORK w8a8|w8a16; {', '.join(NETWORKS)}")
    print(*facts(load_torchvision(Path(sys.argv[1])), *sys.argv[2:]), sep=",")
