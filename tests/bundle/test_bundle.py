"""Bundles: written, moved, opened, changed behind their backs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from manifests import MANIFEST

from graphopt.backends.base import Artefact
from graphopt.backends.targets import load_target
from graphopt.bundle.bundle import Bundle, empty_folder, write_bundle
from graphopt.bundle.manifest import Figure
from graphopt.errors import GraphoptError

LATENCY = Figure(
    what="latency", value=2.0, unit="ms", provenance="estimated", device="a phone", runtime="tvm 0.27", size=(32, 32),
    date="2026-01-01", command="graphopt cost model.onnx --target mine",
)  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Bundle:
    folder = empty_folder(tmp_path / "deploy" / "mine")
    for name, content in (("mine.so", b"code"), ("mine.safetensors", b"weights")):
        (folder / name).write_bytes(content)
    artefact = Artefact((folder / "mine.so", folder / "mine.safetensors"), {**MANIFEST, "kind": "opencl", "files": []})
    return write_bundle(folder, load_target("sm8650-adreno750"), artefact, {"figures": [LATENCY]})


def test_a_bundle_is_moved_as_a_folder(written: Bundle, tmp_path: Path) -> None:
    shutil.move(written.folder, tmp_path / "elsewhere")
    found = Bundle.open(tmp_path / "elsewhere")
    assert found.manifest == written.manifest
    assert found.target == load_target("sm8650-adreno750")
    assert found.artefact.files == (tmp_path / "elsewhere" / "mine.so", tmp_path / "elsewhere" / "mine.safetensors")
    assert [file.bytes for file in found.manifest.files] == [4, 7]


def test_a_changed_file_is_named(written: Bundle) -> None:
    (written.folder / "mine.so").write_bytes(b"c0de")
    with pytest.raises(GraphoptError, match=r"mine\.so is not the file that manifest\.json names: its hash differs"):
        Bundle.open(written.folder)


def test_a_missing_file_is_named(written: Bundle) -> None:
    (written.folder / "mine.safetensors").unlink()
    with pytest.raises(GraphoptError, match=r"mine\.safetensors is missing, which manifest\.json names; copy"):
        Bundle.open(written.folder)


def test_what_an_earlier_bundle_left_goes(written: Bundle) -> None:
    assert list(empty_folder(written.folder).iterdir()) == []


def test_a_later_figure_takes_the_place_of_an_earlier_one(written: Bundle) -> None:
    slower, measured = (
        LATENCY.model_copy(update=update) for update in ({"value": 3.0}, {"value": 4.0, "provenance": "measured"})
    )
    written.with_figures([slower]).with_figures([measured])
    assert Bundle.open(written.folder).manifest.figures == [slower, measured]


def test_a_backend_that_leaves_something_out(tmp_path: Path) -> None:
    (tmp_path / "mine.so").write_bytes(b"code")
    partly = {key: value for key, value in MANIFEST.items() if key != "runtime"}
    with pytest.raises(GraphoptError, match=r"target sm8650-adreno750: manifest .*: runtime: Field required; see man"):
        write_bundle(tmp_path, load_target("sm8650-adreno750"), Artefact((tmp_path / "mine.so",), partly), {})
