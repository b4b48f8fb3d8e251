"""Explanations: every site, every refusal, every near-match, and the first thing that did not fit there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from graphs import NORM_CONSTANTS, Call, layer_norm, network, norm_weights

from graphopt.ir.canonical import to_model
from graphopt.ir.explain import NearMatch, explain
from graphopt.ir.registry import load_pass

IMAGE = "float[1, 4, 8, 8]"
NORMS = f"""({IMAGE} x) => ({IMAGE} y) {{
    {layer_norm("x", "a", "first.0.norm")}
    {layer_norm("a", "y", "second.0.norm").replace("y_c, y_sd", "a, y_sd")}
}}"""
WEIGHTS = {**NORM_CONSTANTS, **norm_weights("first.0.norm", 4), **norm_weights("second.0.norm", 4)}


@pytest.fixture
def norms() -> gs.Graph:
    """A channel LayerNorm, and one that divides what it should have centred."""
    return network(NORMS, WEIGHTS)


def test_matches_and_near_matches(norms: gs.Graph) -> None:
    found = explain(load_pass("affine-norm", {}, Path()), norms)
    assert [site.name for site in found.sites] == ["first.0/norm"]
    assert found.refused == []
    assert found.near == [
        NearMatch(
            "second.0/norm/add_2", "channel_layer_norm", 3, 9, "second.0/norm/div", "operand 0", "Sub", "Add (first.0/norm/add_2)"
        ),
    ]  # fmt: skip


def test_refusals_of_what_fits(norms: gs.Graph) -> None:
    tensor = norms.tensors()["a_sq"]
    norms.nodes.append(gs.Node("Relu", "spy", {}, [tensor], [gs.Variable("z", np.float32, tensor.shape)]))
    norms.outputs.append(norms.nodes[-1].outputs[0])
    found = explain(load_pass("affine-norm", {}, Path()), norms)
    assert found.sites == []
    reason = "first.0/norm/pow, inside the site, is also used by spy"
    assert set(found.refused) == {(f"first.0/norm/{end}", reason) for end in ("add_2", "mul", "div")}


def test_a_network_without_anything_near(nafnet_graph: gs.Graph) -> None:
    found = explain(load_pass("transposed-upsample", {}, Path()), nafnet_graph)
    assert [site.name for site in found.sites] == ["ups.0"]
    assert (found.refused, found.near) == ([], [])


def test_the_command_as_json(call: Call, norms: gs.Graph, tmp_path: Path) -> None:
    onnx.save(to_model(norms), tmp_path / "norms.onnx")
    status, out, err = call("explain", "norms.onnx", "--pass", "affine-norm", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["pass"], found["model"]) == ("affine-norm", "norms.onnx")
    assert [site["name"] for site in found["sites"]] == ["first.0/norm"]
    assert found["sites"][0]["inputs"] == {"x": "x"}
    (near,) = found["near"]  # the same failure seen from an inner node is no other one
    assert near == {
        "anchor": "second.0/norm/add_2", "pattern": "channel_layer_norm", "fitted": 3, "size": 9,
        "node": "second.0/norm/div", "part": "operand 0", "expected": "Sub", "found": "Add (first.0/norm/add_2)",
    }  # fmt: skip


def test_the_command_for_people(call: Call, norms: gs.Graph, tmp_path: Path) -> None:
    onnx.save(to_model(norms), tmp_path / "norms.onnx")
    status, out, err = call("explain", "norms.onnx", "--pass", "affine-norm")
    assert (status, err) == (0, "")
    assert (
        out
        == """\
affine-norm in norms.onnx: 1 site
  first.0/norm: 9 nodes, first.0/norm/reducemean to first.0/norm/add_2
1 near-match, the nearest first
  second.0/norm/add_2: 3 of 9 nodes of channel_layer_norm fit
      at second.0/norm/div, operand 0: expected Sub, found Add (first.0/norm/add_2)
"""
    )


def test_a_pass_by_path_with_options(call: Call, nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    onnx.save(to_model(nafnet_graph), tmp_path / "net.onnx")
    path = Path(__file__).parents[2] / "examples" / "custom_pass" / "diagonal_attention.py"
    status, out, _ = call("explain", "net.onnx", "--pass", path, "--option", "gain=0.5")
    assert status == 0
    assert out.startswith("diagonal-attention in net.onnx: 3 sites\n  encoders.0.0/attention: 3 nodes, ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--pass", "affine"], "unknown pass 'affine'; did you mean 'affine-norm'?"),
        (["--pass", "partial-depthwise", "--option", "share"], "option 'share': expected KEY=VALUE, e.g. "),
        (["--pass", "partial-depthwise", "--option", "shar=1"], "unknown option 'shar'; did you mean 'share'?"),
        (["--pass", "partial-depthwise", "--option", "share=2"], "option 'share' is 2.0; expected a number between 0 and 1"),
        (["--pass", "partial-depthwise", "--option", "share=["], "option 'share=[': the value is not valid YAML"),
        (["--pass", "affine-norm", "--option", "a=1", "--option", "a=2"], "option 'a' is given twice"),
    ],
)  # fmt: skip
def test_mistakes(call: Call, arguments: list[str], expected: str) -> None:
    status, out, err = call("explain", "net.onnx", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
