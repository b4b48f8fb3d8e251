"""What the NPU's own arithmetic leaves of the quality, on crops, where onnxruntime-qnn is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from graphs import onnx_model
from npu import needs_compiler
from PIL import Image

from graphopt.ir.canonical import canonical
from graphopt.progress import silent
from graphopt.run import arithmetic
from graphopt.run.arithmetic import Judged, judge_arithmetic
from graphopt.run.precisions import quantised_by
from graphopt.run.run import Run


def network(gain: float) -> onnx.ModelProto:
    """The identity for images of 96x96; its square root and its square cancel, but for what halves cannot hold."""
    shape = "float[1,3,96,96]"
    text = f"({shape} x) => ({shape} y) {{ c = Conv(x, w) s = Mul(c, c) d = Conv(s, v) r = Relu(d) y = Sqrt(r) }}"
    weights = {"w": gain * np.eye(3)[:, :, None, None], "v": np.eye(3)[:, :, None, None] / gain**2}
    return canonical(onnx_model(text, weights), None, "test")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of the NPU alone, with two photographs, as it is when it comes to its report."""
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(5)
    for number in range(2):
        pixels = random.integers(60, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((100, 50 + number)).save(tmp_path / "photos" / f"{number}.png")
    onnx.save(network(1), tmp_path / "given.onnx")
    content: dict[str, Any] = {
        "model": "given.onnx",
        "data": {"train": ["photos"], "test": ["photos"], "sigma": 25},
        "passes": ["static-attention"],
        "targets": {"sm8650-hexagon": 1},
        "search": {"wholes": 4},
    }
    (tmp_path / "npu.yaml").write_text(yaml.safe_dump(content))
    opened = Run.open(tmp_path / "npu.yaml", tmp_path / "run", tmp_path / "cache")
    opened.folder.stage("source").mkdir(parents=True)
    opened.folder.original.write(network(1))
    return opened


def judged(run: Run, deployed: onnx.ModelProto) -> Judged:
    run.folder.stage("fold").mkdir(exist_ok=True)
    run.folder.folded.write(deployed)
    return judge_arithmetic(run, run.backends()["sm8650-hexagon"], silent)


@needs_compiler
def test_each_precision_on_the_cpu_and_on_the_emulated_npu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(run, network(1))
    assert (found.side, found.count, found.why_not) == (48, 2, "")
    assert found.original == pytest.approx(20.2, abs=0.5)  # sigma 25, clipped
    assert [score.precision for score in found.scores] == ["fp32", "fp16", "w8a16", "w8a8"]
    whole, half, wide, narrow = found.scores
    assert whole.cpu == pytest.approx(found.original, abs=1e-3)
    assert (whole.device, whole.price) == (None, None)
    for score in (half, wide):
        assert score.cpu == pytest.approx(whole.cpu, abs=0.01)
        assert score.device == pytest.approx(score.cpu, abs=0.01)
    assert 0.001 < whole.cpu - narrow.cpu < 0.1  # noise hides most of it
    assert narrow.device == pytest.approx(narrow.cpu, abs=0.02)
    for score in (half, wide, narrow):
        assert score.price is not None
        assert score.price["provenance"] == "estimated"
        assert 0 < score.price["low_ms"] < score.price["latency_ms"] < score.price["high_ms"]
        assert score.why_not == ""
    monkeypatch.setattr(arithmetic, "judge_versions", None)  # a second look judges nothing
    assert judged(run, network(1)) == found


@needs_compiler
def test_a_target_in_integers_is_judged_in_halves_too(run: Run) -> None:
    run.targets["sm8650-hexagon"] = run.targets["sm8650-hexagon"].with_precision("w8a8")
    form = run.folder.quantised("qnn-w8a8")
    form.path.parent.mkdir(parents=True)
    form.write(quantised_by(run, "qnn")(network(1), "w8a8", silent))
    found = judged(run, network(1))
    half, narrow = found.of("fp16"), found.of("w8a8")
    assert half is not None
    assert narrow is not None
    assert (half.why_not, narrow.why_not) == ("", "")
    assert half.device == pytest.approx(half.cpu, abs=0.01)
    assert narrow.device == pytest.approx(narrow.cpu, abs=0.02)


@needs_compiler
def test_halves_that_overflow_lose_the_picture(run: Run) -> None:
    found = judged(run, network(500))
    whole, half = found.of("fp32"), found.of("fp16")
    assert whole is not None
    assert half is not None
    assert whole.cpu == pytest.approx(found.original, abs=1e-3)
    assert half.device is not None
    assert not half.device > whole.cpu - 5


@needs_compiler
def test_a_network_of_one_size_has_a_reason_and_one_that_the_npu_refuses_is_judged_on_the_cpu(run: Run) -> None:
    shape = "float[1,3,96,96]"
    fixed = onnx_model(f"({shape} x) => ({shape} y) {{ y = Add(x, a) }}", {"a": (1, 3, 96, 96)})
    found = judged(run, fixed)
    assert found.scores == ()
    assert found.why_not.startswith("not judged on crops: fp32: the graph does not compute with an input of 1x3x48")
    refused = onnx_model(f"({shape} x) => ({shape} y) {{ c = Conv(x, w) y = Softsign(c) }}", {"w": (3, 3, 1, 1)})
    half = judged(run, canonical(refused, None, "test")).of("fp16")
    assert half is not None
    assert half.device is None
    assert half.why_not.startswith("the NPU refuses Softsign")
