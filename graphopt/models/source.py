"""Source: a shipped network, a checkpoint or an ONNX file -> a canonical graph, checked against the original."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError, did_you_mean
from graphopt.ir.canonical import canonical, check_same, fix_shapes, input_shape, read_onnx
from graphopt.ir.difference import relative_difference
from graphopt.ir.session import OnnxSession
from graphopt.models.shipped import SHIPPED
from graphopt.models.zoo import NETWORKS, build_random

if TYPE_CHECKING:
    from torch import nn

    from graphopt.models.zoo import Network

DEFAULT_RESOLUTION = (256, 256)
SMALLEST = 16


def find_model(name: str, folder: Path) -> Path:
    """The file of a shipped network by name, or of a path (relative to `folder`)."""
    if name in SHIPPED:
        return SHIPPED[name].path
    path = folder / name
    if path.suffix.lower() in (".onnx", ".pth", ".pt", ".safetensors"):
        if not path.is_file():
            raise GraphoptError(f"model {path} does not exist; {did_you_mean(name, SHIPPED)} (shipped networks)")
        return path
    if name in NETWORKS:
        raise GraphoptError(
            f"network '{name}' comes without weights; write it with `graphopt models export {name} {name}.onnx`, or "
            f"train it with `graphopt pretrain`, and give the path of that file"
        )
    hint = did_you_mean(name, SHIPPED)
    raise GraphoptError(f"unknown model '{name}'; {hint} (or give a path that ends in .onnx, .pth or .safetensors)")


def load_source(path: Path, resolution: tuple[int, int] | None, cache: Path) -> tuple[onnx.ModelProto, float]:
    """The canonical model of a file, and its largest relative difference to the original on a random input.

    An ONNX file keeps its own static shapes unless `resolution` is given; a checkpoint is exported at `resolution`
    (256x256 by default), and the export, which takes about ten seconds, is kept in `cache`.
    """
    if resolution is not None and min(resolution) < SMALLEST:
        size = "x".join(map(str, resolution))
        raise GraphoptError(f"resolution {size} is too small; expected a height and a width of {SMALLEST} or more")
    original = read_onnx(path) if path.suffix.lower() == ".onnx" else _exported(path, resolution, cache)
    model = canonical(original, resolution, str(path))
    judge = onnx.ModelProto()
    judge.CopyFrom(original)
    fix_shapes(judge, resolution, str(path))
    return model, check_same(model, judge, str(path))


def _exported(path: Path, resolution: tuple[int, int] | None, cache: Path) -> onnx.ModelProto:
    height, width = resolution or DEFAULT_RESOLUTION
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "missing"
    kept = cache / f"{path.stem}-{digest}-{code_hash()}-{height}x{width}.onnx"
    if kept.exists():
        return read_onnx(kept)
    model = export(path, (height, width))
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as temporary:
        onnx.save(model, temporary)
    return model


def code_hash() -> str:
    """Of all that says what a network's export is."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources) + onnx.__version__.encode()).hexdigest()[:8]


def export(path: Path, resolution: tuple[int, int]) -> onnx.ModelProto:
    """A checkpoint as ONNX, by torch's exporter."""
    from graphopt.models.checkpoints import load_checkpoint
    from graphopt.models.specialised import Specialised

    network = load_checkpoint(path)
    if isinstance(network, Specialised):
        raise GraphoptError(
            f"model {path} holds networks specialised by noise, of which each image runs one; write them as files of "
            f"their own with `graphopt models export {path} {path.stem}.onnx`, and give {path.stem}.range0.onnx"
        )
    return export_network(network, resolution)


def export_network(network: Network, resolution: tuple[int, int]) -> onnx.ModelProto:
    """A network with its weights as ONNX, by torch's exporter."""
    return export_module(network, (1, network.config.image_channels, *resolution), "restored")


def export_module(module: nn.Module, shape: tuple[int, ...], output: str) -> onnx.ModelProto:
    """A module with one input, `image` of that shape, and one output."""
    import torch

    module.eval()
    image = torch.zeros(shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (image,), dynamo=True, input_names=["image"], output_names=[output], verbose=False
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def export_random(name: str, resolution: tuple[int, int], folder: Path) -> onnx.ModelProto:
    """The canonical model of a published network with random weights; exports are kept in `folder`."""
    kept = folder / f"{name}-{code_hash()}-{resolution[0]}x{resolution[1]}.onnx"
    if kept.exists():
        return read_onnx(kept)
    model = canonical(export_network(build_random(name), resolution), None, name)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as temporary:
        onnx.save(model, temporary)
    return model


def check_export(network: nn.Module, model: onnx.ModelProto, where: str, tolerance: float = 1e-5) -> float:
    """The largest difference of ONNX and torch on one random image, relative to the largest value of the result."""
    import torch

    image = np.random.default_rng(0).random(input_shape(model), dtype=np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(image)).numpy()
    difference = relative_difference(OnnxSession(model).run(image), expected)
    if not difference <= tolerance:
        raise GraphoptError(f"{where}: the export differs from torch by {difference:.2e} (allowed {tolerance:g})")
    return difference


def parse_size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` -> (height, width)."""
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not found or min(int(found[1]), int(found[2])) < SMALLEST:
        raise GraphoptError(f"size '{text}': expected WIDTHxHEIGHT, each {SMALLEST} or more, for example 720x480")
    return int(found[2]), int(found[1])
