"""Files that users take away: what they differ by, and what is said of a network that half precision cannot hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from graphs import onnx_model

from graphopt.ir.canonical import canonical
from graphopt.run.exports import write_exports
from graphopt.run.folder import RunFolder

TEXT = """(float[1,3,8,8] x) => (float[1,3,8,8] y) {
    ["head"] a = Conv(x, w) ["up"] b = Mul(a, k) ["square"] c = Mul(b, b) ["root"] d = Sqrt(c) ["tail"] y = Div(d, k) }"""


def network(gain: float) -> onnx.ModelProto:
    weights = {"w": np.eye(3, dtype=np.float32)[:, :, None, None], "k": np.float32(gain)}
    return canonical(onnx_model(TEXT, weights), None, "network")


def exported(gain: float, folder: Path) -> tuple[dict[str, float], str]:
    (folder / "deploy").mkdir()
    image = np.random.default_rng(0).uniform(0.5, 1, (1, 3, 8, 8)).astype(np.float32)
    return write_exports(network(gain), image, RunFolder(folder))


def halves(folder: Path) -> set[str]:
    """Nodes of the fp16 file that compute in half precision."""
    made = onnx.load(next(folder.rglob("model.fp16.onnx")))
    kinds = {value.name: value.type.tensor_type.elem_type for value in made.graph.value_info}
    return {node.name for node in made.graph.node if kinds.get(node.output[0]) == onnx.TensorProto.FLOAT16}


def test_what_half_precision_holds_is_halved(tmp_path: Path) -> None:
    differences, note = exported(16, tmp_path)
    assert note == ""
    assert differences.keys() == {"model.fp16.onnx"}
    assert differences["model.fp16.onnx"] < 2e-3
    assert halves(tmp_path) >= {"head", "up", "square", "root"}


def test_the_layer_that_half_precision_does_not_hold_is_named_and_stays(tmp_path: Path) -> None:
    differences, note = exported(1000, tmp_path)
    assert differences["model.fp16.onnx"] < 2e-3
    assert note.startswith(
        "model.fp16.onnx keeps 2 nodes in fp32: fp16 holds 65504 at most, and node square (Mul) reaches 9.9"
    )
    assert "scale what these nodes read down" in note
    assert {"head", "up"} <= halves(tmp_path)
    assert not {"square", "root"} & halves(tmp_path)
