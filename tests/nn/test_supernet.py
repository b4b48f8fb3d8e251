"""A space in torch: mixed and selected branches, nesting, gradients, and the way back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from nested_space import (
    ACT,
    AFFINE,
    CONV,
    EPSILON,
    HALVES,
    HIGH,
    INTRO,
    NORM,
    SCALE,
    SCALED_ACT,
    SHIFT,
    SKIP,
    SPLIT,
    SUM,
    TAIL,
    Maker,
    host,
    model_of,
    run,
    space,
)

from graphopt.errors import GraphoptError
from graphopt.ir.sites import Site
from graphopt.ir.space import KEEP, Space
from graphopt.nn.mixing import mix
from graphopt.nn.module import GraphModule
from graphopt.nn.supernet import Supernet

KEPT = {"block": KEEP, "block/norm": KEEP, "block/act": KEEP, "halves": KEEP}
SELECTIONS: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({}, (INTRO, NORM, CONV, ACT, SUM, SPLIT, TAIL)),
    ({"block/norm": "affine"}, (INTRO, AFFINE, CONV, ACT, SUM, SPLIT, TAIL)),
    ({"block/act": "same"}, (INTRO, NORM, CONV, ACT, SUM, SPLIT, TAIL)),
    ({"block/act": "limited"}, (INTRO, NORM, CONV, SCALED_ACT, SUM, SPLIT, TAIL)),
    ({"halves": "scaled"}, (INTRO, NORM, CONV, ACT, SUM, HALVES, TAIL)),
    ({"block": "skip"}, (INTRO, SKIP, SPLIT, TAIL)),
    (
        {"block/norm": "affine", "block/act": "limited", "halves": "scaled"},
        (INTRO, AFFINE, CONV, SCALED_ACT, SUM, HALVES, TAIL),
    ),
    ({"block": "skip", "block/norm": "affine", "halves": "scaled"}, (INTRO, SKIP, HALVES, TAIL)),
]


def one_hot(supernet: Supernet, selection: dict[str, str]) -> dict[str, torch.Tensor]:
    options = {name: choice.options for name, choice in space().choices.items()}
    return {name: torch.tensor([float(o == selection[name]) for o in all_]) for name, all_ in options.items()}


def image(batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal((batch, 4, 6, 6)).astype(np.float32))


@pytest.mark.parametrize(("chosen", "parts"), SELECTIONS)
def test_one_hot_and_selected_equal_the_graph_with_the_candidate(
    chosen: dict[str, str], parts: tuple[str, ...]
) -> None:
    supernet, x, selection = Supernet(space()), image(), {**KEPT, **chosen}
    expected = run(model_of(*parts), x.numpy())
    limit = {"rtol": 1e-5, "atol": 1e-5 * np.abs(expected).max()}
    with torch.no_grad():
        hard = supernet(x, selection=selection)
        soft = supernet(x, probabilities=one_hot(supernet, selection))
    np.testing.assert_allclose(hard.numpy(), expected, **limit)
    np.testing.assert_allclose(soft.numpy(), expected, **limit)


def parts_by_hand(supernet: Supernet, x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
    """The soft network, written out in torch."""
    w = supernet.base.trained()
    f = supernet.fragments.trained()
    i = torch.conv2d(x, w["k0"], padding=1)
    centred = i - i.mean(1, keepdim=True)
    norm = centred / (centred.square().mean(1, keepdim=True) + EPSILON).sqrt()
    affine = i * f["block/norm@affine/scale"] + f["block/norm@affine/shift"]
    n = p["block/norm"][0] * norm + p["block/norm"][1] * affine
    c = torch.conv2d(n, w["k1"])
    limited = (c * f["block/act@limited/scale"]).clamp(-0.5, HIGH)
    act = p["block/act"]
    d = (act[0] + act[1]) * torch.nn.functional.gelu(c) + act[2] * limited  # `same` computes what keep does
    y1 = p["block"][0] * (d + i) + p["block"][1] * i
    a, b = y1.split(2, 1)
    a = p["halves"][0] * a + p["halves"][1] * a * f["halves@scaled/half"]
    return torch.cat([a * b, b], 1) + x


def test_mixing_is_the_weighted_sum_with_its_gradients() -> None:
    supernet, x = Supernet(space()).double(), image(3).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for alpha in supernet.architecture_parameters():
            alpha.copy_(torch.randn_like(alpha))
    parameters = [*supernet.weight_parameters(), *supernet.architecture_parameters()]
    used = [parameter for parameter in parameters if parameter.requires_grad]
    expected = parts_by_hand(supernet, x, supernet.probabilities(0.7))
    wanted = torch.autograd.grad(expected.square().mean(), used)
    result = supernet(x, probabilities=supernet.probabilities(0.7))
    gradients = torch.autograd.grad(result.square().mean(), used)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    for got, want in zip(gradients, wanted, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


def test_a_selection_with_probabilities_leaves_the_rest_soft() -> None:
    supernet, x = Supernet(space()), image()
    p = supernet.probabilities()
    hard = {**p, "block/norm": torch.tensor([0.0, 1.0])}
    expected = parts_by_hand(supernet, x, hard)
    torch.testing.assert_close(supernet(x, probabilities=p, selection={"block/norm": "affine"}), expected)


def test_without_arguments_every_option_weighs_the_same() -> None:
    supernet, x = Supernet(space()), image()
    p = supernet.probabilities()
    assert list(p) == list(KEPT)
    torch.testing.assert_close(p["block/act"], torch.full((3,), 1 / 3))
    torch.testing.assert_close(p["block"], torch.full((2,), 0.5))
    torch.testing.assert_close(supernet(x), parts_by_hand(supernet, x, p))


def test_probabilities_are_a_tempered_softmax() -> None:
    supernet = Supernet(space())
    with torch.no_grad():
        supernet.logits("block/act").copy_(torch.tensor([1.0, 2.0, 4.0]))
    expected = torch.exp(torch.tensor([2.0, 4.0, 8.0]))
    torch.testing.assert_close(supernet.probabilities(0.5)["block/act"], expected / expected.sum())


def test_only_the_selected_branch_runs() -> None:
    supernet, x = Supernet(space()), image()
    supernet(x, selection={"block": "skip", "halves": KEEP}).sum().backward()
    base, fragments = supernet.base.trained(), supernet.fragments.trained()
    assert base["k0"].grad is not None
    assert base["k1"].grad is None
    assert all(parameter.grad is None for parameter in fragments.values())


def test_parameters_are_weights_or_architecture() -> None:
    supernet = Supernet(space())
    assert set(supernet.base.trained()) == {"k0", "k1"}
    own = {"block/norm@affine/scale", "block/norm@affine/shift", "block/act@limited/scale", "halves@scaled/half"}
    assert set(supernet.fragments.trained()) == own  # bounds are fixed
    assert [tuple(alpha.shape) for alpha in supernet.architecture_parameters()] == [(2,), (2,), (3,), (2,)]
    both = [*supernet.weight_parameters(), *supernet.architecture_parameters()]
    assert {id(parameter) for parameter in both} == {id(parameter) for parameter in supernet.parameters()}


def test_weights_go_back_into_graph_and_fragments() -> None:
    original, target = space(), space()
    supernet = Supernet(original)
    with torch.no_grad():
        for parameter in supernet.weight_parameters():
            parameter.add_(0.25)
    supernet.write_back(target)
    k0 = original.graph.tensors()["k0"].values
    np.testing.assert_array_equal(target.graph.tensors()["k0"].values, k0 + np.float32(0.25))
    scale, shift = target.choices["block/norm"].candidates["affine"].fragment.constants
    np.testing.assert_array_equal(scale.values, SCALE + np.float32(0.25))
    np.testing.assert_array_equal(shift.values, SHIFT + np.float32(0.25))
    low = target.choices["block/act"].candidates["limited"].fragment.constants[1]
    assert low.values == np.float32(-0.5)
    kept = GraphModule(target.graph)(image())
    torch.testing.assert_close(supernet(image(), selection=KEPT), kept)


def test_a_kept_norm_is_still_one_kernel() -> None:
    supernet = Supernet(space())
    block = next(step for step, _ in supernet._program._plan if step.label == "choice 'block'")
    norm = next(step for step, _ in block.branches[0].program._plan if step.label == "choice 'block/norm'")
    assert [step.label for step, _ in norm.branches[0].program._plan] == ["the channel norm at 'node_n'"]


def test_a_fragment_that_reads_inside_a_norm_keeps_it_apart() -> None:
    made = space()
    reading = Maker("block/act@reading")
    made.choices["block/act"].candidates["reading"] = reading.candidate(d=reading.op("Mul", host("c"), host("r")))
    del made.choices["block/norm"]
    result = Supernet(made)(image(), selection={"block": KEEP, "block/act": "reading", "halves": KEEP})
    expected = run(model_of(INTRO, NORM, CONV, "d = Mul (c, r)\n", SUM, SPLIT, TAIL), image().numpy())
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mix_against_finite_differences(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    p = torch.rand(4, dtype=torch.double, requires_grad=True)  # need not sum to 1
    a, b = (torch.randn(2, 3, 4, 5, dtype=torch.double).to(memory_format=layout).requires_grad_() for _ in range(2))
    c = torch.randn(1, 3, 1, 1, dtype=torch.double, requires_grad=True)
    branches = ((0, 2), (1,), (3,))
    expected = (p[0] + p[2]) * a + p[1] * b + p[3] * c
    torch.testing.assert_close(mix(p, branches, (a, b, c)), expected)
    assert torch.autograd.gradcheck(lambda p, a, b, c: mix(p, branches, (a, b, c)), (p, a, b, c))
    permuted = b.detach().permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2).requires_grad_()
    pair = p[:2].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, a, b: mix(p, ((0,), (1,)), (a, b)), (pair, a, permuted))


def broken(change: str) -> Space:
    made = space()
    if change == "inside":  # reads the site's own inside
        maker = Maker("block@inside")
        made.choices["block"].candidates["inside"] = maker.candidate(y1=maker.op("Relu", host("c")))
    elif change == "after":
        maker = Maker("block@after")
        made.choices["block"].candidates["after"] = maker.candidate(y1=maker.op("Relu", host("t")))
    elif change == "output":
        del made.choices["halves"].candidates["scaled"].fragment.outputs["g"]
    elif change == "node":
        site = made.choices["block/act"].site
        made.choices["block/act"].site = Site(site.name, ("gone",), site.inputs, site.outputs)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("inside", r"choice 'block' reads the tensor 'c', which nothing before it makes"),
        ("after", r"wait for each other: .*choice 'block'"),
        ("output", r"choice 'halves', candidate 'scaled': nothing stands for the site's output 'g'"),
        ("node", r"choice 'block/act': its site holds the node 'gone'"),
    ],
)
def test_broken_spaces_are_refused(change: str, message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        Supernet(broken(change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selection": {"blok": KEEP}}, r"no choice 'blok'; did you mean 'block'"),
        ({"selection": {"block": "skp"}}, r"choice 'block' has no candidate 'skp'; did you mean 'skip'"),
        ({"selection": {"block": KEEP}}, r"choice 'block/norm' is neither selected nor given probabilities"),
        ({"probabilities": {"block": torch.ones(3)}}, r"of shape \(3,\), expected one for each of keep, skip"),
    ],
)
def test_wrong_calls_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        Supernet(space())(image(), **arguments)


def test_temperature_must_be_positive() -> None:
    with pytest.raises(GraphoptError, match="temperature is 0"):
        Supernet(space()).probabilities(0.0)


def test_a_supernet_can_be_copied_and_saved() -> None:
    supernet = Supernet(space())
    twin = copy.deepcopy(supernet)
    with torch.no_grad():
        twin.logits("block")[0] += 1.0
    assert not torch.equal(twin(image()), supernet(image()))
    twin.load_state_dict(supernet.state_dict())
    assert torch.equal(twin(image()), supernet(image()))


def soft_run(supernet: Supernet, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The output, and the gradients of all alphas."""
    found = supernet(x)
    assert isinstance(found, torch.Tensor)
    found.square().mean().backward()
    return found.detach(), [p.grad for p in supernet.architecture_parameters() if p.grad is not None]


