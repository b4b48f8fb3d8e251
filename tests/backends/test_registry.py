"""Adding a runtime is adding a folder: a backend that is installed beside graphopt prices, builds and runs a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from graphs import Call, onnx_model
from PIL import Image
from rated import ENTRIES, TARGET_FILE, install_rated

from graphopt.backends.registry import backend_class, backend_names, open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.counts import macs_and_parameters
from graphopt.errors import GraphoptError
from graphopt.run.pipeline import open_pipeline

TARGET = yaml.safe_load(TARGET_FILE)


def network() -> onnx.ModelProto:
    text = """(float[1,3,32,32] x) => (float[1,3,32,32] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) p = ReduceMean<keepdims=1>(a, axes)
        k = Conv<kernel_shape=[1,1]>(p, c, b) m = Mul(a, k)
        r = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(m, u, t) y = Add(r, x) }"""
    weights = {"w": (8, 3, 3, 3), "b": (8,), "axes": np.array([2, 3]), "c": (8, 8, 1, 1), "u": (3, 8, 3, 3), "t": (3,)}
    return onnx_model(text, weights)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution as pip leaves one, with backends that work and backends that do not, and a target's file."""
    others = (
        "gone = not_installed:Mine\nbroken = broken_plug_in:Mine\nother = my_runtime:RatedTarget\n"
        "renamed = my_runtime:RatedBackend\nopencl = my_runtime:RatedBackend\nempty = graphopt.backends.base:Backend\n"
    )
    place = install_rated(tmp_path, monkeypatch, ENTRIES + others)
    (place / "broken_plug_in.py").write_text("raise KeyError('oh')")
    return tmp_path


def test_a_kind_of_ours_is_not_taken_over(installed: Path) -> None:
    assert backend_names()["rated"] == "my_runtime:RatedBackend"
    assert backend_names()["opencl"] == "graphopt.backends.opencl.backend:OpenClBackend"


def test_its_targets_are_checked_by_its_own_rules(installed: Path) -> None:
    assert load_target(str(installed / "mine.yaml")).gmacs_per_s == 2.0  # type: ignore[attr-defined]
    (installed / "mine.yaml").write_text(yaml.safe_dump({**TARGET, "gmacs_per_s": 0}))
    with pytest.raises(GraphoptError, match=r"mine\.yaml: key 'gmacs_per_s': Input should be greater than 0, found 0"):
        load_target(str(installed / "mine.yaml"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("ratd", "no backend is called 'ratd'; did you mean 'rated'?"),
        (
            "gone",
            "backend gone: not_installed:Mine cannot be loaded: No module named 'not_installed'; mend or uninstall",
        ),
        ("broken", "backend broken: broken_plug_in:Mine cannot be loaded: 'oh'; mend or uninstall its package"),
        ("other", "backend other: my_runtime:RatedTarget: expected a class that derives from graphopt.backends"),
        ("renamed", "backend renamed: my_runtime:RatedBackend: RatedBackend lacks kind = 'renamed'"),
        ("empty", "backend empty: graphopt.backends.base:Backend: Backend lacks target_type, provenance"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_backends_that_cannot_be_used(kind: str, message: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        backend_class(kind)
    assert str(caught.value).startswith(message)


def test_a_target_of_a_kind_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TARGET_FILE)
    with pytest.raises(GraphoptError, match=r"mine\.yaml: key 'kind': no backend is called 'rated'; known: .*opencl"):
        load_target(str(tmp_path / "mine.yaml"))


def test_prices_are_kept_until_a_figure_changes(installed: Path) -> None:
    target, cache = load_target(str(installed / "mine.yaml")), CostCache(installed / "costs")
    macs, _ = macs_and_parameters(network())
    assert open_backend(target, cache).price(network()).latency_ms == pytest.approx(macs / 2e6, rel=1e-12)
    assert open_backend(target, cache).price(network()).macs == macs
    assert (cache.hits, cache.misses) == (1, 1)
    faster = target.model_copy(update={"gmacs_per_s": 4.0})
    assert open_backend(faster, cache).price(network()).latency_ms == pytest.approx(macs / 4e6, rel=1e-12)


def test_a_pipeline_runs_on_it(installed: Path) -> None:
    """Every stage, from the price of each candidate to the artefact, which is loaded and run."""
    onnx.save(network(), installed / "small.onnx")
    (installed / "photos").mkdir()
    pixels = np.random.default_rng(5).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(installed / "photos" / "0.png")
    config = {
        "model": "small.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "calibration_images": 1},
        "passes": ["static-attention"],
        "targets": {"mine.yaml": 1},
        "search": {"latency": 1.0, "steps": 2, "patches": [1, 32]},
        "finetune": {"steps": 2, "patches": [1, 32], "record_every": 2},
        "deploy": {"resolution": "free", "tile": 48, "overlap": 8},
    }
    path, folder = installed / "small.yaml", installed / "run"
    path.write_text(yaml.safe_dump(config))
    assert open_pipeline(path, folder, installed / "cache", lambda stage, share, words: None).run()
    metrics = json.loads((folder / "metrics.json").read_text())
    macs, _ = macs_and_parameters(onnx.load(folder / "model.onnx"))
    assert metrics["targets"]["mine"]["after"]["latency_ms"] == pytest.approx(macs / 2e6, rel=1e-12)
    deployed = json.loads((folder / "deploy" / "deploy.json").read_text())
    assert "deploy/mine/mine.onnx" in deployed["files"]
    ran = deployed["ran"]["mine"]
    assert (ran["file"], ran["on"], ran["why_not"]) == ("deploy/mine/mine.onnx", "this machine", "")
    assert 0 <= ran["difference"] < 1e-6
    assert "A machine of mine" in (folder / "report.html").read_text()


def test_the_command_line_knows_it(installed: Path, call: Call) -> None:
    onnx.save(network(), installed / "small.onnx")
    status, out, said = call("cost", installed / "small.onnx", "--target", installed / "mine.yaml")
    assert (status, out.partition(" (")[0]) == (0, f"mine: {macs_and_parameters(network())[0] / 2e6:.3f} ms"), said
    status, out, _ = call("targets", "check", installed / "mine.yaml", "--json")
    assert (status, [row["what"] for row in json.loads(out)["checks"]]) == (0, ["onnxruntime"])


def test_naming_our_backends_imports_no_compiler() -> None:
    code = """
import sys
from graphopt.backends.registry import backend_class
for kind in ("litert", "llvm", "mnn", "onnxruntime", "opencl", "qnn"):
    assert backend_class(kind).kind == kind
print(*[name for name in ("tvm", "torch", "onnxruntime", "onnxruntime_qnn", "MNN") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_outside_asks_for_a_kind() -> None:
    """TVM's own rooms spell its kinds when they make its targets; nobody else names one."""
    package = Path(__file__).parents[2] / "graphopt"
    rooms = {"backends", "kernels", "tuning", "devices", "quantise"}  # the last two name forms of files
    sources = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in rooms]
    assert len(sources) > 100
    named = re.compile(r"""["'](opencl|litert|llvm|mnn|qnn)["']""")
    assert [str(path) for path in sources if named.search(path.read_text())] == []
