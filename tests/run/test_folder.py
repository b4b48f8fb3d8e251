"""The run folder: one object knows every path in it, and nobody else spells one."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import nafnet

from graphopt.cost.ratio import Ratio
from graphopt.cost.record import Cost
from graphopt.ir.canonical import to_model
from graphopt.run.folder import Deployed, Edits, File, Forms, Ran, RunFolder, Source

ROOT = Path(__file__).parents[2]
NAMES = (
    "canonical.onnx", "source.json", "prepared.json", "table.json", "original.json", "edits.json", "deploy.json",
    "gains.json",
    "forms.json", "summary.txt", "metrics.json", "model.fp16.onnx", "model.safetensors", "report.html",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("source", Source(1e-7, 400)),
        ("gains", {"t": Ratio(1.8, 1.6, 2.1, "estimated")}),
        ("forms", Forms({"affine-norm": 3}, 1e-13)),
        ("edits", Edits({"fold-affine": 4}, 2e-7, 40, 30)),
        (
            "deployed",
            Deployed(
                {"phone": Cost(1.5, 1.0, 2.0, "estimated", 9, 3, 400)},
                ["model.onnx"],
                {"a.so": 1e-6},
                {"npu": "no Pow"},
                {"phone": Ran("a.cl", "this machine", 1e-4, ""), "moon": Ran("m.so", "", None, "too far")},
            ),
        ),
        ("prepared", {"slices-to-split": 2}),
        ("front", [{"goal": 0.5, "psnr": 31.25}]),
        ("selection", {"selection": {"a/norm1": "keep"}, "missed": []}),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, name: str, content: object) -> None:
    file: File[object] = getattr(RunFolder(tmp_path), name)
    file.path.parent.mkdir(exist_ok=True)
    file.write(content)
    again: File[object] = getattr(RunFolder(tmp_path), name)
    assert again.read() == content
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]


def test_a_graph_and_a_model_are_the_same_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.stage("source").mkdir()
    folder.original.write(to_model(nafnet()))
    found, expected = to_model(folder.original_graph.read()), folder.original.read()
    assert [node.name for node in found.graph.node] == [node.name for node in expected.graph.node]
    for one, other in zip(found.graph.initializer, expected.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))


def test_nobody_else_spells_a_file_of_the_run_folder() -> None:
    found = []
    for path in sorted((ROOT / "graphopt").rglob("*.py")):
        if path.name == "folder.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in NAMES:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value}")
    assert found == []


def test_bundles_are_the_folders_of_their_stage(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for target in ("phone", "host"):
        folder.bundle(target).mkdir(parents=True)
    folder.gains.write({})
    assert folder.bundles() == [tmp_path / "deploy" / "host", tmp_path / "deploy" / "phone"]
