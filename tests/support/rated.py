"""The backend that docs/targets.md shows, installed as pip would: it runs ONNX files of any size with onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from graphs import onnx_model

from graphopt.backends.base import Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.bundle.bundle import Bundle, empty_folder, write_bundle
from graphopt.bundle.manifest import Noise
from graphopt.cost.cache import CostCache

PAGE = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
PLUG_IN, TARGET_FILE = re.findall(r"^```(?:python|yaml) \S+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ENTRIES = "[graphopt.backends]\nrated = my_runtime:RatedBackend\n"


def install_rated(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: str = ENTRIES) -> Path:
    """A distribution as pip leaves one, and the file of a target of its kind; returns where its modules lie."""
    place = folder / "site-packages"
    metadata = place / "my_runtime-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "my_runtime.py").write_text(PLUG_IN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-runtime\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entries)
    (folder / "mine.yaml").write_text(TARGET_FILE)
    monkeypatch.syspath_prepend(place)
    return place


def rated_bundle(folder: Path, model: onnx.ModelProto, tile: tuple[int, int], overlap: int, stride: int) -> Bundle:
    """A bundle of `model` in `folder / "bundle"`, for the target that `install_rated` left there."""
    target = load_target(str(folder / "mine.yaml"))
    backend: Backend = open_backend(target, CostCache(folder / "costs"))
    place = empty_folder(folder / "bundle")
    about = {
        "stride": stride, "tile": tile, "overlap": overlap, "noise": Noise(kind="gaussian", low=25, high=25),
        "licence": None, "graph": "a hash",
    }  # fmt: skip
    return write_bundle(place, target, backend.build(model, place), about)


def local_network(height: int, width: int) -> onnx.ModelProto:
    """Halves and doubles the size, and looks no further than six pixels: no pooling over the image."""
    weights = {"w": (8, 3, 3, 3), "d": (8, 8, 2, 2), "k": (8, 1, 3, 3), "u": (12, 8, 1, 1)}
    size = f"float[1,3,{height},{width}]"
    return onnx_model(
        f"""({size} x) => ({size} y) {{
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) r = Relu(a)
        b = Conv<kernel_shape=[2,2], strides=[2,2]>(r, d)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(b, k)
        e = Conv<kernel_shape=[1,1]>(c, u) s = DepthToSpace<blocksize=2>(e) y = Add(s, x) }}""",
        weights,
    )
