"""MNN on this machine: real files, what they compute, and what they cost."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Call, difference, nafnet, onnx_model, random_image, run
from mnn import mnn_backend, needs_mnn
from odd_names import oddly_named
from small_models import two_images, two_inputs, two_outputs

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model

UNKNOWN = onnx_model('(float[1,4,8,8] x) => (float[1,4,8,8] y) { ["head/relu"] a = Relu(x) ["head/mish"] y = Mish(a) }')


@needs_mnn
def test_a_network_is_built_and_run(tmp_path: Path) -> None:
    backend, model = mnn_backend(tmp_path), to_model(nafnet(size=36, width=3))
    artefact = backend.build(model, tmp_path)
    assert [path.name for path in artefact.files] == ["host-mnn.mnn"]
    assert artefact.refusal == ""
    assert artefact.manifest["runtime"] == {"name": "MNN", "version": metadata.version("MNN")}
    assert (artefact.manifest["format"], artefact.manifest["delegate"]) == ("mnn", "cpu")
    image = random_image(1, 3, 36, 36)
    assert difference(backend.run(artefact, [image])[0], run(model, image)) < 1e-5


@needs_mnn
def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    backend = mnn_backend(tmp_path)
    found = backend.run(backend.build(two_inputs(), tmp_path), two_images())
    assert [difference(a, b) < 1e-3 for a, b in zip(found, two_outputs(two_inputs()), strict=True)] == [True, True]


@needs_mnn
def test_odd_names(tmp_path: Path) -> None:
    backend, image = mnn_backend(tmp_path), random_image(1, 4, 8, 8)
    assert difference(backend.run(backend.build(oddly_named(), tmp_path), [image])[0], run(oddly_named(), image)) < 1e-5


@needs_mnn
def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    model = to_model(nafnet(width=16))
    whole, half = (mnn_backend(tmp_path, name).build(model, tmp_path).files[0] for name in ("host-mnn", "android-mnn"))
    assert 0.5 < half.stat().st_size / whole.stat().st_size < 0.7
    phone, image = mnn_backend(tmp_path, "android-mnn"), random_image(1, 3, 16, 16)
    off = difference(phone.run(phone.build(model, tmp_path), [image])[0], run(model, image))
    assert 1e-6 < off < 5e-3


@needs_mnn
def test_prices_are_measured_and_kept(tmp_path: Path) -> None:
    backend, model = mnn_backend(tmp_path), to_model(nafnet())
    price = backend.price(model)
    assert price.provenance == "measured"
    assert 0 < price.low_ms <= price.latency_ms <= price.high_ms
    assert backend.price(model) == price
    assert mnn_backend(tmp_path, threads=2).key() != backend.key()


@needs_mnn
def test_a_network_that_mnn_does_not_carry(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "MNN 3.6.1 refuses it (These Op Not Support: ONNX::Mish), from Mish (head/mish) on"
    artefact = mnn_backend(tmp_path).build(UNKNOWN, tmp_path)
    assert (artefact.files, artefact.refusal) == ((), reason)
    assert not (tmp_path / "host-mnn.mnn").exists()
    monkeypatch.setenv("GRAPHOPT_CACHE", str(tmp_path / "cache"))
    onnx.save(UNKNOWN, tmp_path / "unknown.onnx")
    status, _, said = call("cost", tmp_path / "unknown.onnx", "--target", "host-mnn")
    assert (status, said.splitlines()[-1]) == (1, f"error: target host-mnn: {reason}")  # a busy machine is said before


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before any work: the key of a price is asked for first."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("graphopt.backends.mnn.convert.metadata.version", missing)
    backend = mnn_backend(tmp_path)
    message = r"target host-mnn needs MNN, which is not installed: pip install 'graphopt\[mnn\]'$"
    for act in (lambda: backend.key(), lambda: backend.build(UNKNOWN, tmp_path), lambda: backend.price(UNKNOWN)):
        with pytest.raises(GraphoptError, match=message):
            act()
    (finding,) = backend.check()
    assert (finding.state, finding.do) == ("missing", "pip install 'MNN==3.6.*'")


@needs_mnn
def test_a_phone_is_built_for_and_not_priced(tmp_path: Path) -> None:
    phone = mnn_backend(tmp_path, "android-mnn")
    assert phone.runs_here  # its file, not its processor
    assert phone.build(to_model(nafnet()), tmp_path).files == (tmp_path / "android-mnn.mnn",)
    with pytest.raises(GraphoptError, match="target android-mnn has no price on this machine: .* is another device"):
        phone.price(to_model(nafnet()))


@needs_mnn
def test_a_file_of_something_else(tmp_path: Path) -> None:
    backend = mnn_backend(tmp_path)
    artefact = backend.build(oddly_named(), tmp_path)
    artefact.files[0].write_bytes(b"junk" * 100)
    with pytest.raises(GraphoptError, match=r"host-mnn\.mnn: MNN cannot read it; build it again"):
        backend.load(artefact)


@needs_mnn
def test_an_image_of_another_number_of_channels(tmp_path: Path) -> None:
    backend = mnn_backend(tmp_path)
    with pytest.raises(GraphoptError, match=r"host-mnn\.mnn: MNN cannot run it on images of 1x5x8x8"):
        backend.run(backend.build(oddly_named(), tmp_path), [np.zeros((1, 5, 8, 8), np.float32)])


def test_a_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="target host-mnn is reached over no tracker"):
        mnn_backend(tmp_path).check(("127.0.0.1", 9190), "phone")
