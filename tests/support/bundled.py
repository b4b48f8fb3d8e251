"""Small bundles to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from manifests import MANIFEST
from onnx import TensorProto, helper

from graphopt.backends.base import Artefact
from graphopt.backends.targets import load_target
from graphopt.bundle.bundle import Bundle, empty_folder, write_bundle
from graphopt.bundle.manifest import Figure

TARGET = "sm8650-adreno750"
ESTIMATE = Figure(
    what="latency", value=2.0, low=1.5, high=2.5, unit="ms", provenance="estimated", device="a board",
    runtime="onnxruntime 1.22", size=(32, 32), date="2026-01-01", command="graphopt cost model.onnx --target mine",
)  # fmt: skip


def bundle_of(folder: Path, files: dict[str, bytes], **manifest: Any) -> Bundle:
    """A bundle whose files are what is given, the first one to load first."""
    empty_folder(folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    about = {key: value for key, value in MANIFEST.items() if key not in ("schema", "graphopt", "files", "target")}
    about["kind"] = load_target(TARGET).kind
    artefact = Artefact(tuple(folder / name for name in files), about)
    return write_bundle(
        folder, load_target(TARGET), artefact,
        {"target": TARGET, "graph": "a" * 64, "figures": [ESTIMATE], **manifest},
    )  # fmt: skip


def one_operator(shape: tuple[int | str, ...] = (1, 3, 32, 32), operator: str = "Relu") -> bytes:
    """An ONNX file with one operator, `image` -> `restored`."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["image"], ["restored"])],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("restored", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(content)
    return content
