"""What is said of an artefact for a phone's GPU is what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_models import two_inputs

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_manifest_names_what_the_library_takes(tmp_path: Path, dtype: str) -> None:
    from graphopt.kernels.lowering import to_relax

    target = load_target("sm8650-adreno750").with_precision("fp16" if dtype == "float16" else "fp32")
    artefact = open_backend(target, CostCache(tmp_path / "cache")).build(two_inputs(), tmp_path)
    assert [path.suffix for path in artefact.files] in (
        [kind, ".cl", ".json", ".safetensors"] for kind in (".so", ".tar")
    )
    assert all(path.stat().st_size > 1000 for path in artefact.files)
    given = artefact.manifest["inputs"]
    assert [value["name"] for value in given] == ["x", "z"]
    taken = to_relax(two_inputs(), target)["main"].params[:2]
    assert [(value["shape"], value["dtype"]) for value in given] == [
        ([int(extent) for extent in parameter.ty.shape], str(parameter.ty.dtype)) for parameter in taken
    ]
    assert [value["dtype"] for value in artefact.manifest["outputs"]] == [dtype, dtype]


def test_objects_that_are_to_be_linked_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.backends.opencl.build.aarch64_linker", lambda: None)
    backend = open_backend(load_target("sm8650-adreno750"), CostCache(tmp_path / "cache"))
    artefact = backend.build(two_inputs(), tmp_path)
    assert artefact.files[0].name == "sm8650-adreno750.aarch64.tar"
    assert artefact.manifest["loaded_by"].endswith("once its objects are linked for aarch64 into one shared library")
