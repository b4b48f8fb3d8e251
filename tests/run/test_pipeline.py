"""The quickstart, shortened: a small NAFNet through every stage, twice, killed, changed, and fed bad input."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from graphs import nafnet
from safetensors.numpy import load_file
from small_pipeline import TARGETS, config_of, fill, silent, write_config

from graphopt.backends.opencl.platform import why_no_platform
from graphopt.bundle.bundle import Bundle
from graphopt.cost.measured import Measured, Reading, keep_measured
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_model
from graphopt.ir.session import OnnxSession
from graphopt.models.checkpoints import load_checkpoint
from graphopt.run.pipeline import open_pipeline
from graphopt.run.stamps import Stamps

STAGES = ["source", "space", "cost", "search", "rewrite", "finetune", "fold", "deploy", "report"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small NAFNet of random weights and two photographs."""
    folder = tmp_path_factory.mktemp("pipeline")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def finished(home: Path) -> Path:
    """The run folder of one whole run."""
    pipeline = open_pipeline(write_config(home), home / "run", home / "cache", silent)
    assert pipeline.run()
    assert pipeline.stamps.ran == STAGES
    return home / "run"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_result_is_there_and_agrees(finished: Path) -> None:
    metrics = read(finished / "metrics.json")
    assert set(metrics) == {"targets", "artefacts", "quality", "parameters", "macs", "choices", "seconds"}
    for target in TARGETS:
        before, after = (metrics["targets"][target][when] for when in ("before", "after"))
        assert set(before) == {"latency_ms", "low_ms", "high_ms", "provenance", "peak_memory_bytes"}
        assert after["provenance"] == "estimated"
        assert after["latency_ms"] <= 0.7 * before["latency_ms"] * 1.05
        assert before["low_ms"] < before["latency_ms"] < before["high_ms"]
        ran = metrics["artefacts"][target]
        assert ran["file"] == f"deploy/{target}/{target}.cl"
        assert (ran["difference"] is None) == (why_no_platform() is not None)
        assert ran["difference"] is None or 0 < ran["difference"] < 2e-3
        gain = metrics["targets"][target]["gain"]
        assert gain["value"] == before["latency_ms"] / after["latency_ms"]
        assert gain["low"] <= gain["value"] <= gain["high"] < before["high_ms"] / after["low_ms"]
        assert gain == read(finished / "deploy" / "gains.json")[target]
        manifest = Bundle.open(finished / "deploy" / target).manifest
        library, source, *_ = manifest.files
        assert ".aarch64" in library.name
        assert source.name == f"{target}.cl"
        assert manifest.size == manifest.tile == (32, 32)
        assert (manifest.noise.kind, manifest.noise.low, manifest.noise.high) == ("gaussian", 25, 25)
        latency = next(figure for figure in manifest.figures if figure.what == "latency")
        assert latency.value == after["latency_ms"]
    assert set(metrics["seconds"]) >= set(STAGES[:-1])
    assert all(np.isfinite(metrics["quality"][when][key]) for when in ("before", "after") for key in ("psnr", "ssim"))
    selection = read(finished / "search" / "selection.json")
    assert metrics["choices"] == selection["selection"]
    page = (finished / "report.html").read_text()
    assert "encoders.0.0/norm1" in page
    assert "diagonal-attention" in page
    assert [row["goal"] for row in read(finished / "search" / "front.json")] == [0.7, 0.85]
    assert page.count('aria-label="PSNR over latency') == len(TARGETS)


def test_the_custom_pass_is_a_candidate_like_the_others(finished: Path) -> None:
    table = read(finished / "cost" / "table.json")
    prices = table["deltas"]["encoders.0.0/attention"]
    assert set(prices) == {"keep", "static-attention", "diagonal-attention"}
    for target in TARGETS:
        static, diagonal = (prices[name][target]["latency_ms"] for name in ("static-attention", "diagonal-attention"))
        assert static < diagonal < 0  # a constant is cheaper than a scale that is computed, and both than a matrix
        for norm in ("norm1", "norm2"):
            assert table["deltas"][f"encoders.0.0/{norm}"]["affine-norm"][target]["latency_ms"] < 0


def test_sum_of_parts_is_near_the_compiled_whole(finished: Path) -> None:
    parts = read(finished / "search" / "selection.json")["sum_of_parts_ms"]
    for target in TARGETS:
        whole = read(finished / "deploy" / "deploy.json")["costs"][target]["latency_ms"]
        assert parts[target] == pytest.approx(whole, rel=0.05)


