"""onnxruntime on this machine: what is written runs, is priced by the clock, and its memory is what the plan says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from graphs import onnx_model
from PIL import Image
from small_models import two_images, two_inputs, two_outputs

from graphopt.backends.onnxruntime import backend as module
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.bundle.bundle import Bundle
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.run.pipeline import open_pipeline

HOST = load_target("host-onnxruntime")
CONV = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>"
WEIGHTS = {"u": (16, 3, 3, 3), "w": (16, 16, 3, 3), "v": (3, 16, 3, 3)}


def network(middle: int, side: int = 64) -> onnx.ModelProto:
    """3 channels to 16, `middle` convolutions of 16 channels, and back."""
    inner = " ".join(f"t{i + 1} = {CONV}(t{i}, w)" for i in range(middle))
    return onnx_model(
        f"""(float[1,3,{side},{side}] x) => (float[1,3,{side},{side}] y) {{
            t0 = {CONV}(x, u) {inner} y = {CONV}(t{middle}, v) }}""",
        WEIGHTS,
    )


def test_what_is_written_is_what_runs(tmp_path: Path) -> None:
    host = open_backend(HOST, CostCache(tmp_path / "prices"))
    artefact = host.build(two_inputs(), tmp_path)
    assert [path.name for path in artefact.files] == ["host-onnxruntime.onnx"]
    assert artefact.manifest["format"] == "onnx"
    assert artefact.manifest["runtime"]["name"] == "onnxruntime"
    assert [value["shape"] for value in artefact.manifest["inputs"]] == [[1, 8, 24, 32], [1, 8, 24, 32]]
    for made, expected in zip(host.run(artefact, two_images()), two_outputs(two_inputs()), strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-5)


def test_a_price_is_measured_once(tmp_path: Path) -> None:
    cache = CostCache(tmp_path)
    price = open_backend(HOST, cache).price(network(2))
    assert price.provenance == "measured"
    assert 0 < price.low_ms <= price.latency_ms <= price.high_ms
    assert price.kernels == ()
    assert open_backend(HOST, cache).price(network(2)) == price
    assert cache.hits == 1


def test_what_decides_a_price_is_in_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CostCache(tmp_path)
    key = open_backend(HOST, cache).key()
    assert open_backend(HOST.model_copy(update={"threads": 2}), cache).key() != key
    assert open_backend(HOST.model_copy(update={"title": "Another"}), cache).key() == key
    monkeypatch.setattr(module.metadata, "version", lambda package: "1.0.0")
    assert open_backend(HOST, cache).key() != key
    monkeypatch.undo()
    monkeypatch.setattr(module.OnnxRuntimeBackend, "processor", lambda self: "Another processor")
    assert open_backend(HOST, cache).key() != key


def test_twice_the_work_takes_twice_as_long(tmp_path: Path) -> None:
    """Both in one process, turn by turn: 24 and 12 convolutions of one shape, and two smaller ones in both."""
    ratio = open_backend(HOST, CostCache(tmp_path)).compare(network(24), network(12))
    assert ratio.value == pytest.approx(1.9, abs=0.15)
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.provenance == "measured"


def test_memory_is_measured_beside_the_plan(tmp_path: Path) -> None:
    """Two tensors of 16 channels at 512 x 512, 16 MiB each, an image and a result of 3 MiB, and few weights."""
    host = open_backend(HOST, CostCache(tmp_path))
    model = network(3, side=512)
    measured = host.measured_memory(model)
    assert measured is not None
    planned = host.price(model).peak_memory_bytes
    assert planned == pytest.approx((2 * 16 + 3) * 2**20, rel=0.01)
    assert planned == pytest.approx(measured, rel=0.15)


def test_half_precision_keeps_the_images_of_float32(tmp_path: Path) -> None:
    phone = open_backend(load_target("android-onnxruntime").with_precision("fp16"), CostCache(tmp_path))
    artefact = phone.build(network(2), tmp_path)
    written = onnx.load(artefact.files[0])
    weights = {onnx.TensorProto.FLOAT16}
    assert {tensor.data_type for tensor in written.graph.initializer} == weights
    assert {value["dtype"] for key in ("inputs", "outputs") for value in artefact.manifest[key]} == {"float32"}


def test_a_phone_is_not_this_machine(tmp_path: Path) -> None:
    phone = open_backend(load_target("android-onnxruntime"), CostCache(tmp_path))
    assert phone.unpriced == "A phone's CPU (onnxruntime) is another device"
    assert phone.build(network(2), tmp_path).files
    with pytest.raises(GraphoptError, match="android-onnxruntime has no price on this machine"):
        phone.price(network(2))


def test_a_graph_that_onnxruntime_does_not_accept(tmp_path: Path) -> None:
    host = open_backend(HOST, CostCache(tmp_path))
    with pytest.raises(GraphoptError, match="target host-onnxruntime: onnxruntime does not accept the network: "):
        host.price(onnx_model("(float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Unheard(x) }", {}))


def test_no_tracker_leads_to_this_machine(tmp_path: Path) -> None:
    host = open_backend(HOST, CostCache(tmp_path))
    assert [one.what for one in host.check()] == ["onnxruntime"]
    with pytest.raises(
        GraphoptError, match="host-onnxruntime is reached over no tracker; leave out --tracker and --key"
    ):
        host.check(("127.0.0.1", 9), "phone")


def test_a_run_aims_at_this_machine_and_builds_for_a_phone(tmp_path: Path) -> None:
    """The phone has weight 0: a bundle, and no price anywhere."""
    text = """(float[1,3,32,32] x) => (float[1,3,32,32] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) p = ReduceMean<keepdims=1>(a, axes)
        k = Conv<kernel_shape=[1,1]>(p, c) m = Mul(a, k) r = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, v)
        y = Add(r, x) }"""
    weights = {"w": (8, 3, 3, 3), "axes": np.array([2, 3]), "c": (8, 8, 1, 1), "v": (3, 8, 3, 3)}
    onnx.save(onnx_model(text, weights), tmp_path / "small.onnx")
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(5).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "0.png")
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "calibration_images": 1},
        "passes": ["static-attention"],
        "targets": {"android-onnxruntime": 0, "host-onnxruntime": 1},
        "search": {"latency": 1.0, "steps": 2, "patches": [1, 32], "wholes": 2},
        "finetune": {"steps": 2, "patches": [1, 32], "record_every": 2},
    }
    path, folder = tmp_path / "small.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(config))
    assert open_pipeline(path, folder, tmp_path / "cache", lambda stage, share, words: None).run()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics["targets"]) == ["host-onnxruntime"]
    assert metrics["targets"]["host-onnxruntime"]["after"]["provenance"] == "measured"
    deployed = json.loads((folder / "deploy" / "deploy.json").read_text())
    assert list(deployed["costs"]) == ["host-onnxruntime"]
    ran = deployed["ran"]["host-onnxruntime"]
    assert ran["file"] == "deploy/host-onnxruntime/host-onnxruntime.onnx"
    assert ran["difference"] < 1e-6
    figures = Bundle.open(folder / "deploy" / "android-onnxruntime").manifest.figures
    assert {figure.what for figure in figures} == {"psnr", "ssim", "psnr of the original", "ssim of the original"}
    wholes = json.loads((folder / "search" / "wholes.json").read_text())
    assert all(row["costs"]["host-onnxruntime"]["provenance"] == "measured" for row in wholes)
    page = (folder / "report.html").read_text()
    assert "A phone&#39;s CPU (onnxruntime): built, without a price on the machine of this run" in page
