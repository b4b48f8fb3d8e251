"""What is measured on this machine, through a runtime whose time is made up, and its memory in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from graphs import onnx_model
from small_models import two_images, two_inputs

from graphopt.backends.base import Array, Artefact, Finding, manifest_of
from graphopt.backends.host import HostBackend, HostTarget, Loaded
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

ONE_MS = onnx_model("(float[1,2,8,8] x) => (float[1,2,8,8] y) { y = Relu(x) }", {})
THREE_MS = onnx_model("(float[1,2,8,8] x) => (float[1,2,8,8] y) { a = Relu(x) b = Relu(a) y = Relu(b) }", {})
EMPTY = onnx_model("(float[1,2,8,8] x) => (float[1,2,8,8] x) { }", {})


class SpinningBackend(HostBackend[HostTarget]):
    """A runtime that keeps its processor busy for a millisecond a node."""

    kind: ClassVar[str] = "spinning"
    target_type: ClassVar[type[Target]] = HostTarget
    refuses = ""

    def key(self) -> str:
        return self.processor()

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        path = folder / "nodes.txt"
        path.write_text(str(len(model.graph.node)))
        manifest = manifest_of(model, self.target, "onnx", ("a runtime", "1.0"), "a test")
        return Artefact(() if self.refuses else (path,), manifest, self.refuses)

    def load(self, artefact: Artefact) -> Loaded:
        seconds = int(artefact.files[0].read_text()) * 1e-3

        def run(inputs: Sequence[Array]) -> list[Array]:
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass
            return list(inputs)

        return run

    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        return []


def backend(folder: Path, **fields: object) -> SpinningBackend:
    content = {"name": "spin", "title": "A test", "kind": "spinning", "device": "cpu", "dtype": "float32", **fields}
    return SpinningBackend(HostTarget.model_validate(content), CostCache(folder))


def test_the_clock_prices(tmp_path: Path) -> None:
    price = backend(tmp_path).price(THREE_MS)
    assert price.latency_ms == pytest.approx(3, rel=0.05)
    assert 0 < price.low_ms <= price.latency_ms <= price.high_ms
    assert price.provenance == "measured"
    assert price.peak_memory_bytes == 4 * 128 * (1 + 2)  # the image, and two buffers that take turns
    assert backend(tmp_path).price(EMPTY).latency_ms == 0


def test_a_ratio_is_measured_turn_by_turn(tmp_path: Path) -> None:
    ratio = backend(tmp_path).compare(THREE_MS, ONE_MS)
    assert ratio.value == pytest.approx(3, rel=0.03)
    assert ratio.high - ratio.low < 0.2
    assert ratio.provenance == "measured"
    with pytest.raises(GraphoptError, match="target spin: a network without nodes takes no time, and has no ratio"):
        backend(tmp_path).compare(THREE_MS, EMPTY)


def test_a_phone_has_no_price_here(tmp_path: Path) -> None:
    phone = backend(tmp_path, device="android", title="A phone")
    assert phone.unpriced == "A phone is another device"
    assert not phone.runs_here
    assert phone.caution() == ""
    assert phone.measured_memory(ONE_MS) is None
    with pytest.raises(GraphoptError, match="target spin has no price on this machine: A phone is another device"):
        phone.price(ONE_MS)
    with pytest.raises(GraphoptError, match="its artefacts do not run here, because A phone is another device"):
        phone.run(phone.build(ONE_MS, tmp_path), [])


def test_what_runs_here_runs(tmp_path: Path) -> None:
    host = backend(tmp_path)
    assert host.runs_here
    assert host.unpriced == ""
    for made, given in zip(host.run(host.build(two_inputs(), tmp_path), two_images()), two_images(), strict=True):
        np.testing.assert_array_equal(made, given)


def test_a_runtime_that_refuses_says_why(tmp_path: Path) -> None:
    host = backend(tmp_path)
    host.refuses = "it carries no Relu"
    with pytest.raises(GraphoptError, match="^target spin: it carries no Relu$"):
        host.price(ONE_MS)


def test_targets_name_a_processor_and_its_threads() -> None:
    content = {"name": "a", "title": "A", "kind": "spinning", "device": "cpu"}
    assert HostTarget.model_validate(content).threads == 1
    for wrong in ({"device": "adreno"}, {"threads": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            HostTarget.model_validate({**content, **wrong})