def test_the_deployed_files_compute_the_fine_tuned_network(finished: Path) -> None:
    image = np.random.default_rng(7).random((1, 3, 32, 32), dtype=np.float32)
    tuned = OnnxSession(onnx.load(finished / "finetune" / "model.onnx")).run(image)
    full = OnnxSession(onnx.load(finished / "model.onnx")).run(image)
    onnx.checker.check_model(onnx.load(finished / "model.fp16.onnx"), full_check=True)
    half = OnnxSession(onnx.load(finished / "model.fp16.onnx")).run(image)
    np.testing.assert_allclose(full, tuned, rtol=0, atol=2e-6)  # affines were folded in between
    assert 0 < np.abs(half - full).max() < 0.02 * np.abs(full).max()
    types = {tensor.data_type for tensor in onnx.load(finished / "model.fp16.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types


def test_the_weights_alone_are_those_of_the_onnx_file(finished: Path) -> None:
    weights = load_file(finished / "model.safetensors")
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(finished / "model.onnx").graph.initializer}
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name], value) for name, value in expected.items())
    with pytest.raises(GraphoptError, match=r"model\.safetensors holds the weights of model\.onnx and no network"):
        load_checkpoint(finished / "model.safetensors")


def test_a_second_run_does_nothing(home: Path, finished: Path) -> None:
    stamp = (finished / "model.onnx").stat().st_mtime_ns
    pipeline = open_pipeline(write_config(home), finished, home / "cache", silent)
    assert not pipeline.run()
    assert pipeline.stamps.ran == []
    assert (finished / "model.onnx").stat().st_mtime_ns == stamp