def test_bfloat16_stays_near_float32_and_keeps_the_types_outside() -> None:
    whole, alphas = soft_run(Supernet(space()), image(2))
    half, near = soft_run(Supernet(space()).place(torch.device("cpu"), half=True), image(2))
    assert half.dtype == torch.float32
    assert 1e-5 < float((half - whole).abs().max() / whole.abs().max()) < 2e-2, "it must compute in bfloat16"
    assert len(near) == len(alphas) > 0
    for found, expected in zip(near, alphas, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.1, atol=0.02 * float(expected.abs().max()))


def test_values_of_two_types_mix_in_the_wider_one() -> None:
    p = torch.tensor([0.25, 0.75], requires_grad=True)
    values = [torch.full((2, 3), 2.0, dtype=torch.bfloat16), torch.full((2, 3), 4.0)]
    mixed = mix(p, [[0], [1]], values)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, torch.full((2, 3), 3.5))
    mixed.sum().backward()
    torch.testing.assert_close(p.grad, torch.tensor([12.0, 24.0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_what_the_cpu_gives_and_leaves_the_alphas_here() -> None:
    whole, alphas = soft_run(Supernet(space()), image(2))
    supernet = Supernet(space()).place(torch.device("cuda"))
    found, near = soft_run(supernet, image(2))
    assert {p.device.type for p in supernet.architecture_parameters()} == {"cpu"} == {found.device.type}
    assert {p.device.type for p in supernet.weight_parameters()} == {"cuda"}
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-4)
    for a, b in zip(near, alphas, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)
