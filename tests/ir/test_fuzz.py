"""Broken and odd models through canonical -> space -> rewrite -> save: one clear error, or the right result."""

from __future__ import annotations

import tempfile
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


def check(data: st.DataObject) -> None:
    model = onnx_model(TEXT, WEIGHTS)
    model.graph.name = "fuzzed"
    content = mutate(model, data.draw(st.sampled_from(KINDS), "kind"), data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.onnx"
        path.write_bytes(content)
        try:
            found = rewritten(path)
        except GraphoptError:
            return
        image = random_image(*input_shape(found))
        mutated = onnx.load(path)
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