def test_a_changed_option_reruns_only_what_depends_on_it(home: Path, finished: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    path = write_config(home, finetune={"steps": 4, "patches": [2, 32], "record_every": 2})
    pipeline = open_pipeline(path, copied, home / "cache", silent)
    pipeline.run()
    assert pipeline.stamps.ran == ["finetune", "fold", "deploy", "report"]


def test_what_a_device_measures_later_renews_the_report_alone(home: Path, finished: Path, tmp_path: Path) -> None:
    copied, target = tmp_path / "run", TARGETS[0]
    shutil.copytree(finished, copied)
    graph = Bundle.open(copied / "deploy" / target).manifest.graph
    reading = Reading(0.125, 0.12, 0.13, "median", 30, "drawer-phone", "tvm_rpc")
    keep_measured(tmp_path / "cache", Measured(target, graph, "2026-11-27T10:00:00+00:00", "graphopt measure", reading))
    pipeline = open_pipeline(write_config(home), copied, tmp_path / "cache", silent)
    pipeline.run()
    assert pipeline.stamps.ran == ["report"]
    (row,) = read(copied / "metrics.json")["targets"][target]["measured"]
    assert (row["device"], row["before"], row["after"]["latency_ms"]) == ("drawer-phone", {}, 0.125)
    assert "drawer-phone" in (copied / "report.html").read_text()
    assert "drawer-phone" in (copied / "report" / "summary.txt").read_text()


def test_training_forms_leave_weights_and_no_nodes(finished: Path) -> None:
    forms = read(finished / "finetune" / "forms.json")
    before, after = (onnx.load(finished / stage / "model.onnx") for stage in ("rewrite", "finetune"))
    affines = sum("@affine-norm/" in node.name and node.op_type == "Mul" for node in before.graph.node)
    assert forms["sites"]["affine-norm"] == affines > 0
    assert forms["sites"]["reparameterised-conv"] > 3
    assert forms["difference"] < 1e-12
    assert [(node.op_type, node.input, node.output) for node in after.graph.node] == [
        (node.op_type, node.input, node.output) for node in before.graph.node
    ]
    weights = [{t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (before, after)]
    assert {name: value.shape for name, value in weights[0].items()} == {n: v.shape for n, v in weights[1].items()}
    changed = {name for name in weights[0] if not np.array_equal(weights[0][name], weights[1][name])}
    assert {"intro.weight", "ending.weight"} <= changed  # trained as sums of kernels
    assert any(name.endswith("@affine-norm/scale") for name in changed)
    assert "in their training form while fine-tuned" in (finished / "report.html").read_text()


def stopped_after_tuning(stage: str, share: float, words: str) -> None:
    if stage == "fold":
        raise KeyboardInterrupt


def test_a_pass_that_acts_in_training_alone_reruns_training(home: Path, finished: Path, tmp_path: Path) -> None:
    copied, kept = tmp_path / "run", [spec for spec in config_of()["passes"] if spec != "reparameterised-conv"]
    shutil.copytree(finished, copied)
    pipeline = open_pipeline(write_config(home, passes=kept), copied, home / "cache", stopped_after_tuning)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert pipeline.stamps.ran == ["finetune"]
    assert set(read(copied / "finetune" / "forms.json")["sites"]) == {"affine-norm"}


def test_a_fine_tuning_that_was_killed_goes_on_with_its_training_forms(
    home: Path, finished: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)

    def killed(stage: str, share: float, words: str) -> None:
        if stage == "finetune" and "step 6/" in words:
            raise KeyboardInterrupt

    path = write_config(home, finetune={"steps": 8, "patches": [2, 32], "record_every": 2})
    with pytest.raises(KeyboardInterrupt):
        open_pipeline(path, copied, home / "cache", killed).run()
    saved = torch.load(copied / "finetune" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 4
    assert {float(v) for name, v in saved["network"].items() if name.endswith("/fade_fixed")} == {0.0}  # of 0.5 * 8
    words: list[str] = []

    def heard(stage: str, share: float, said: str) -> None:
        words.append(f"{stage}: {said}")
        stopped_after_tuning(stage, share, said)

    pipeline = open_pipeline(path, copied, home / "cache", heard)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert "finetune: goes on at step 4" in words
    assert pipeline.stamps.ran == ["finetune"]
    assert read(copied / "finetune" / "forms.json")["difference"] < 1e-12


def test_a_killed_run_goes_on_where_it_stopped(home: Path, finished: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    settings = {"latency": 0.7, "steps": 18, "patches": [2, 32], "record_every": 1}

    def killed(stage: str, share: float, words: str) -> None:
        if stage == "search" and "step 6/" in words:
            raise KeyboardInterrupt

    path = write_config(home, search=settings)
    with pytest.raises(KeyboardInterrupt):
        open_pipeline(path, copied, home / "cache", killed).run()
    words: list[str] = []
    pipeline = open_pipeline(path, copied, home / "cache", lambda stage, share, said: words.append(f"{stage}: {said}"))
    pipeline.run()
    assert "search: goes on at step 6" in words
    assert pipeline.stamps.ran == ["search", "rewrite", "finetune", "fold", "deploy", "report"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serach": {}}, r"unknown key 'serach'; did you mean 'search'\?"),
        ({"search": {"latncy": 0.5}}, r"unknown key 'search\.latncy'; did you mean 'latency'\?"),
        ({"model": "missing.onnx"}, r"model .*missing\.onnx does not exist"),
        ({"model": "nafnet-width8-sigma52"}, r"unknown model .*did you mean 'nafnet-width8-sigma25'"),
        ({"passes": ["afine-norm"]}, r"unknown pass 'afine-norm'; did you mean 'affine-norm'\?"),
        ({"passes": ["fold-affine"]}, r"'passes' names no pass that offers candidates"),
        ({"passes": ["affine-norm", "affine-norm"]}, r"pass 'affine-norm' is listed twice"),
        ({"targets": {"sm8560-adreno750": 1}}, r"'sm8560-adreno750' is not known; did you mean 'sm8650-adreno750'"),
        (
            {"targets": {"android-onnxruntime": 1}},
            r"target android-onnxruntime has no price on this machine: A phone's CPU .* give it weight 0",
        ),
        ({"targets": {"host-tvm": 0}}, r"at least one target needs a weight above 0"),
        ({"data": {"train": ["empty"], "test": ["photos"]}}, r"image folder .*empty holds no images"),
        ({"data": {"train": ["nowhere"], "test": ["photos"]}}, r"image folder .*nowhere does not exist"),
    ],
)
def test_mistakes_are_said_before_any_work(home: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (home / "empty").mkdir(exist_ok=True)
    path = home / "wrong.yaml"
    path.write_text(yaml.safe_dump(config_of(**changes)))
    with pytest.raises(GraphoptError, match=message):
        open_pipeline(path, tmp_path / "run", home / "cache", silent).run()
    assert not (tmp_path / "run").exists()


def test_a_run_folder_holds_one_run_at_a_time(home: Path, tmp_path: Path) -> None:
    pipeline = open_pipeline(write_config(home), tmp_path / "run", home / "cache", silent)
    with Stamps(tmp_path / "run").locked(), pytest.raises(GraphoptError, match="run is in use by another run"):
        pipeline.run()
    assert not (tmp_path / "run" / "source").exists()


def run_source(home: Path, tmp_path: Path, model: onnx.ModelProto, **changes: Any) -> None:
    onnx.save(model, home / "given.onnx")
    path = home / "given.yaml"
    path.write_text(yaml.safe_dump(config_of(model="given.onnx", **changes)))
    open_pipeline(path, tmp_path / "run", home / "cache", silent).run()


def test_what_a_file_says_of_itself_survives_the_whole_run(home: Path, tmp_path: Path) -> None:
    model = to_model(nafnet(size=32))
    model.doc_string, model.producer_name = "a denoiser", "somebody"
    model.metadata_props.add(key="licence", value="free")
    onnx.save(model, home / "said.onnx")
    changes = {"passes": ["bounded-gate", "affine-norm", "fold-affine"], "targets": {TARGETS[0]: 1}}
    path = write_config(home, model="said.onnx", **changes)
    open_pipeline(path, tmp_path / "run", home / "cache", silent).run()
    for name in ("model.onnx", "model.fp16.onnx"):
        found = onnx.load(tmp_path / "run" / name)
        assert [value.name for value in found.graph.input] == ["image"]
        assert [value.name for value in found.graph.output] == ["restored"]
        said = {entry.key: entry.value for entry in found.metadata_props}
        assert said.keys() == {"version", "licence", "stride", "range", "noise", "tile", "overlap"}
        assert (said["licence"], said["stride"], said["tile"]) == ("free", "2", "[32, 32]")
        assert (found.doc_string, found.producer_name) == ("a denoiser", "somebody")


def test_a_file_that_is_not_onnx(home: Path, tmp_path: Path) -> None:
    (home / "broken.onnx").write_text("no network")
    path = home / "broken.yaml"
    path.write_text(yaml.safe_dump(config_of(model="broken.onnx")))
    with pytest.raises(GraphoptError, match=r"broken\.onnx is not a valid ONNX file"):
        open_pipeline(path, tmp_path / "run", home / "cache", silent).run()


def test_dynamic_shapes_need_a_resolution(home: Path, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 3, H, W] x) => (float[1, 3, H, W] y) { y = Relu(x) }
    """)
    with pytest.raises(GraphoptError, match=r"dynamic shape \(1, 3, H, W\); give `resolution: \[height, width\]`"):
        run_source(home, tmp_path, model, resolution=None)


def test_a_run_takes_one_image(home: Path, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 3, 32, 32] x, float[1, 3, 32, 32] z) => (float[1, 3, 32, 32] y) { y = Mul(x, z) }
    """)
    with pytest.raises(GraphoptError, match=r"given\.onnx has 2 inputs; a run takes networks with one"):
        run_source(home, tmp_path, model)


def test_an_unsupported_op_is_named(home: Path, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 3, 32, 32] x) => (float[1, 3, 32, 32] y)
        <float[1, 1, 1, 1] w = {0.5}>
        {
            a = Mul(x, w)
            y = LRN<size = 3>(a)
        }
    """)
    with pytest.raises(GraphoptError, match=r"LRN.*opset 20"):
        run_source(home, tmp_path, model)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_qnn") is None, reason="no NPU compiler is installed")
def test_on_an_npu_the_search_aims_by_whole_networks(home: Path, tmp_path: Path) -> None:
    path = home / "npu.yaml"
    search = {"latency": 0.9, "steps": 5, "patches": [2, 32], "wholes": 4}
    passes = ["bounded-gate", "affine-norm", "static-attention", "skip-block", "fold-affine"]
    changes = {"targets": {"sm8650-hexagon": 1}, "search": search, "passes": passes}
    path.write_text(yaml.safe_dump(config_of(**changes)))
    assert open_pipeline(path, tmp_path / "run", home / "cache", silent).run()
    wholes = read(tmp_path / "run" / "search" / "wholes.json")
    assert len(wholes) >= 2
    found = read(tmp_path / "run" / "search" / "selection.json")
    assert found["missed"] == []
    price = next(row["costs"]["sm8650-hexagon"] for row in wholes if row["selection"] == found["selection"])
    after = read(tmp_path / "run" / "metrics.json")["targets"]["sm8650-hexagon"]["after"]
    assert after["latency_ms"] == pytest.approx(price["latency_ms"], rel=1e-6)
    assert price["latency_ms"] <= found["goals_ms"]["sm8650-hexagon"] * (1 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 4}, r"'trials' is for targets that are tuned .*; leave it out \(targets: exynos"),
        ({"search": {"wholes": 4}}, r"'search\.wholes' is for targets whose parts do not add up, .*; leave it out"),
    ],
)
def test_options_that_no_target_reads_are_refused(
    home: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = home / "unread.yaml"
    path.write_text(yaml.safe_dump(config_of(**changes)))
    with pytest.raises(GraphoptError, match=message):
        open_pipeline(path, tmp_path / "run", home / "cache", silent)


def test_a_run_never_writes_over_its_own_model(home: Path, tmp_path: Path) -> None:
    onnx.save(to_model(nafnet(size=32)), tmp_path / "model.onnx")
    path = home / "over.yaml"
    path.write_text(yaml.safe_dump(config_of(model=str(tmp_path / "model.onnx"))))
    with pytest.raises(GraphoptError, match=r"the run would write over its own model, .*model\.onnx; choose another"):
        open_pipeline(path, tmp_path, home / "cache", silent)
