"""Whatever an ONNX file may look like: the engine reads it, and changes nothing that it was not asked to change."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from graphopt.passes.fold_affine import FoldAffine
from graphs import difference, onnx_model, random_image, run

from graphopt.ir.canonical import canonical, check_same, read_onnx, to_graph, to_model
from graphopt.ir.rewriting import rewrite_everywhere

IMAGE = "float[1, 4, 8, 8]"
X_TO_Y = f"({IMAGE} x) => ({IMAGE} y)"
X = random_image(1, 4, 8, 8)
SCALED = "a = Conv<kernel_shape = [1, 1]>(x, w, b) y = Mul(a, s)"
WEIGHTS = {"w": (4, 4, 1, 1), "b": (4,), "s": (1, 4, 1, 1)}


def folded(model: onnx.ModelProto, edits: int) -> onnx.ModelProto:
    graph = to_graph(canonical(model, None, "net"))
    assert rewrite_everywhere(graph, [FoldAffine()]) == {"fold-affine": edits}
    found = to_model(graph)
    onnx.checker.check_model(found, full_check=True)
    assert difference(run(found, X), run(model, X)) < 1e-6
    return found


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_opset(opset: int) -> None:
    folded(onnx_model(f"{X_TO_Y} {{ {SCALED} }}", WEIGHTS, opset=opset), 1)


def test_external_data(tmp_path: Path) -> None:
    model = onnx_model(f"{X_TO_Y} {{ {SCALED} }}", WEIGHTS)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    assert (tmp_path / "net.bin").stat().st_size > 0
    found = read_onnx(tmp_path / "net.onnx")
    assert check_same(canonical(found, None, "net"), onnx_model(f"{X_TO_Y} {{ {SCALED} }}", WEIGHTS), "net") == 0
    folded(found, 1)


def test_an_initialiser_of_two_nodes_is_changed_for_neither() -> None:
    text = f"{X_TO_Y} {{ a = Conv(x, w, b) r = Mul(a, s) c = Relu(r) y = Conv(c, w, b) }}"
    found = folded(onnx_model(text, WEIGHTS), 1)
    assert {tensor.name for tensor in found.graph.initializer} >= {"w", "b"}


def test_constants_as_nodes_and_chains_of_identities() -> None:
    text = f"""{X_TO_Y} {{ i = Identity(x) j = Identity(i) a = Conv(j, w, b) k = Identity(a)
        t = Constant<value = float[1, 4, 1, 1] {{2.0, 3.0, 4.0, 5.0}}>() u = Identity(t) y = Mul(k, u) }}"""
    found = folded(onnx_model(text, WEIGHTS), 1)
    assert [node.op_type for node in found.graph.node] == ["Conv"]


def test_subgraphs_are_left_alone() -> None:
    text = f"""({IMAGE} x) => ({IMAGE} y) {{
        a = Conv(x, w, b) m = Mul(a, s) t = ReduceMax<keepdims = 0>(x) zero = Constant<value = float {{0.0}}>()
        c = Greater(t, zero)
        d = If(c) <then_branch = then () => ({IMAGE} p) {{ q = Conv(m, w, b) p = Mul(q, s) }},
                   else_branch = otherwise () => ({IMAGE} n) {{ n = Neg(m) }}>
        y = Relu(d) }}"""
    model = onnx_model(text, WEIGHTS)
    found = folded(model, 1)
    before, after = (next(n for n in m.graph.node if n.op_type == "If") for m in (model, found))
    kinds = [[[n.op_type for n in a.g.node] for a in node.attribute] for node in (before, after)]
    assert kinds[0] == kinds[1] == [["Conv", "Mul"], ["Neg"]]


def test_metadata_and_unrelated_parts_survive() -> None:
    text = f"({IMAGE} x, {IMAGE} u) => ({IMAGE} y, {IMAGE} z) {{ {SCALED} z = Sigmoid(u) }}"
    model = onnx_model(text, WEIGHTS)
    model.producer_name, model.doc_string = "somebody", "a network"
    model.metadata_props.add(key="licence", value="free")
    graph = to_graph(canonical(model, None, "net"))
    rewrite_everywhere(graph, [FoldAffine()])
    found = to_model(graph)
    assert [value.name for value in found.graph.input] == ["x", "u"]
    assert [value.name for value in found.graph.output] == ["y", "z"]
    assert [node.op_type for node in found.graph.node] == ["Conv", "Sigmoid"]
    assert {entry.key: entry.value for entry in found.metadata_props} == {"licence": "free"}
    assert (found.producer_name, found.doc_string) == ("somebody", "a network")
