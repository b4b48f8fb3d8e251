"""Channel LayerNorm in every spelling: each pass of norms finds its site, and what is exact stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.clipped_norm import ClippedNorm
from graphopt.passes.fp16_safe_norm import Fp16SafeNorm
from graphopt.passes.fused_layer_norm import FusedLayerNorm
from graphopt.passes.plain_layer_norm import PlainLayerNorm
from graphopt.passes.rms_norm import RmsNorm
from graphopt.passes.strided_norm import StridedNorm
from graphs import difference, kinds, network, onnx_model, random_image, rewritten, run
from norm_spellings import (
    IN_SINGLE_OPS,
    LAYER_NORMALIZATION,
    OTHER_NORMS,
    ROWS_IN_SINGLE_OPS,
    SPELLINGS,
    Spelling,
)

from graphopt import Contract, GraphView, Pass
from graphopt.idioms import channel_layer_norm

TUNED = (AffineNorm(), ClippedNorm(), RmsNorm(), StridedNorm())
IMAGES = [random_image(1, 4, 8, 6, seed=seed) for seed in (1, 2)]
REFUSED = {
    **{(name, "fused-layer-norm"): "it is a LayerNormalization already" for name in LAYER_NORMALIZATION},
    **{(name, "plain-layer-norm"): "it is in single ops already" for name in IN_SINGLE_OPS},
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_the_spelling_is_the_norm_that_is_meant(spelling: Spelling) -> None:
    model = onnx_model(spelling.text, spelling.weights, opset=spelling.opset)
    assert difference(run(model, IMAGES[0]), spelling.expected(IMAGES[0])) < 1e-6


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_the_whole_norm_is_one_site(spelling: Spelling) -> None:
    graph = network(spelling.text, spelling.weights, opset=spelling.opset)
    (site,) = GraphView(graph).find(channel_layer_norm)
    assert set(site.nodes) == {node.name for node in graph.nodes}
    assert (site.inputs, site.outputs) == ({"x": "x"}, {"output": "y"})
    assert ("weight" in site.constants, "bias" in site.constants) == (spelling.scale, spelling.shift)


@pytest.mark.parametrize("rule", [*TUNED, Fp16SafeNorm(), FusedLayerNorm(), PlainLayerNorm()], ids=lambda r: r.name)
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_pass_finds_the_norm(name: str, rule: Pass) -> None:
    spelling = SPELLINGS[name]
    graph = network(spelling.text, spelling.weights, opset=spelling.opset)
    view = GraphView(graph)
    sites = list(rule.sites(view))
    reason = REFUSED.get((name, rule.name))
    if reason is not None:
        assert (sites, [why for _, why in view.refused][:1]) == ([], [reason])
        return
    assert [len(site.nodes) for site in sites] == [len(graph.nodes)]
    found = run(rewritten(graph, rule, IMAGES), IMAGES[0])  # the contract is checked on the way
    if rule.contract is Contract.EXACT:
        assert difference(found, spelling.expected(IMAGES[0])) < 1e-5


def test_what_passes_leave_of_a_norm_of_two_subs() -> None:
    spelling = SPELLINGS["two subs"]
    graph = network(spelling.text, spelling.weights)
    assert kinds(rewritten(graph, AffineNorm(), IMAGES)) == ["Mul", "Add"]
    assert kinds(rewritten(graph, FusedLayerNorm(), IMAGES)) == ["Transpose", "LayerNormalization", "Transpose"]


@pytest.mark.parametrize("name", ROWS_IN_SINGLE_OPS)
def test_rows_in_single_ops_lose_their_transposes(name: str) -> None:
    spelling = SPELLINGS[name]
    after = rewritten(network(spelling.text, spelling.weights), PlainLayerNorm(), IMAGES)
    assert "Transpose" not in kinds(after)


def test_one_weight_for_all_channels() -> None:
    """ONNX lets a LayerNormalization have a weight of one element."""
    one = {"w": np.array([2], np.float32), "b": np.array([0.5], np.float32)}
    spelling = SPELLINGS["permuted"]
    graph = network(spelling.text, one)
    for rule in (Fp16SafeNorm(), PlainLayerNorm()):
        assert difference(run(rewritten(graph, rule, IMAGES), IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


@pytest.mark.parametrize("spelling", OTHER_NORMS.values(), ids=OTHER_NORMS)
def test_other_norms_are_none_of_the_channels(spelling: Spelling) -> None:
    graph = network(spelling.text, spelling.weights, opset=spelling.opset)
    assert GraphView(graph).find(channel_layer_norm) == []


def test_transposes_that_do_not_undo_each_other_are_no_norm() -> None:
    body = SPELLINGS["width first"].body.replace(
        "y = Transpose<perm = [0, 3, 2, 1]>", "y = Transpose<perm = [0, 3, 1, 2]>"
    )
    text = f"(float[1, 4, 8, 6] x) => (float[1, 4, 6, 8] y) {{ {body} }}"
    assert GraphView(network(text, SPELLINGS["width first"].weights)).find(channel_layer_norm) == []


def test_a_variance_that_is_put_back_turned_is_no_norm() -> None:
    spelling = SPELLINGS["variance of torch"]
    text = f"(float[1, 4, 8, 8] x) => (float[8, 4, 8, 8] y) {{ {spelling.body} }}"
    graph = network(text, {**spelling.weights, "kept": np.array([8, 1, 8, 1])})
    assert GraphView(graph).find(channel_layer_norm) == []


def test_a_norm_of_a_signal_is_none_of_an_image() -> None:
    text = SPELLINGS["two subs"].text.replace("[1, 4, 8, 6]", "[1, 4, 8]")
    view = GraphView(network(text, {**SPELLINGS["two subs"].weights, "w": (4, 1), "b": (4, 1)}))
    assert view.find(channel_layer_norm) == []
    assert "shapes: expected a tensor of 4 dimensions, found ReduceMean of" in view.near_misses()[0][1].reason
