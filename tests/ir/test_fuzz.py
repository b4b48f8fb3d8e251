"""Broken and odd models through canonical -> space -> rewrite -> save: what each is told, or the right result.

A mutated network that onnxruntime runs must go through, and compute the same; any other must be refused in words that
belong to its kind of fault and name the place.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.fold_affine import FoldAffine
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import NORM_CONSTANTS, layer_norm, norm_weights, onnx_model, random_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from graphopt import GraphoptError
from graphopt.ir.canonical import canonical, check_same, input_shape, read_onnx, to_graph, to_model
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.session import OnnxSession
from graphopt.ir.space_building import build_space

TEXT = f"""(float[1, 4, 8, 8] x) => (float[1, 2, 16, 16] y) {{
    {layer_norm("x", "n", "block.0.norm")}
    ["block.0/conv"] a = Conv<kernel_shape = [1, 1]>(n, w1, b1) ["block.0/mul"] m = Mul(a, beta)
    ["block.0/split"] p, q = Split<axis = 1, num_outputs = 2>(m) ["block.0/gate"] g = Mul(p, q)
    ["block.0/conv_2"] c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(g, w2, b2) ["block.0/add"] s = Add(c, x)
    ["up/conv"] u = Conv<kernel_shape = [1, 1]>(s, w3) ["up/shuffle"] y = DepthToSpace<blocksize = 2, mode = "CRD">(u)
}}"""
WEIGHTS = {
    **NORM_CONSTANTS, **norm_weights("block.0.norm", 4), "beta": (1, 8, 1, 1), "w1": (8, 4, 1, 1), "b1": (8,),
    "w2": (4, 4, 3, 3), "b2": (4,), "w3": (8, 4, 1, 1),
}  # fmt: skip
KINDS = ("drop", "rename", "retarget", "reshape", "attribute", "kind", "swap", "truncate")


def mutate(model: onnx.ModelProto, kind: str, data: st.DataObject) -> bytes:
    """One random change, as the bytes of a file."""
    graph = model.graph
    node = data.draw(st.sampled_from(range(len(graph.node))), "node")
    tensors = sorted({name for n in graph.node for name in (*n.input, *n.output)})
    chosen = graph.node[node]
    if kind == "drop":
        del graph.node[node]
    elif kind == "rename":
        chosen.output[0] = data.draw(st.sampled_from([*tensors, "fresh", ""]), "name")
    elif kind == "retarget":
        position = data.draw(st.integers(0, len(chosen.input) - 1), "operand")
        chosen.input[position] = data.draw(st.sampled_from([*tensors, "nothing", ""]), "name")
    elif kind == "reshape":
        tensor = graph.initializer[data.draw(st.integers(0, len(graph.initializer) - 1), "initialiser")]
        values = numpy_helper.to_array(tensor)
        shape: Any = data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1, 1), (1, 1, 1, -1), (1, -1, 1, 1)]), "shape")
        tensor.CopyFrom(numpy_helper.from_array(values.reshape(shape), tensor.name))
    elif kind == "attribute" and chosen.attribute:
        attribute = chosen.attribute[data.draw(st.integers(0, len(chosen.attribute) - 1), "attribute")]
        if attribute.ints:
            attribute.ints[0] = data.draw(st.integers(-1, 4), "value")
        else:
            attribute.i = data.draw(st.integers(-4, 4), "value")
    elif kind == "kind":
        chosen.op_type = data.draw(st.sampled_from(["Relu", "Add", "Mul", "Div", "Sub", "Identity", "NoSuchOp"]), "op")
    elif kind == "swap":
        operands = list(chosen.input)[::-1]
        del chosen.input[:]
        chosen.input.extend(operands)
    content = model.SerializeToString()
    return content[: data.draw(st.integers(0, len(content)), "length")] if kind == "truncate" else content


def rewritten(path: Path) -> onnx.ModelProto:
    """What the pipeline does to a file, without the search: every exact candidate and clean-up, saved and loaded."""
    original = read_onnx(path)
    model = canonical(original, None, path.name)
    check_same(model, original, path.name)
    images = [random_image(*input_shape(model), seed=seed) for seed in (1, 2)]
    rules = [AffineNorm(), TransposedUpsample()]
    space = build_space(to_graph(model), rules, images, [], lambda share, text: None)
    exact = {name: "transposed-upsample" for name, c in space.choices.items() if "transposed-upsample" in c.candidates}
    graph = apply_selection(space, exact)
    rewrite_everywhere(graph, [FoldAffine()])
    saved = path.with_name("saved.onnx")
    onnx.save(to_model(graph), saved)
    onnx.checker.check_model(onnx.load(saved))
    return onnx.load(saved)


FILE = r"mutated\.onnx is not a valid ONNX file: "
SIZE = r"mutated\.onnx: the graph does not compute with an input of 1x4x8x8: .*node name: "
RUN = r"mutated\.onnx, with an input of 1x4x8x8: onnxruntime (does not accept|cannot run) the graph: .*"
EARLIER = FILE + "Nodes in a graph must be topologically sorted, however input '.+' of node: name: "
MISSING = FILE + r"Node \(.+\)'s (in|out)put \d is marked single but has an empty string"
NO_OUTPUT = FILE + "Graph output 'y' is not an output of any node"
NOT_FINITE = (
    r"(mutated\.onnx: its output has|.+, an activation of the network itself, is not|network's output has) .*finite"
)
# What a broken network may be told, by what was done to it: always with the node, or the tensor.
SAID = {
    "drop": [EARLIER, NO_OUTPUT],
    "rename": [EARLIER, MISSING, NO_OUTPUT, FILE + r".*single static assignment \(SSA\) form, however '.+' has been used"],
    "retarget": [EARLIER, MISSING, SIZE, RUN + "[Nn]ode", NOT_FINITE],
    "reshape": [SIZE, RUN + "[Nn]ode"],
    "attribute": [SIZE, FILE + "type field and data field mismatch in attribute .* Name: ", r"mutated\.onnx: Split \(.+\) says"],
    "kind": [SIZE, RUN + "[Nn]ode", NOT_FINITE, FILE + "(No Op registered for NoSuchOp|Unrecognized attribute: .*) .*Name: ",
             FILE + r"Node ?\(.+\) with schema\(.*\) has (in|out)put size"],
    "swap": [SIZE, RUN + "([Nn]ode|operator)", NOT_FINITE],
    "truncate": [FILE + "Error parsing message", FILE + "(The )?model (does not have an ir_version|with IR version)"],
}  # fmt: skip


def computes(content: bytes) -> bool:
    """Whether onnx accepts the network, and onnxruntime runs it, as it is written, on each of the images."""
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
        session = OnnxSession(model, threads=1, optimise=False)
        found = [session.run(random_image(*input_shape(model), seed=seed)) for seed in (0, 1, 2)]
    except Exception:
        return False
    return all(value.shape == (1, 2, 16, 16) and np.isfinite(value).all() for value in found)


def check(data: st.DataObject) -> None:
    model = onnx_model(TEXT, WEIGHTS)
    model.graph.name = "fuzzed"
    kind = data.draw(st.sampled_from(KINDS), "kind")
    content = mutate(model, kind, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.onnx"
        path.write_bytes(content)
        found, said = None, ""
        try:
            found = rewritten(path)
        except GraphoptError as error:
            said = str(error)
    if found is None:
        assert any(re.search(words, said) for words in SAID[kind]), said
        # Of a Split that says less than it has outputs, onnxruntime ends the process.
        assert re.search(r"Split \(.+\) says", said) or not computes(content), f"it computes, but was refused: {said}"
        assert "\n" not in said
        return
    mutated = onnx.load_from_string(content)
    image = random_image(*input_shape(found))
    expected, result = OnnxSession(mutated, threads=1).run(image), OnnxSession(found, threads=1).run(image)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=1e-3 * max(float(np.abs(expected).max()), 1e-6))


quiet = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


@settings(max_examples=100, **quiet)
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    check(data)


@pytest.mark.slow
@settings(max_examples=1000, **{**quiet, "derandomize": False})
@given(st.data())
def test_many_mutations(data: st.DataObject) -> None:
    check(data)


def test_the_model_without_a_mutation(tmp_path: Path) -> None:
    """The network that is mutated has sites of every pass, and is rewritten rightly as it is."""
    model = onnx_model(TEXT, WEIGHTS)
    onnx.save(model, tmp_path / "net.onnx")
    found = rewritten(tmp_path / "net.onnx")
    kinds = [node.op_type for node in found.graph.node]
    assert "ConvTranspose" in kinds
    assert "DepthToSpace" not in kinds
    assert kinds.count("Add") == 2  # epsilon and the skip: the norm's shift is folded
    image = random_image(1, 4, 8, 8)
    expected = OnnxSession(model, threads=1).run(image)
    np.testing.assert_allclose(OnnxSession(found, threads=1).run(image), expected, atol=1e-5)


def edited(edit: Callable[[onnx.GraphProto], object]) -> bytes:
    model = onnx_model(TEXT, WEIGHTS)
    edit(model.graph)
    return model.SerializeToString()


def node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(found for found in graph.node if found.name == name)


def initialiser(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(found for found in graph.initializer if found.name == name)


def reshaped(tensor: onnx.TensorProto, *shape: int) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).reshape(shape), tensor.name))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda g: g.node.remove(node(g, "block.0/split")),
         "DIR/net.onnx is not a valid ONNX file: Nodes in a graph must be topologically sorted, however input 'p' of node: "
         "name: block.0/gate OpType: Mul is not output of any previous nodes; export it again"),
        (lambda g: node(g, "block.0/mul").output.__setitem__(0, "a"),
         "DIR/net.onnx is not a valid ONNX file: Graph must be in single static assignment (SSA) form, however 'a' has been "
         "used as output names multiple times; export it again"),
        (lambda g: node(g, "up/conv").input.__setitem__(0, "nothing"),
         "DIR/net.onnx is not a valid ONNX file: Nodes in a graph must be topologically sorted, however input 'nothing' of "
         "node: name: up/conv OpType: Conv is not output of any previous nodes; export it again"),
        (lambda g: setattr(node(g, "block.0/norm/sqrt"), "op_type", "NoSuchOp"),
         "DIR/net.onnx is not a valid ONNX file: No Op registered for NoSuchOp with domain_version of 20 - Bad node spec for "
         "node. Name: block.0/norm/sqrt OpType: NoSuchOp; export it again"),
        (lambda g: reshaped(initialiser(g, "w2"), 4, 3, 4, 3),
         "net.onnx, with an input of 1x4x8x8: onnxruntime cannot run the graph: [ONNXRuntimeError] : 1 : FAIL : Non-zero "
         "status code returned while running Conv node. Name:'block.0/conv_2' "),
        (lambda g: setattr(node(g, "up/shuffle").attribute[0], "i", 0),
         "net.onnx: the graph does not compute with an input of 1x4x8x8: [ShapeInferenceError] Inference error(s): "
         "(op_type:DepthToSpace, node name: depthtospace): [ShapeInferenceError] Blocksize must be positive"),
        (lambda g: initialiser(g, "b2").CopyFrom(numpy_helper.from_array(np.full(4, np.inf, np.float32), "b2")),
         "net.onnx: its output has values that are not finite on a random image; check its weights"),
    ],
    ids=["dropped", "named twice", "nothing", "no such op", "wrong shape", "wrong attribute", "infinite"],
)  # fmt: skip
def test_what_a_broken_network_is_told(
    edit: Callable[[onnx.GraphProto], object], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(edited(edit))
    with pytest.raises(GraphoptError) as error:
        rewritten(tmp_path / "net.onnx")
    assert str(error.value).replace(str(tmp_path), "DIR").startswith(expected)


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda g: node(g, "block.0/norm/add_2").input.__setitem__(0, "n_n"), "Add"),  # the norm without its scale
        (lambda g: setattr(node(g, "block.0/gate"), "op_type", "Add"), "Add"),
        (lambda g: setattr(node(g, "block.0/norm/div"), "op_type", "Mul"), "Mul"),
        (lambda g: reshaped(initialiser(g, "beta"), 8, 1, 1), "ConvTranspose"),
        (lambda g: node(g, "block.0/add").input.__setitem__(1, "n"), "ConvTranspose"),
    ],
    ids=["no scale", "sum of halves", "product with the root", "no batch", "another skip"],
)
def test_an_odd_network_goes_through(edit: Callable[[onnx.GraphProto], object], kind: str, tmp_path: Path) -> None:
    content = edited(edit)
    assert computes(content)
    (tmp_path / "net.onnx").write_bytes(content)
    found = rewritten(tmp_path / "net.onnx")
    assert kind in [node.op_type for node in found.graph.node]
    image = random_image(1, 4, 8, 8)
    expected = OnnxSession(onnx.load_from_string(content), threads=1).run(image)
    np.testing.assert_allclose(OnnxSession(found, threads=1).run(image), expected, atol=1e-5 * np.abs(expected).max())
