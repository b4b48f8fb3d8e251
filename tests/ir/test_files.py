"""Graphs in ONNX files: what is written and read without protobuf's copies is what onnx itself writes and reads."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from graphs import nafnet, network, onnx_model, random_image, run
from onnx import numpy_helper

from graphopt import GraphoptError
from graphopt.ir import files
from graphopt.ir.canonical import LARGEST_SHAPE_VALUE, declared_model, to_graph, to_model
from graphopt.ir.files import load_graph, save_graph

TYPES = [np.float32, np.float16, np.float64, np.int8, np.int64, np.bool_, ml_dtypes.bfloat16, ml_dtypes.int4]
CONV = "(float[1,8,8,8] x) => (float[1,8,8,8] y) { y = Conv <pads=[1,1,1,1]> (x, w, b) }"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    model = to_model(nafnet())
    onnx.helper.set_model_props(model, {"author": "somebody"})
    return model


def test_a_file_is_read_as_onnx_reads_it(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "a.onnx")
    assert to_model(load_graph(tmp_path / "a.onnx")) == to_model(to_graph(model)) == model


def test_a_file_is_written_as_onnx_writes_it(model: onnx.ModelProto, tmp_path: Path) -> None:
    save_graph(to_graph(model), tmp_path / "a.onnx")
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    assert onnx.load(tmp_path / "a.onnx") == model
    save_graph(load_graph(tmp_path / "a.onnx"), tmp_path / "a.onnx")  # onto itself
    assert onnx.load(tmp_path / "a.onnx") == model


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [(), (0,), (3,), (40, 100)])
def test_all_types_and_sizes(dtype: type, size: tuple[int, ...], tmp_path: Path) -> None:
    values = np.asarray(np.random.default_rng(0).integers(-3, 4, size)).astype(dtype)
    kind = onnx.TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(values.dtype)).lower()
    text = f"() => ({kind}[{','.join(map(str, size))}] y) {{ y = Identity(w) }}"
    model = onnx_model(text)
    model.graph.initializer.append(numpy_helper.from_array(values, "w"))
    onnx.save(model, tmp_path / "a.onnx")
    save_graph(load_graph(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    (found,) = onnx.load(tmp_path / "b.onnx").graph.initializer
    assert (found.name, found.data_type) == ("w", model.graph.initializer[0].data_type)
    np.testing.assert_array_equal(numpy_helper.to_array(found), values)


def test_weights_that_are_no_raw_data(tmp_path: Path) -> None:
    weight = random_image(8, 8, 3, 3)
    model = onnx_model(CONV, {"b": (8,)})
    model.graph.initializer.append(onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, weight.shape, weight.ravel()))
    assert not model.graph.initializer[1].raw_data
    onnx.save(model, tmp_path / "a.onnx")
    save_graph(load_graph(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(onnx.load(tmp_path / "b.onnx").graph.initializer[0]), weight)


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    model = to_model(network(CONV, {"w": (8, 8, 3, 3), "b": (8,)}))
    expected = run(model, image := random_image(1, 8, 8, 8))
    kept = onnx.ModelProto.FromString(model.SerializeToString())
    onnx.save(kept, tmp_path / "a.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    np.testing.assert_array_equal(run(load_graph(tmp_path / "a.onnx"), image), expected)


def test_a_graph_in_a_node_shares_weights(tmp_path: Path) -> None:
    image = "float[1,8,8,8]"
    text = f"""({image} x) => ({image} y) {{
        m = Conv <pads=[1,1,1,1]> (x, w, b)
        t = ReduceMean <keepdims=0> (m)
        zero = Sub(t, t)
        c = GreaterOrEqual(t, zero)
        y = If(c) <then_branch = then () => ({image} p) {{ p = Conv <pads=[1,1,1,1]> (m, w, b) }},
                   else_branch = other () => ({image} q) {{ q = Neg(m) }}>
    }}"""
    model = onnx_model(text, {"w": (8, 8, 3, 3), "b": (8,)})
    onnx.save(model, tmp_path / "a.onnx")
    save_graph(load_graph(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    for seed in range(4):
        values = random_image(1, 8, 8, 8, seed=seed)
        np.testing.assert_array_equal(run(onnx.load(tmp_path / "b.onnx"), values), run(model, values))


def test_an_export_leaves_the_graph_alone(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = to_graph(model)
    constants = [tensor for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant)]
    held = [constant._values for constant in constants]
    to_model(graph)
    assert all(constant._values is before for constant, before in zip(constants, held, strict=True))

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(gs, "export_onnx", fails)
    with pytest.raises(RuntimeError):
        to_model(graph)
    assert all(constant._values is before for constant, before in zip(constants, held, strict=True))


def test_large_weights_pass_by_protobuf(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "a.onnx")
    large = {tensor.name for tensor in model.graph.initializer if tensor.ByteSize() > 2 * LARGEST_SHAPE_VALUE}
    for graph in (load_graph(tmp_path / "a.onnx"), to_graph(model)):
        declared, constants = declared_model(graph)
        assert large <= set(constants)
        assert not any(tensor.raw_data for tensor in declared.graph.initializer if tensor.name in large)


def test_a_weight_that_has_a_new_name(tmp_path: Path) -> None:
    graph = network(CONV, {"w": (8, 8, 3, 3), "b": (8,)})
    graph.nodes[0].inputs[1].name = "other"
    save_graph(graph, tmp_path / "a.onnx")
    assert [tensor.name for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer] == ["other", "b"]


@pytest.mark.parametrize("missing", [1, 5_000, 20_000])
def test_a_file_that_ends_too_early(model: onnx.ModelProto, missing: int, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString()[:-missing])
    with pytest.raises(GraphoptError, match=r"a\.onnx is not a valid ONNX file: it ends too early"):
        load_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", [b"", b"\x0f\x01", b"\x80", b"no ONNX file, but a line of text\n"])
def test_a_file_that_is_something_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(GraphoptError, match=r"a\.onnx is not a valid ONNX file"):
        load_graph(tmp_path / "a.onnx")


def test_a_weight_that_does_not_fill_its_shape(tmp_path: Path) -> None:
    model = onnx_model(CONV, {"w": (8, 8, 3, 3), "b": (8,)})
    model.graph.initializer[0].dims[0] = 9
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(GraphoptError, match=r"a\.onnx is not a valid ONNX file: cannot reshape"):
        load_graph(tmp_path / "a.onnx")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"ONNX file .*a\.onnx does not exist"):
        load_graph(tmp_path / "a.onnx")


def test_more_than_a_file_can_hold(model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    with pytest.raises(GraphoptError, match=r"a\.onnx would hold \d+ bytes; an ONNX file holds 1000 at most"):
        save_graph(to_graph(model), tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_unknown_fields_of_other_producers_are_read_past(model: onnx.ModelProto, tmp_path: Path) -> None:
    unknown = b"\xa2\x06\x03abc" + b"\xa9\x06" + bytes(8) + b"\xad\x06" + bytes(4) + b"\xb0\x06\x96\x01"
    (tmp_path / "a.onnx").write_bytes(unknown + model.SerializeToString() + unknown)
    assert to_model(load_graph(tmp_path / "a.onnx")) == model
