"""Contracts are checked numerically, and a broken one names the pass, the site and the largest difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.fold_affine import FoldAffine
from graphopt.passes.transposed_upsample import TransposedUpsample
from graphs import difference, network, random_image, run

from graphopt import Contract, GraphoptError, Pass, Stage, op, pattern, per_channel
from graphopt.idioms import channel_attention
from graphopt.ir.build import Build
from graphopt.ir.canonical import to_model
from graphopt.ir.exactness import check_in_double, check_sites
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import apply_selection, build_fragment
from graphopt.ir.sites import Site
from graphopt.ir.space_building import build_space, prepare
from graphopt.ir.statistics import collect
from graphopt.ir.verification import check_cleanups, check_contract
from graphopt.ir.view import GraphView

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_pass"
TEXT = """(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
    ["block.0/relu"] a = Relu(x) ["block.0/scale/mul"] b = Mul(a, "block.0.scale") y = Add(b, x) }"""
SCALED = pattern(lambda x: op.Mul(x, per_channel("scale")))


def graph() -> gs.Graph:
    return network(TEXT, {"block.0.scale": (1, 3, 1, 1)}, seed=3)


def silent(share: float, text: str) -> None: ...


@dataclass(frozen=True)
class Scale(Pass):
    """x * s  ->  whatever `rewriting` makes of it."""

    name: ClassVar[str] = "my-scale"
    contract: ClassVar[Contract] = Contract.TUNED

    rewriting: Callable[[Site, Build], Any] = field(repr=False)

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(SCALED, label="scale")

    def rewrite(self, site: Site, build: Build) -> object:
        return self.rewriting(site, build)


@dataclass(frozen=True)
class ExactScale(Scale):
    contract: ClassVar[Contract] = Contract.EXACT


@dataclass(frozen=True)
class NearScale(Scale):
    contract: ClassVar[Contract] = Contract.APPROXIMATE
    tolerance: ClassVar[float] = 0.05


def times(factor: float) -> Callable[[Site, Build], Any]:
    return lambda site, build: build.mul(build.input("x"), build.parameter("s", build.values("scale") * factor))


def space_of(rule: Pass, images: list[np.ndarray]):
    return build_space(graph(), [rule], images, [], silent)


def check(rule: Pass) -> float:
    view = GraphView(graph())
    (site,) = rule.sites(view)
    return check_contract(rule, site, build_fragment(rule, site, view, None), view.regions, set())


def test_the_difference_is_relative_to_the_largest_value() -> None:
    assert check(ExactScale(times(1))) == 0
    assert check(Scale(times(1.01))) == pytest.approx(0.01, rel=1e-3)


def test_exact_allows_rounding_only() -> None:
    thirds = ExactScale(
        lambda site, build: build.mul(
            build.mul(build.input("x"), 3), build.parameter("s", build.values("scale") / np.float32(3))
        )
    )
    assert 0 < check(thirds) < 2e-5
    with pytest.raises(GraphoptError) as caught:
        check(ExactScale(times(1.001)))
    message = str(caught.value)
    assert message.startswith(
        "pass my-scale at site block.0/scale: the contract is 'exact', but the rewrite differs by 1.00e-03 relative"
    )
    assert "allowed 2e-05" in message


def test_exact_is_checked_when_the_space_is_built(images: list[np.ndarray]) -> None:
    assert list(space_of(ExactScale(times(1)), images).choices) == ["block.0/scale"]
    with pytest.raises(GraphoptError, match="pass my-scale at site block.0/scale: the contract is 'exact'"):
        space_of(ExactScale(times(1.001)), images)


def test_tuned_allows_any_finite_value_of_the_right_shape(images: list[np.ndarray]) -> None:
    assert list(space_of(Scale(times(-7)), images).choices) == ["block.0/scale"]


@pytest.mark.parametrize(("factor", "fits"), [(1.01, True), (1.5, False)])
def test_approximate_is_checked_on_the_whole_network(factor: float, fits: bool, images: list[np.ndarray]) -> None:
    rule = NearScale(times(factor))
    if fits:
        assert list(space_of(rule, images).choices) == ["block.0/scale"]
        return
    after = graph()
    next(t for t in after.tensors().values() if isinstance(t, gs.Constant)).values *= np.float32(factor)
    pairs = [(run(graph(), image), run(after, image)) for image in images]
    error = np.sqrt(sum(((a - b) ** 2).mean() for a, b in pairs) / sum((a**2).mean() for a, _ in pairs))
    with pytest.raises(GraphoptError) as caught:
        space_of(rule, images)
    assert str(caught.value).startswith(
        f"pass my-scale at site block.0/scale: the contract is 'approximate' within 0.05, but the network's output "
        f"changes by {error:.2e} (relative root mean square over 3 calibration images)"
    )


@pytest.mark.parametrize("contract", list(Contract))
def test_prepare_checks_what_the_contract_says(contract: Contract, images: list[np.ndarray]) -> None:
    kind = {Contract.EXACT: ExactScale, Contract.APPROXIMATE: NearScale, Contract.TUNED: Scale}[contract]

    @dataclass(frozen=True)
    class Before(kind):
        stage: ClassVar[Stage] = Stage.PREPARE

    prepared = prepare(graph(), [Before(times(1 + 1e-6))], images)
    assert prepared.edits == {"my-scale": 1}  # once, though its result is a site again
    assert difference(run(prepared.graph, images[0]), run(graph(), images[0])) < 1e-5
    if contract is Contract.TUNED:
        assert prepare(graph(), [Before(times(2))], images).edits == {"my-scale": 1}
    else:
        with pytest.raises(GraphoptError, match=f"pass my-scale: the contract is '{contract}' within"):
            prepare(graph(), [Before(times(2))], images)


def test_prepare_refuses_what_is_not_finite(images: list[np.ndarray]) -> None:
    @dataclass(frozen=True)
    class Before(Scale):
        stage: ClassVar[Stage] = Stage.PREPARE

    with pytest.raises(GraphoptError, match="the network's output has values that are not finite"):
        prepare(graph(), [Before(lambda site, build: build.op("Log", [build.op("Neg", [build.input("x")])]))], images)


def raises(site: Site, build: Build) -> Any:
    raise RuntimeError("no scale today")


@pytest.mark.parametrize(
    ("rewriting", "expected"),
    [
        (raises, "raised RuntimeError at site block.0/scale: no scale today; mend its rewrite()"),
        (lambda site, build: None, "at site block.0/scale: rewrite() must return tensors for: output"),
        (lambda site, build: 3.0, "at site block.0/scale: rewrite() must return tensors for: output"),
        (lambda site, build: {"other": build.input("x")}, "at site block.0/scale: rewrite() must return tensors for: output"),
        (
            lambda site, build: build.op("ReduceMean", [build.input("x"), build.constant("axes", [1])], keepdims=1),
            "at site block.0/scale: b must stay float32(1, 3, 16, 16), the rewrite gives float32(1, 1, 16, 16)",
        ),
        (
            lambda site, build: build.op("Cast", [build.input("x")], to=10),
            "at site block.0/scale: onnxruntime does not accept the graph",
        ),
        (
            lambda site, build: build.op("Log", [build.op("Neg", [build.op("Abs", [build.input("x")])])]),
            "at site block.0/scale: the rewrite gives values that are not finite",
        ),
        (lambda site, build: build.op("NoSuchOp", [build.input("x")]), "at site block.0/scale: onnxruntime does not accept"),
        (
            lambda site, build: build.conv(build.input("x"), build.parameter("w", np.ones((3, 5, 1, 1)))),
            "at site block.0/scale: onnxruntime",
        ),
        (
            lambda site, build: build.input("z"),
            "at site block.0/scale: block.0/scale@my-scale: the site has no input 'z'; it has x",
        ),
        (lambda site, build: build.values("weight"), "the site has no constant 'weight'; it has scale"),
        (lambda site, build: build.attributes("Conv"), "the site has no node of kind Conv"),
        (lambda site, build: build.host(site.outputs["output"]) and None, "rewrite() must return tensors for: output"),
    ],
)  # fmt: skip
def test_rewrites_that_go_wrong(
    rewriting: Callable[[Site, Build], Any], expected: str, images: list[np.ndarray]
) -> None:
    with pytest.raises(GraphoptError) as caught:
        space_of(Scale(rewriting), images)
    assert expected in str(caught.value)
    assert "pass my-scale" in str(caught.value)


def test_leaving_out_a_site_of_another_shape(images: list[np.ndarray]) -> None:
    @dataclass(frozen=True)
    class Pool(Scale):
        def sites(self, graph: GraphView) -> Iterable[Site]:
            return graph.find(pattern(lambda x: op.GlobalAveragePool(x)), label="pool")

    text = "(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) { a = GlobalAveragePool(x) y = Mul(x, a) }"
    with pytest.raises(GraphoptError, match=r"a must keep the shape .*1, 3, 1, 1.*, the rewrite gives .*1, 3, 16, 16"):
        build_space(network(text), [Pool(lambda site, build: build.input("x"))], images, [], silent)


def test_statistics_need_images_and_known_tensors(images: list[np.ndarray]) -> None:
    view = GraphView(graph())
    rule = Scale(lambda site, build: build.parameter("s", build.statistics.mean("x")))
    (site,) = rule.sites(view)
    with pytest.raises(GraphoptError, match="statistics need calibration images, and none were given"):
        build_fragment(rule, site, view, None)
    with pytest.raises(GraphoptError, match="no statistics were collected for tensor a"):
        build_fragment(rule, site, view, collect(view.graph, [], images))


def test_sites_that_go_wrong(images: list[np.ndarray]) -> None:
    @dataclass(frozen=True)
    class Wrong(Scale):
        def sites(self, graph: GraphView) -> Iterable[Site]:
            return [graph.tensors["nothing"]]

    with pytest.raises(GraphoptError, match=r"pass my-scale raised KeyError in sites\(\): 'nothing'; mend it"):
        space_of(Wrong(times(1)), images)


def test_two_sites_of_one_name_become_two_choices(images: list[np.ndarray]) -> None:
    @dataclass(frozen=True)
    class Twice(Scale):
        def sites(self, graph: GraphView) -> Iterable[Site]:
            return [*graph.find(SCALED, label="here"), *graph.find(pattern(lambda x: op.Relu(x)), label="here")]

    text = "(float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) { a = Relu(x) b = Mul(a, s) y = Exp(b) }"
    rule = Twice(lambda site, build: build.mul(build.input("x"), build.parameter("k", 2)))
    found = build_space(network(text, {"s": (1, 3, 1, 1)}), [rule], images, [], silent)
    assert list(found.choices) == ["here.2", "here"]
    both = apply_selection(found, dict.fromkeys(found.choices, "my-scale"))
    np.testing.assert_allclose(run(both, images[0]), np.exp(images[0] * 4), rtol=1e-5)


def test_cleanups_of_the_whole_network(images: list[np.ndarray]) -> None:
    before, after = to_model(graph()), to_model(graph())
    assert check_cleanups(before, after, images, ["fold-affine"]) == 0
    changed = graph()
    next(t for t in changed.tensors().values() if isinstance(t, gs.Constant)).values *= np.float32(1.01)
    with pytest.raises(
        GraphoptError, match=r"clean-ups fold-affine are declared exact, but .* by [0-9.]+e-0[23] relative"
    ):
        check_cleanups(before, to_model(changed), images, ["fold-affine"])


def test_the_example_of_a_custom_pass(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    rule = load_pass("./diagonal_attention.py", {"gain": 0.5}, EXAMPLE)
    space = build_space(nafnet_graph, [rule], images, [], silent)
    assert list(space.choices) == ["encoders.0.0/attention", "middle_blks.0/attention", "decoders.0.0/attention"]
    view = GraphView(nafnet_graph)
    site = view.find(channel_attention)[0]
    samples = collect(nafnet_graph, [site], images).of(site.inputs["x"])
    choice = space.choices["encoders.0.0/attention"]
    found = {t.name.rsplit("/", 1)[1]: t for t in choice.candidates["diagonal-attention"].fragment.constants}
    weight, bias = (view.tensors[f"encoders.0.0.sca.1.{name}"].values for name in ("weight", "bias"))
    np.testing.assert_allclose(found["diagonal"].values.ravel(), weight[:, :, 0, 0].diagonal() * 0.5, rtol=1e-6)
    # it keeps the mean of the attention: mean over images of W pool(x) + b
    mean = weight[:, :, 0, 0] @ samples.mean(axis=0) + bias
    shift = mean - found["diagonal"].values.ravel() * samples.mean(axis=0)
    np.testing.assert_allclose(found["shift"].values.ravel(), shift, rtol=1e-4, atol=1e-5)
    chosen = apply_selection(space, {choice.name: "diagonal-attention"})
    assert np.isfinite(run(chosen, random_image(1, 3, 16, 16))).all()


def test_exact_in_double_is_stricter_than_in_single(images: list[np.ndarray]) -> None:
    """A factor that fp32 takes for rounding is a mistake in fp64."""
    rule = ExactScale(times(1 + 1e-6))
    view = GraphView(graph())
    (site,) = rule.sites(view)
    assert check_in_double(ExactScale(times(1)), site, view.regions, None) == 0
    with pytest.raises(GraphoptError, match=r"with random weights the rewrite differs by 1\.00e-06 relative in fp64"):
        check_in_double(rule, site, view.regions, None)
    with pytest.raises(GraphoptError, match="my-scale at site block.0/scale: .* in fp64"):
        space_of(rule, images)


def test_exact_holds_for_random_weights_too(images: list[np.ndarray]) -> None:
    """A rewrite that is right for the weights at hand only."""
    weights = GraphView(graph()).tensors["block.0.scale"].values
    rule = ExactScale(lambda site, build: build.mul(build.input("x"), build.parameter("s", weights)))
    with pytest.raises(GraphoptError, match="with random weights the rewrite differs by"):
        space_of(rule, images)


def test_exact_is_checked_on_real_activations(images: list[np.ndarray]) -> None:
    """A clamp at 50 changes no random input of unit variance, but images that are brighter."""
    rule = ExactScale(lambda site, build: build.mul(build.clip(build.input("x"), -50, 50), build.parameter("s", build.values("scale"))))  # fmt: skip
    assert list(space_of(rule, images).choices) == ["block.0/scale"]
    with pytest.raises(GraphoptError, match="site block.0/scale: .* on calibration images the rewrite differs by"):
        space_of(rule, [image * 1000 for image in images])


def test_large_sites_are_checked_in_double_on_small_inputs() -> None:
    text = '(float[1, 8, 512, 256] x) => (float[1, 4, 1024, 512] y) { a = Conv(x, w, b) y = DepthToSpace<blocksize = 2, mode = "CRD">(a) }'
    view = GraphView(network(text, {"w": (16, 8, 1, 1), "b": (16,)}))
    (site,) = TransposedUpsample().sites(view)
    assert check_in_double(TransposedUpsample(), site, view.regions, None) < 1e-14
    assert view.tensors["x"].shape == [1, 8, 512, 256]  # the host keeps its shapes and its weights
    assert view.tensors["w"].values.dtype == np.float32


def test_cleanups_are_checked_at_one_site_of_each_structure(nafnet_graph: gs.Graph) -> None:
    # a shift before a 1x1 conv, and a scale after one, each in blocks of two widths
    assert check_sites(nafnet_graph, [FoldAffine(), AffineNorm()]) == check_sites(nafnet_graph, [FoldAffine()]) == 4
    wrong = ExactScale(times(1.001))
    with pytest.raises(GraphoptError, match="pass my-scale at site block.0/scale: .* in fp64"):
        check_sites(graph(), [wrong])
