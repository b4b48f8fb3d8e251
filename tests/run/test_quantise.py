"""A run in integers from end to end: what is made, deployed and said of it; killed, changed, and fed bad input."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from integer_run import fill, write_config
from rated import install_rated
from small_pipeline import silent

from graphopt.backends import host
from graphopt.backends.measuring import Limits
from graphopt.backends.registry import open_backend
from graphopt.bundle.bundle import Bundle
from graphopt.cost.cache import CostCache
from graphopt.cost.keys import graph_key
from graphopt.errors import GraphoptError
from graphopt.ir.quantised import is_quantised, steps_of
from graphopt.run.folder import RunFolder
from graphopt.run.pipeline import Pipeline, open_pipeline

TRAINS = {"steps": 2, "patches": [1, 32], "record_every": 2, "precision": "w8a8", "quantised_steps": 6}
CPU, NPU = "host-onnxruntime", "sm8650-hexagon"


@pytest.fixture(scope="module", autouse=True)
def soon(home: Path) -> Iterator[None]:
    """What is measured is not asserted here."""
    with pytest.MonkeyPatch.context() as patch:
        install_rated(home, patch)
        for name in ("_PRICE", "_RATIO", "_BESIDE", "_PART"):
            patch.setattr(host, name, Limits(least=2, seconds=0.02))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integers")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def finished(home: Path) -> RunFolder:
    pipeline = open_pipeline(write_config(home, finetune=TRAINS), home / "run", home / "cache", silent)
    assert pipeline.run()
    return pipeline.opened.folder


def again(home: Path, finished: RunFolder, place: Path, **changes: Any) -> Pipeline:
    """The same run in a folder of its own, with changes."""
    shutil.copytree(finished.root, place)
    path = write_config(home, **{"finetune": TRAINS, **changes})
    return open_pipeline(path, place, home / "cache", silent)


def test_what_is_found_is_written_down(finished: RunFolder) -> None:
    (form, found), *others = finished.integers.read().items()
    assert (form, others, found.targets, found.rules, found.precision) == ("cpu-w8a8", [], [CPU], "cpu", "w8a8")
    assert found.method == max(found.scores, key=lambda name: found.scores[name])
    assert found.psnr["calibrated"] == found.scores[found.method]
    assert found.psnr["quantised"] == max(found.psnr["calibrated"], found.psnr["trained"])
    assert found.psnr["quantised"] == pytest.approx(found.psnr["float"], abs=0.2)
    assert found.patches == {"seen": 16, "held_out": 4}
    assert (found.steps, [record["step"] for record in found.history]) == (6, [2, 4, 6])
    assert (found.wide, found.wide_ms, found.warning) == ([], None, "")


def test_the_bundle_holds_the_quantised_network(finished: RunFolder) -> None:
    quantised, model = finished.quantised("cpu-w8a8").read(), finished.model.read()
    assert is_quantised(quantised)
    assert not is_quantised(model)
    bundle = Bundle.open(finished.bundle(CPU))
    artefact = onnx.load(bundle.artefact.files[0])
    assert graph_key(artefact) == graph_key(quantised) == bundle.manifest.graph
    assert {entry.key: entry.value for entry in artefact.metadata_props}["precision"] == "w8a8"
    assert bundle.manifest.precision == "w8a8"
    for operand in (*bundle.manifest.inputs, *bundle.manifest.outputs):
        steps = steps_of(artefact, operand.name)
        assert operand.quantisation is not None
        assert steps is not None
        assert operand.quantisation.model_dump() == {
            "scale": steps.scale, "zero_point": steps.zero_point, "dtype": "uint8",
        }  # fmt: skip
        assert operand.dtype == "float32"
    ran = finished.deployed.read().ran[CPU]
    assert (ran.steps, ran.why_not) == (0, "")


def test_figures_are_those_of_the_quantised_network(finished: RunFolder) -> None:
    manifest = Bundle.open(finished.bundle(CPU)).manifest
    by_name = {figure.what: figure for figure in manifest.figures}
    path = finished.quantised("cpu-w8a8").path
    assert by_name["latency"].command == f"graphopt cost {path} --target {CPU}"
    assert by_name["speed-up"].command.endswith(f"--against {path}")
    assert f"--model {path} " in by_name["psnr"].command
    quality = json.loads(finished.metrics.read_text())["quality"]
    assert quality["after"] == quality["float"]  # of the target of the largest weight
    assert by_name["psnr"].value == pytest.approx(quality["cpu-w8a8"]["psnr"], abs=1e-6)
    assert by_name["psnr"].value != quality["float"]["psnr"]
    assert by_name["psnr"].value == pytest.approx(quality["float"]["psnr"], abs=0.5)


def test_nothing_is_done_twice(home: Path, finished: RunFolder) -> None:
    path = write_config(home, finetune=TRAINS)
    assert not open_pipeline(path, finished.root, home / "cache", silent).run()


def test_the_number_of_steps_in_integers_leaves_the_float_network_alone(
    home: Path, finished: RunFolder, tmp_path: Path
) -> None:
    pipeline = again(home, finished, tmp_path / "run", finetune={**TRAINS, "quantised_steps": 2})
    pipeline.run()
    assert pipeline.stamps.ran == ["quantise", "deploy", "report"]
    assert pipeline.opened.folder.integers.read()["cpu-w8a8"].steps == 2


def test_a_training_in_integers_that_was_killed_goes_on(home: Path, finished: RunFolder, tmp_path: Path) -> None:
    def killed(stage: str, share: float, words: str) -> None:
        if stage == "quantise" and "step 5/" in words:
            raise KeyboardInterrupt

    changes = {"finetune": {**TRAINS, "quantised_learning_rate": 2e-4}}
    place = tmp_path / "run"
    again(home, finished, place, **changes)
    path = write_config(home, **changes)
    with pytest.raises(KeyboardInterrupt):
        open_pipeline(path, place, home / "cache", killed).run()
    folder = RunFolder(place)
    assert folder.quantised_checkpoint("cpu-w8a8").exists()
    assert not folder.quantised("cpu-w8a8").path.exists()
    words: list[str] = []

    def stopped(stage: str, share: float, said: str) -> None:
        words.append(said)
        if stage == "deploy":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pipeline(path, place, home / "cache", stopped).run()
    assert "cpu-w8a8: goes on at step 4" in words
    assert [record["step"] for record in folder.integers.read()["cpu-w8a8"].history] == [2, 4, 6]


def test_few_images_are_said_with_what_they_cost(home: Path, finished: RunFolder, tmp_path: Path) -> None:
    finetune = {key: value for key, value in TRAINS.items() if key not in ("precision", "quantised_steps")}
    pipeline = again(home, finished, tmp_path / "run", finetune=finetune, quantise={"images": 2})
    pipeline.run()
    assert pipeline.stamps.ran == ["quantise", "deploy", "report"]
    found = pipeline.opened.folder.integers.read()["cpu-w8a8"]
    assert found.warning.startswith("calibrated on 2 patches; give photographs for eight or more")
    assert found.warning.endswith("dB more than those patches (measured)")
    assert (found.steps, found.patches["seen"]) == (0, 2)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_qnn") is None, reason="no NPU compiler is installed")
def test_an_npu_in_integers_runs_on_its_emulator(home: Path, finished: RunFolder, tmp_path: Path) -> None:
    finetune = {"steps": 2, "patches": [1, 32], "record_every": 2}
    pipeline = again(
        home, finished, tmp_path / "run", targets={"mine.yaml": 1, CPU: 0, NPU: 0}, precision={CPU: "w8a8", NPU: "w8a8"},
        finetune=finetune,
    )  # fmt: skip
    pipeline.run()
    folder = pipeline.opened.folder
    assert list(folder.integers.read()) == ["cpu-w8a8", "qnn-w8a8"]
    ran = folder.deployed.read().ran[NPU]
    assert ran.why_not == ""
    assert ran.steps is not None
    assert ran.steps < 3  # the NPU rounds sums as it likes
    manifest = Bundle.open(folder.bundle(NPU)).manifest
    assert (manifest.precision, manifest.inputs[0].dtype) == ("w8a8", "float32")
    assert manifest.inputs[0].quantisation is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"finetune": {"precision": "w8a16"}},
            r"'finetune\.precision' is w8a16, which no target computes in; give w8a8, or ask for 'precision: w8a16'",
        ),
        ({"precision": {}, "quantise": {"images": 8}}, r"'quantise' is for targets that compute in integers"),
        ({"targets": {"mine.yaml": 1, "android-onnxruntime": 0}, "precision": {"android-onnxruntime": "w8a8"},
          "quantise": {"mixed": 0.1}}, r"'quantise\.mixed' weighs prices, and target android-onnxruntime has none"),
        ({"precision": {CPU: "w8a16"}}, r"target host-onnxruntime has no w8a16"),
        ({"data": {"train": ["one"], "test": ["photos"]}}, r"'data\.train' holds one photograph; give two or more"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_any_work(home: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (home / "one").mkdir(exist_ok=True)
    shutil.copy(home / "photos" / "0.png", home / "one")
    with pytest.raises(GraphoptError, match=message):
        open_pipeline(write_config(home, **changes), tmp_path / "run", home / "cache", silent)
    assert not (tmp_path / "run").exists()


def test_a_network_in_float_is_no_artefact_of_integers(home: Path, finished: RunFolder, tmp_path: Path) -> None:
    target = Bundle.open(finished.bundle(CPU)).target
    with pytest.raises(GraphoptError, match="computes in w8a8, and the network is in float; give a network that is"):
        open_backend(target, CostCache(tmp_path)).build(finished.model.read(), tmp_path)
