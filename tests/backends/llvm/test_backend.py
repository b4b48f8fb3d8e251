"""This host's CPU: measured, tuned, built, and run."""

import shutil
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper
from small_models import two_images, two_inputs, two_outputs

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


def test_untuned_and_tuned_are_measured_and_right(cache: CostCache, tmp_path: Path) -> None:
    host = load_target("host-tvm")
    host = host.model_copy(update={"tuning": host.tuning.model_copy(update={"trials_per_iteration": 2})})  # type: ignore[union-attr]
    untuned = open_backend(host, cache).price(two_inputs())
    assert untuned.provenance == "measured"
    assert 0 < untuned.low_ms <= untuned.latency_ms <= untuned.high_ms
    assert untuned.kernels == ()
    messages: list[str] = []
    tuned = open_backend(host, cache).price(two_inputs(), 2, lambda share, message: messages.append(message))
    assert tuned.provenance == "measured"
    assert messages[0] == "tuning 1 kernels with 2 trials"
    records = list((cache.folder / "tuning").rglob("records.jsonl"))
    assert len(records) == 1
    assert len(records[0].read_text().splitlines()) == 2
    # the second time the price comes from the cache, and a cache without prices finds the schedules
    assert open_backend(host, cache).price(two_inputs(seed=1), 2) == tuned
    again = CostCache(tmp_path)
    shutil.copytree(cache.folder / "tuning", again.folder / "tuning")
    messages.clear()
    open_backend(host, again).price(two_inputs(), 2, lambda share, message: messages.append(message))
    assert messages == ["compiling", "measuring"]
    artefact = open_backend(host, cache).build(two_inputs(), tmp_path)
    assert [path.name for path in artefact.files] == ["host-tvm.so"]
    assert [value["shape"] for value in artefact.manifest["inputs"]] == [[1, 8, 24, 32], [1, 8, 24, 32]]
    for made, expected in zip(
        open_backend(host, cache).run(artefact, two_images()), two_outputs(two_inputs()), strict=True
    ):
        np.testing.assert_allclose(made, expected, atol=1e-4)


def test_what_was_measured_as_a_whole_has_no_parts(cache: CostCache) -> None:
    measured = NetworkCost(1.0, 0.9, 1.1, "measured", 10, 10, 10)
    assert open_backend(load_target("host-tvm"), cache).break_down(measured) is None


def test_a_file_in_half_precision_adds_up_in_float32(cache: CostCache, tmp_path: Path) -> None:
    """65536 pixels of 1 are more than float16 holds, and so is their number."""
    made = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 20]>
        g (float16[1,2,256,256] x) => (float16[1,2,1,1] y) { a = Mul(x, one) y = GlobalAveragePool(a) }
    """)
    made.graph.initializer.append(numpy_helper.from_array(np.float16(1), "one"))
    backend = open_backend(load_target("host-tvm"), cache)
    assert backend.price(made).provenance == "measured"
    (mean,) = backend.run(backend.build(made, tmp_path), [np.ones((1, 2, 256, 256), np.float16)])
    np.testing.assert_allclose(mean, 1, rtol=1e-3)
