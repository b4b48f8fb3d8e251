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

from graphopt.backends.base import Array, Artefact, Finding, Loaded
from graphopt.backends.host import HostBackend, HostTarget
from graphopt.backends.manifests import manifest_of
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
    content = {"name": "spin", "title": "A test", "kind": "spinning", "device": "cpu", "precision": "fp32", **fields}
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
    with pytest.raises(GraphoptError, match="its artefacts do not run here: A phone is another device"):
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


def test_a_part_is_priced_beside_what_stands_there(tmp_path: Path) -> None:
    """Of 3 ms and 1 ms; the price of the first was 30 ms when the machine was busy, and the ratio is 3 still."""
    host = backend(tmp_path)
    kept = host.price_part(THREE_MS)
    assert kept.latency_ms == pytest.approx(3, rel=0.05)
    host.cache.put(host.price_key(THREE_MS), {**kept.to_dict(), "latency_ms": 30.0})
    put = host.price_part(ONE_MS, THREE_MS)
    assert put.latency_ms == pytest.approx(10, rel=0.05)
    assert put.low_ms <= put.latency_ms <= put.high_ms
    assert host.price_part(ONE_MS, THREE_MS) == put  # once
    assert host.price_part(THREE_MS, THREE_MS).latency_ms == 30
    assert host.price_part(EMPTY, THREE_MS).latency_ms == 0


def test_a_whole_is_priced_beside_the_original(tmp_path: Path) -> None:
    host = backend(tmp_path)
    original = host.price(THREE_MS)
    host.cache.put(host.price_key(THREE_MS), {**original.to_dict(), "latency_ms": 30.0})
    assert host.price_beside(ONE_MS, THREE_MS).latency_ms == pytest.approx(10, rel=0.05)
    assert host.price_beside(THREE_MS, THREE_MS).latency_ms == 30
    assert host.price(ONE_MS).latency_ms == pytest.approx(1, rel=0.1)  # a price of its own


def test_a_part_is_priced_in_its_surroundings(tmp_path: Path) -> None:
    """Two milliseconds around each part: they are in both prices, and their counts in none."""

    class Surrounded(SpinningBackend):
        def surrounded(self, model: onnx.ModelProto) -> onnx.ModelProto:
            made = onnx.ModelProto()
            made.CopyFrom(model)
            made.graph.node.extend(onnx.helper.make_node("Relu", ["x"], [f"around{i}"]) for i in range(2))
            return made

    plain = backend(tmp_path)
    host = Surrounded(plain.target, plain.cache)
    kept, put = host.price_part(THREE_MS), host.price_part(EMPTY, THREE_MS)
    assert (kept.latency_ms, put.latency_ms) == pytest.approx((5, 2), rel=0.05)
    assert host.exchanged(kept, kept, put) == pytest.approx(-3, rel=0.1)


def test_a_part_takes_its_form_after_its_surroundings(tmp_path: Path) -> None:
    """What is priced, and what it is priced beside: a form of both that has a node more, and the counts of the part."""
    seen: list[int] = []

    def longer(model: onnx.ModelProto) -> onnx.ModelProto:
        seen.append(len(model.graph.node))
        made = onnx.ModelProto()
        made.CopyFrom(model)
        made.graph.node.append(onnx.helper.make_node("Relu", ["x"], ["more"]))
        return made

    host = backend(tmp_path)
    assert host.price_part(ONE_MS, form=longer).latency_ms == pytest.approx(2, rel=0.05)
    put = host.price_part(THREE_MS, ONE_MS, longer)
    assert put.latency_ms == pytest.approx(4, rel=0.08)
    assert seen == [1, 3, 1]
    assert host.price_part(THREE_MS).latency_ms == pytest.approx(3, rel=0.05)  # a price of its own
