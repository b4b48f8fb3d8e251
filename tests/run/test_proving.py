"""What deploy keeps of running an artefact: a difference, or a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from graphs import onnx_model, run

from graphopt.backends.base import Array, Artefact
from graphopt.backends.llvm.backend import LlvmBackend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.session import OnnxSession
from graphopt.run.exports import to_fp16
from graphopt.run.folder import Ran
from graphopt.run.proving import prove

TARGET = load_target("sm8650-adreno750").with_precision("fp32")
IMAGE = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)

TAKES = {"inputs": [{"dtype": "float32"}]}


def network(gain: float = 1.0) -> onnx.ModelProto:
    shape = "float[1,3,8,8]"
    weights = {"w": gain * np.eye(3)[:, :, None, None], "v": np.eye(3)[:, :, None, None] / gain}
    text = f"({shape} x) => ({shape} y) {{ c = Conv(x, w) s = Relu(c) y = Conv(s, v) }}"
    return onnx.shape_inference.infer_shapes(onnx_model(text, weights))


class OnnxOnHost(LlvmBackend):
    """An artefact that is the ONNX file, for onnxruntime."""

    why_not: ClassVar[str] = ""

    @property
    def elsewhere(self) -> str:
        return self.why_not

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        return [OnnxSession(onnx.load(artefact.files[0])).run(*inputs)]


class InHalves(OnnxOnHost):
    own_arithmetic: ClassVar[str] = "float16"


def proved(kind: Any, written: onnx.ModelProto, model: onnx.ModelProto, folder: Path) -> Ran:
    path = folder / "made.onnx"
    onnx.save(written, path)
    backend = kind(TARGET, CostCache(folder / "cache"))
    return prove(backend, Artefact((path,), TAKES), [(IMAGE, run(model, IMAGE))], lambda made: made.name)


def test_an_artefact_that_computes_the_network(tmp_path: Path) -> None:
    found = proved(OnnxOnHost, network(), network(), tmp_path)
    assert (found.file, found.on, found.why_not) == ("made.onnx", "this machine", "")
    assert found.difference is not None
    assert found.difference < 1e-6


def test_one_that_computes_something_else_is_an_error(tmp_path: Path) -> None:
    other = network()
    other.graph.node[1].op_type = "Neg"
    with pytest.raises(
        GraphoptError, match=r"^made\.onnx, at 8x8, differs from model\.onnx by 2\.\d+e\+00 relative \(allowed 0"
    ):
        proved(OnnxOnHost, other, network(), tmp_path)


def test_a_device_whose_own_arithmetic_overflows_is_described(tmp_path: Path) -> None:
    found = proved(InHalves, to_fp16(network(1e3)), network(1e3), tmp_path)
    assert found.difference is not None
    assert 1e-5 < found.difference < 2e-3
    found = proved(InHalves, to_fp16(network(4e5)), network(4e5), tmp_path)
    assert found.difference == pytest.approx(1 - 65504 / 4e5, abs=1e-3)  # weights end at the largest half


@pytest.mark.parametrize(("kind", "gain"), [(OnnxOnHost, 1.0), (InHalves, 1.5)])
def test_a_quantised_network_is_compared_in_steps_of_its_output(kind: Any, gain: float, tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "made.onnx")
    expected = gain * run(network(), IMAGE)
    step = 0.01
    found = prove(
        kind(TARGET, CostCache(tmp_path)), Artefact((tmp_path / "made.onnx",), TAKES), [(IMAGE, expected)],
        lambda made: made.name, step,
    )  # fmt: skip
    assert found.steps == pytest.approx((gain - 1) * np.abs(IMAGE).max() / step, rel=1e-4, abs=1e-3)


def test_one_that_is_many_steps_off_is_an_error(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "made.onnx")
    backend, artefact = OnnxOnHost(TARGET, CostCache(tmp_path)), Artefact((tmp_path / "made.onnx",), TAKES)
    near, far = (run(network(), IMAGE) + steps * 0.01 for steps in (7.5, 9.0))
    assert prove(backend, artefact, [(IMAGE, near)], lambda made: made.name, 0.01).steps == pytest.approx(7.5, rel=1e-3)
    with pytest.raises(GraphoptError, match=r"differs from the quantised network by 9 steps of its output \(allowed 8"):
        prove(backend, artefact, [(IMAGE, far)], lambda made: made.name, 0.01)


def test_an_output_that_is_not_finite_says_where_it_left_half_precision(tmp_path: Path) -> None:
    class Overflowing(InHalves):
        def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
            return [np.float16(np.inf) * made for made in super().run(artefact, inputs)]

    onnx.save(network(), tmp_path / "made.onnx")
    artefact, tried = Artefact((tmp_path / "made.onnx",), TAKES), [(IMAGE, run(network(), IMAGE))]
    backend = Overflowing(TARGET, CostCache(tmp_path / "cache"))
    found = prove(backend, artefact, tried, lambda made: made.name, beyond=lambda: "node a reaches 1e+05")
    assert (found.difference, found.why_not) == (None, "its output is not finite: node a reaches 1e+05")
    assert prove(backend, artefact, tried, lambda made: made.name).why_not.endswith("values that float16 cannot hold")


def test_what_cannot_be_run_is_kept_as_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken := network()).graph.node[1].op_type = "Rulu"
    found = proved(OnnxOnHost, broken, network(), tmp_path)
    assert found.difference is None
    assert found.why_not.startswith("not run here: onnxruntime does not accept the graph: ")
    monkeypatch.setattr(OnnxOnHost, "why_not", "it is on the moon")
    assert proved(OnnxOnHost, network(), network(), tmp_path) == Ran(
        "made.onnx", "", None, "not run here: it is on the moon"
    )
