"""From any ONNX file to a graph in canonical form, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import kinds, onnx_model, random_image, run
from onnx import helper, numpy_helper

from graphopt import GraphoptError
from graphopt.ir.canonical import canonical, check_same, fix_shapes, input_shape, read_onnx, to_graph, to_model
from graphopt.ir.naming import SCOPES, module_path

IMAGE = "float[1, 4, 8, 8]"
DYNAMIC = "(float[N, 4, H, W] x) => (float[N, 4, H, W] y) { a = Conv(x, w, b) y = Relu(a) }"
WEIGHTS = {"w": (4, 4, 1, 1), "b": (4,)}


def names(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node]


def test_reading(tmp_path: Path) -> None:
    onnx.save(onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = Relu(x) }}"), tmp_path / "net.onnx")
    assert [node.op_type for node in read_onnx(tmp_path / "net.onnx").graph.node] == ["Relu"]
    with pytest.raises(GraphoptError, match=r"ONNX file .*gone\.onnx does not exist"):
        read_onnx(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("these are words, and no protobuf at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    broken = onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = Relu(nothing) }}")
    onnx.save(broken, tmp_path / "broken.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name in ("text", "empty", "broken", "folder"):
        with pytest.raises(GraphoptError, match=rf"{name}\.onnx is not a valid ONNX file: "):
            read_onnx(tmp_path / f"{name}.onnx")


@pytest.mark.parametrize("opset", [11, 12])
def test_old_opsets_are_refused(opset: int) -> None:
    model = onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = Relu(x) }}", opset=opset)
    with pytest.raises(
        GraphoptError, match=f"net: opset {opset} is too old; export the network with opset 13 or newer"
    ):
        canonical(model, None, "net")


@pytest.mark.parametrize(("opset", "expected"), [(13, 20), (17, 20), (20, 20), (21, 21), (23, 23)])
def test_opsets(opset: int, expected: int) -> None:
    axes = "<axes = [2, 3]>(x)" if opset < 18 else "(x, axes)"
    text = f"({IMAGE} x) => (float[1, 4, 1, 1] y) {{ y = ReduceMean{axes} }}"
    model = onnx_model(text, {} if opset < 18 else {"axes": np.array([2, 3])}, opset=opset)
    found = canonical(model, None, "net")
    assert found.opset_import[0].version == expected
    image = random_image(1, 4, 8, 8)
    np.testing.assert_allclose(run(found, image), image.mean(axis=(2, 3), keepdims=True), atol=1e-6)
    assert model.opset_import[0].version == opset  # the original is untouched


def test_ops_outside_the_standard() -> None:
    model = onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = Relu(x) }}")
    model.graph.node[0].domain = "com.microsoft"
    with pytest.raises(GraphoptError, match=r"net: ops outside the ONNX standard: com\.microsoft\.Relu; export"):
        canonical(model, None, "net")


def test_dynamic_shapes_need_a_resolution() -> None:
    model = onnx_model(DYNAMIC, WEIGHTS)
    with pytest.raises(GraphoptError) as caught:
        canonical(model, None, "net.onnx")
    assert str(caught.value) == (
        "net.onnx: input 'x' has the dynamic shape (N, 4, H, W); give `resolution: [height, width]`"
    )
    found = canonical(model, (16, 24), "net.onnx")
    assert input_shape(found) == (1, 4, 16, 24)
    assert to_graph(found).tensors()["a"].shape == [1, 4, 16, 24]
    assert to_graph(found).outputs[0].shape == [1, 4, 16, 24]
    assert "dim_param" not in str(found.graph)


def test_a_dynamic_batch_alone_becomes_one() -> None:
    found = canonical(onnx_model(DYNAMIC.replace("H, W", "8, 8"), WEIGHTS), None, "net")
    assert input_shape(found) == (1, 4, 8, 8)


def test_dynamic_channels_are_refused() -> None:
    model = onnx_model("(float[1, C, 8, 8] x) => (float[1, C, 8, 8] y) { y = Relu(x) }")
    with pytest.raises(GraphoptError, match="input 'x' has a dynamic number of channels; export it with a fixed one"):
        canonical(model, (8, 8), "net")


def test_a_resolution_takes_the_place_of_static_shapes() -> None:
    model = onnx_model(DYNAMIC.replace("N, 4, H, W", "1, 4, 8, 8"), WEIGHTS)
    assert to_graph(canonical(model, (4, 6), "net")).tensors()["a"].shape == [1, 4, 4, 6]


def test_a_resolution_that_the_graph_cannot_take() -> None:
    model = onnx_model(f"({IMAGE} x) => ({IMAGE} y) {{ y = Add(x, plane) }}", {"plane": (1, 4, 8, 8)})
    with pytest.raises(GraphoptError, match="net: the graph does not compute with an input of 1x4x4x6: "):
        canonical(model, (4, 6), "net")
    # what only running the graph brings to light
    model = onnx_model(
        f"({IMAGE} x) => (float[1, 4, 1, 8] y) {{ y = Gather<axis = 2>(x, last) }}", {"last": np.array([7])}
    )
    found = canonical(model, (4, 6), "net.onnx")
    with pytest.raises(GraphoptError, match=r"net\.onnx, with an input of 1x4x4x6: onnxruntime cannot run .*gather"):
        check_same(found, found, "net.onnx")


@pytest.mark.parametrize(
    ("rows", "back", "node", "target", "found"),
    [
        ([1, 4, 64], [1, 4, 8, 8], "reshape", "1x4x64", "x to the constant shape 1x4x64, but it is 1x4x4x6"),
        ([1, 4, -1], [1, 4, 8, 8], "reshape_2", "1x4x8x8", "but it is 1x4x24"),
        ([0, 0, 5, -1], [1, 4, 8, 8], "reshape", "0x0x5x-1", "but it is 1x4x4x6"),
        ([0, 0, -1], [0, 0, 4, 7], "reshape_2", "0x0x4x7", "but it is 1x4x24"),
    ],
)
@pytest.mark.parametrize("as_node", [False, True])
def test_a_constant_shape_that_the_resolution_does_not_fill(
    rows: list[int], back: list[int], node: str, target: str, found: str, as_node: bool
) -> None:
    text = "a = Reshape(x, rows) b = Relu(a) y = Reshape(b, back)"
    if as_node:
        text = "".join(f"{n} = Constant<value_ints = {v}>() " for n, v in (("rows", rows), ("back", back))) + text
    model = onnx_model(
        f"({IMAGE} x) => ({IMAGE} y) {{ {text} }}", {} if as_node else {"rows": np.array(rows), "back": np.array(back)}
    )
    with pytest.raises(GraphoptError) as caught:
        canonical(model, (4, 6), "net.onnx")
    said = str(caught.value)
    assert said.startswith(f"net.onnx: the graph does not compute with an input of 1x4x4x6: node {node} reshapes ")
    assert f"to the constant shape {target}, " in said
    assert found in said
    assert "\n" not in said


def test_constant_shapes_that_fit_are_no_misfit() -> None:
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Reshape(x, rows) y = Reshape(a, back) }}"
    model = onnx_model(text, {"rows": np.array([0, 2, -1, 6]), "back": np.array([1, 4, 4, 6])})
    image = random_image(1, 4, 4, 6)
    np.testing.assert_array_equal(run(canonical(model, (4, 6), "net"), image), image)


def test_constants_that_are_nodes_become_initialisers() -> None:
    text = f"""({IMAGE} x) => ({IMAGE} y) {{
        two = Constant<value = float {{2.0}}>() s = Shape(x) o = ConstantOfShape(s)
        a = Identity(x) b = Mul(a, two) y = Add(b, o) }}"""
    model = onnx_model(text)
    found = canonical(model, None, "net")
    assert {"Constant", "Shape", "ConstantOfShape", "Identity"}.isdisjoint(node.op_type for node in found.graph.node)
    image = random_image(1, 4, 8, 8)
    np.testing.assert_allclose(run(found, image), 2 * image, rtol=1e-6)


def test_folding_keeps_names_of_modules_and_of_equal_weights() -> None:
    text = f"""({IMAGE} x) => ({IMAGE} y) {{
        two = Constant<value = float {{2.0}}>() a = Conv(x, w, "one.bias") b = Mul(a, two) y = Conv(b, w2, "two.bias") }}"""
    zeros = {"one.bias": np.zeros(4), "two.bias": np.zeros(4)}
    model = onnx_model(text, {"w": (4, 4, 1, 1), "w2": (4, 4, 1, 1), **zeros})
    for node, module in zip(model.graph.node, ("", "enc.0.first", None, "enc.0.second"), strict=True):
        if module is not None:
            node.metadata_props.add(key=SCOPES, value=str(["", module, "op"]))
    found = canonical(model, None, "net")
    assert names(found) == ["enc.0/first/conv", "enc.0/mul", "enc.0/second/conv"]
    assert {tensor.name for tensor in found.graph.initializer} >= {"w", "w2", "one.bias", "two.bias"}
    assert [entry.domain for entry in found.opset_import] == [""]


def scoped(modules: list[str | None]) -> onnx.ModelProto:
    """A chain of Relu, each from a module; None stands for a node that the exporter inserted."""
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"], name=f"node_{i}") for i in range(len(modules))]
    for node, module in zip(nodes, modules, strict=True):
        if module is not None:
            node.metadata_props.add(key=SCOPES, value=str(["", module, "relu"]))
    value = [helper.make_tensor_value_info(name, 1, [1, 4, 8, 8]) for name in ("t0", f"t{len(modules)}")]
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]), opset_imports=opset, ir_version=10)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["encoders.0.1.norm1"] * 3, ["encoders.0.1/norm1/relu", "encoders.0.1/norm1/relu_2", "encoders.0.1/norm1/relu_3"]),
        # nodes that the exporter inserted stay in the block, however many there are
        (["a.0.x", None, None, None], ["a.0/x/relu", "a.0/relu", "a.0/relu_2", "a.0/relu_3"]),
        (["a.0.x", None, "a.0.x", ""], ["a.0/x/relu", "a.0/relu", "a.0/x/relu_2", "relu"]),
        (["intro", None], ["intro/relu", "relu"]),
        ([None, None], ["node_0", "node_1"]),  # no modules at all: names stay
    ],
)  # fmt: skip
def test_nodes_are_named_after_modules(modules: list[str | None], expected: list[str]) -> None:
    model = canonical(scoped(modules), None, "net")
    assert names(model) == expected
    assert names(canonical(to_model(to_graph(model)), None, "net")) == expected  # reading it again changes nothing


def test_names_of_the_older_exporter() -> None:
    model = scoped([None, None, None])
    for node, name in zip(
        model.graph.node, ("/enc/enc.0/enc.0.1/norm1/Relu", "/enc/enc.0/enc.0.1/Relu", "/conv/Relu"), strict=True
    ):
        node.name = name
    assert names(canonical(model, None, "net")) == ["enc.0.1/norm1/relu", "enc.0.1/relu", "conv/relu"]


def test_names_are_unique_whatever_they_were() -> None:
    model = scoped([None] * 4)
    for node, name in zip(model.graph.node, ("same", "same", "same_2", ""), strict=True):
        node.name = name
    found = names(canonical(model, None, "net"))
    assert len(set(found)) == 4
    assert found[0] == "same"


def test_module_path() -> None:
    assert module_path("encoders.0.1.norm1") == "encoders.0.1/norm1"
    assert module_path("encoders.0.1/norm1") == "encoders.0.1/norm1"
    assert module_path("intro") == "intro"


def test_check_same_detects_a_changed_weight() -> None:
    original = onnx_model(DYNAMIC.replace("N, 4, H, W", "1, 4, 8, 8"), WEIGHTS)
    model = canonical(original, None, "net")
    assert check_same(model, original, "net") < 1e-6
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    values = numpy_helper.to_array(changed.graph.initializer[0]) * np.float32(1.01)
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.raises(
        GraphoptError, match=r"net: the canonical graph differs from the original by .*e-0[23] \(allowed 1e-05\)"
    ):
        check_same(changed, original, "net")


def test_check_same_of_a_network_with_dynamic_shapes() -> None:
    original = onnx_model(DYNAMIC, WEIGHTS)
    model = canonical(original, (8, 12), "net")
    fix_shapes(original, (8, 12), "net")
    assert check_same(model, original, "net") < 1e-6


def test_the_graph_and_back(nafnet_graph) -> None:
    model = to_model(nafnet_graph)
    onnx.checker.check_model(model, full_check=True)
    again = to_graph(model)
    assert kinds(again) == kinds(nafnet_graph)
    assert all(tensor.shape is not None for tensor in again.tensors().values())
    image = random_image(1, 3, 16, 16)
    np.testing.assert_array_equal(run(again, image), run(nafnet_graph, image))


def test_an_export_leaves_the_model_as_it_was(nafnet_graph) -> None:
    model = to_model(nafnet_graph)
    before, graph = model.SerializeToString(), to_graph(model)
    for name, tensor in list(graph.tensors().items()):
        tensor.name = f"{name}_renamed"
    to_model(graph)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("said", ["num_outputs", "sizes"])
def test_a_split_that_says_less_than_it_has_outputs(said: str) -> None:
    """onnx's shape inference would end the process."""
    split = "Split<axis = 1, num_outputs = 1>(x)" if said == "num_outputs" else "Split<axis = 1>(x, sizes)"
    model = onnx_model(
        f"({IMAGE} x) => (float[1, 2, 8, 8] y) {{ a, b = {split} y = Mul(a, b) }}", {"sizes": np.array([4])}
    )
    with pytest.raises(GraphoptError, match=r"net: Split \(\) says 1 parts, but has 2 outputs; export it again"):
        canonical(model, None, "net")
