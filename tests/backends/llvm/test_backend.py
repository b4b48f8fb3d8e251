import inspect
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

from graphopt.backends.compiled import compile_network, run_library
from graphopt.backends.pricing import network_cost
from graphopt.cost.cache import CostCache
from graphopt.cost.target import load_target
from graphopt.errors import GraphoptError
from graphopt.kernels.intrinsics import import_intrinsics
from graphopt.kernels.linker import aarch64_linker

TEXT = """<ir_version: 9, opset_import: ["" : 20]>
g (float[1,8,24,32] x, float[1,8,24,32] z) => (float[1,16,24,32] y, float[1,8,24,32] t) {
    mean = ReduceMean<keepdims=1>(x, axes) d = Sub(x, mean) q = Pow(d, two) v = ReduceMean<keepdims=1>(q, axes)
    e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s)
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(n, w, b)
    p = GlobalAveragePool(a) k = Conv<kernel_shape=[1,1]>(p, c) m = Mul(a, k) y = Clip(m, low, high)
    t = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(z, f)
}"""


def network(seed: int = 0) -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    generator = np.random.default_rng(seed)
    for name, shape in {"w": (16, 8, 3, 3), "b": (16,), "c": (16, 16, 1, 1), "f": (8, 1, 3, 3)}.items():
        values = generator.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    for name, value in {"two": 2.0, "epsilon": 1e-6, "low": -2.0, "high": 2.0}.items():
        made.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    return made


def images() -> list[np.ndarray]:
    return list(np.random.default_rng(3).normal(size=(2, 1, 8, 24, 32)).astype(np.float32))


def reference(made: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    outputs: list[np.ndarray] = session.run(None, dict(zip(("x", "z"), images(), strict=True)))
    return outputs


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CostCache:
    return CostCache(tmp_path_factory.mktemp("prices"))


def test_untuned_and_tuned_are_measured_and_right(cache: CostCache, tmp_path: Path) -> None:
    host = load_target("host-cpu")
    host = host.model_copy(update={"tuning": host.tuning.model_copy(update={"trials_per_iteration": 2})})  # type: ignore[union-attr]
    untuned = network_cost(network(), host, cache)
    assert untuned.provenance == "measured"
    assert 0 < untuned.low_ms <= untuned.latency_ms <= untuned.high_ms
    assert untuned.kernels == ()
    messages: list[str] = []
    tuned = network_cost(network(), host, cache, trials=2, progress=lambda share, message: messages.append(message))
    assert tuned.provenance == "measured"
    assert messages[0] == "tuning 1 kernels with 2 trials"
    records = list((cache.folder / "tuning").rglob("records.jsonl"))
    assert len(records) == 1
    assert len(records[0].read_text().splitlines()) == 2
    # the second time the price comes from the cache, and a cache without prices finds the schedules
    assert network_cost(network(seed=1), host, cache, trials=2) == tuned
    again = CostCache(tmp_path)
    shutil.copytree(cache.folder / "tuning", again.folder / "tuning")
    messages.clear()
    network_cost(network(), host, again, trials=2, progress=lambda share, message: messages.append(message))
    assert messages == ["compiling", "measuring"]
    (library,) = compile_network(network(), host, tmp_path / "out", cache)
    for made, expected in zip(run_library(library, images()), reference(network()), strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_opencl_source_and_aarch64_library(name: str, cache: CostCache, tmp_path: Path) -> None:
    source, library, *_ = compile_network(network(), load_target(name), tmp_path, cache)
    text = source.read_text()
    assert source.name == f"{name}.cl"
    assert text.count("__kernel void") >= 7  # norm 3, convolutions 3, pool, scale and clip
    assert "half" in text
    if aarch64_linker() is None:
        pytest.skip("no linker for aarch64 here: pip install ziglang")
    header = library.read_bytes()[:20]
    assert library.name == f"{name}.aarch64.so"
    assert header[:5] == b"\x7fELF\x02"
    assert int.from_bytes(header[16:18], "little") == 3  # ET_DYN: a shared object
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


def test_without_a_linker_the_objects_are_kept(
    cache: CostCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphopt.backends.opencl.build.aarch64_linker", lambda: None)
    _, library, *_ = compile_network(network(), load_target("sm8650-adreno750"), tmp_path, cache)
    assert library.name == "sm8650-adreno750.aarch64.tar"
    shutil.unpack_archive(library, tmp_path / "objects")
    headers = [path.read_bytes()[:20] for path in (tmp_path / "objects").glob("*.o")]
    assert headers
    assert all(header[:4] == b"\x7fELF" and header[18] == 183 for header in headers)


def test_a_linker_that_fails(cache: CostCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NDK_CC", "false")
    with pytest.raises(GraphoptError, match="with false failed"):
        compile_network(network(), load_target("sm8650-adreno750"), tmp_path, cache)


def test_the_import_of_intrinsics_leaves_inspect_as_it_was() -> None:
    before = inspect.stack
    import_intrinsics()
    assert inspect.stack is before
    assert inspect.stack()[0].code_context is not None


def test_a_file_in_half_precision_adds_up_in_float32(cache: CostCache, tmp_path: Path) -> None:
    """65536 pixels of 1 are more than float16 holds, and so is their number."""
    made = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 20]>
        g (float16[1,2,256,256] x) => (float16[1,2,1,1] y) { a = Mul(x, one) y = GlobalAveragePool(a) }
    """)
    made.graph.initializer.append(numpy_helper.from_array(np.float16(1), "one"))
    host = load_target("host-cpu")
    assert network_cost(made, host, cache).provenance == "measured"
    (library,) = compile_network(made, host, tmp_path, cache)
    (mean,) = run_library(library, [np.ones((1, 2, 256, 256), np.float16)])
    np.testing.assert_allclose(mean, 1, rtol=1e-3)
