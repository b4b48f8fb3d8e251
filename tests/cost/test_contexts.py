"""Contexts: what surrounds a site, that it computes what the network computes there, and which are priced once."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import difference, inner, nafnet, network, random_image, space_of
from priced_space import CLEANUPS, IMAGES, by_hand, priced_space, rule

from graphopt.cost.contexts import Context, candidate_contexts
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.session import OnnxSession
from graphopt.ir.space import Space


def contexts(space: Space, cleanups: bool = True) -> list[Context]:
    return list(candidate_contexts(space, CLEANUPS if cleanups else []))


def test_every_option_has_one_and_keep_comes_first() -> None:
    space = priced_space()
    found = contexts(space)
    options = [(choice.name, option) for choice in space.choices.values() for option in choice.options]
    assert [(context.choice, context.option) for context in found] == options
    assert [context.share for context in found] == pytest.approx([i / 6 for i in range(1, 7)])


def test_they_are_the_site_and_what_folds_or_fuses_with_it() -> None:
    """A scale that folds is gone: the norm's own, that of affine-norm and that of static-attention."""
    written = by_hand()
    found = {(c.choice, c.option): [node.op_type for node in c.model.graph.node] for c in contexts(priced_space())}
    assert found == {key: [node.op_type for node in model.graph.node] for key, model in written.items()}


@pytest.mark.parametrize("cleanups", [False, True])
def test_they_compute_what_the_network_computes_there(cleanups: bool) -> None:
    """With the tensors that the network has at the context's inputs, its outputs are those of the rewritten network."""
    space = priced_space()
    for context in contexts(space, cleanups):
        (given,), (made,) = context.model.graph.input, context.model.graph.output
        value = IMAGES[0] if given.name == "x" else inner(space.graph, IMAGES[0], given.name)[0]
        found = OnnxSession(context.model).run(value)
        chosen = apply_selection(space, {context.choice: context.option})
        (expected,) = inner(chosen, IMAGES[0], made.name)
        assert difference(found, expected) < 1e-5, (context.choice, context.option)


def test_contexts_of_one_shape_share_a_key_and_a_model() -> None:
    """Encoder and decoder have blocks of one shape, the middle has another; the two norms lie before other ops."""
    graph = nafnet()
    space = space_of(graph, [rule("affine-norm")], [random_image(1, 3, 16, 16)])
    found = {(c.choice, c.option): c for c in contexts(space)}
    assert len(found) == 12
    assert len({c.key for c in found.values()}) == 8
    for norm in ("norm1", "norm2"):
        for option in ("keep", "affine-norm"):
            first, other, middle = (
                found[f"{block}/{norm}", option] for block in ("encoders.0.0", "decoders.0.0", "middle_blks.0")
            )
            assert first.key == other.key != middle.key
            assert first.model is other.model


def test_what_is_read_outside_makes_another_context() -> None:
    """Both attentions have one weight, whose values were read before: only connections and shapes count."""
    text = """(float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) {
        ["a.0/globalaveragepool"] p = GlobalAveragePool(x) ["a.0/conv"] t = Conv(p, w1, b1) ["a.0/mul"] z = Mul(x, t)
        ["a.1/conv"] c = Conv(z, w2, b2)
        ["b.0/globalaveragepool"] q = GlobalAveragePool(c) ["b.0/conv"] u = Conv(q, w1, b1) ["b.0/mul"] v = Mul(c, u)
        ["b.1/conv"] d = Conv(v, w2, b2) ["add"] y = Add(d, READ) }"""
    weights = {"w1": (8, 8, 1, 1), "b1": (8,), "w2": (8, 8, 1, 1), "b2": (8,)}

    def keys(read: str) -> list[str]:
        graph = network(text.replace("READ", read), weights)
        graph.tensors()["w1"].values  # noqa: B018 - reads the weight, as statistics and rewrites do
        space = space_of(graph, [rule("two-step-pool")], [random_image(1, 8, 16, 16)])
        return [c.key for c in contexts(space) if c.option == "keep"]

    assert len(set(keys("x"))) == 1
    assert len(set(keys("t"))) == 2  # the first attention is stored, so that nothing fuses behind it


def test_candidates_that_differ_are_not_priced_as_one() -> None:
    """A bias for each sub-pixel is a plane behind the transposed convolution; one for each channel is its own bias."""
    text = """(float[1, 8, 6, 6] x) => (float[1, 3, 12, 12] y, float[1, 3, 12, 12] z) {
        ["a.0/conv"] a = Conv(x, w, even) ["a.0/depthtospace"] b = DepthToSpace<blocksize = 2, mode = "CRD">(a)
        ["c.0/conv"] c = Conv(x, w, uneven) ["c.0/depthtospace"] d = DepthToSpace<blocksize = 2, mode = "CRD">(c)
        ["relu"] y = Relu(b) ["relu_2"] z = Relu(d) }"""
    graph = network(text, {"w": (12, 8, 1, 1), "even": np.ones(12), "uneven": (12,)})
    found = contexts(space_of(graph, [rule("transposed-upsample")], [random_image(1, 8, 6, 6)]))
    kept = [c for c in found if c.option == "keep"]
    assert kept[0].key == kept[1].key
    ops = [[node.op_type for node in c.model.graph.node] for c in found if c.option == "transposed-upsample"]
    assert ops == [["ConvTranspose", "Relu"], ["ConvTranspose", "Add", "Relu"]]
