"""strided-attention, narrow-attention and two-step-pool."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.narrow_attention import NarrowAttention
from graphopt.passes.strided_attention import StridedAttention
from graphopt.passes.two_step_pool import TwoStepPool
from graphs import difference, kinds, network, random_image, refused, rewritten, run

from graphopt import Contract
from graphopt.idioms import low_rank, rank_one, second_moment
from graphopt.ir.space_building import build_space

IMAGES = [random_image(1, 8, 12, 10, seed=seed) + np.float32(0.3 * seed) for seed in range(3)]
X_TO_Y = "(float[1, 8, 12, 10] x) => (float[1, 8, 12, 10] y)"


def attention(weight: object = (8, 8, 1, 1), pool: str = "GlobalAveragePool(x)", bias: bool = True) -> gs.Graph:
    text = f'{X_TO_Y} {{ p = {pool} ["b.0/conv"] a = Conv(p, w{", bias" if bias else ""}) ["b.0/mul"] y = Mul(a, x) }}'
    return network(text, {"w": weight, "bias": (8,), "axes": np.array([2, 3])})


def by_hand(graph: gs.Graph, image: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    weight, bias = (graph.tensors()[name].values for name in ("w", "bias"))
    return image * (weight[:, :, 0, 0] @ pooled + bias).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
@pytest.mark.parametrize("stride", [2, 3, 64])
def test_strided_attention(pool: str, stride: int) -> None:
    graph = attention(pool=pool)
    chosen = rewritten(graph, StridedAttention(stride=stride), IMAGES)
    assert kinds(chosen) == ["Slice", "ReduceMean", "Conv", "Mul"]
    image = IMAGES[1]
    expected = by_hand(graph, image, image[0, :, ::stride, ::stride].mean(axis=(1, 2)))
    assert difference(run(chosen, image), expected) < 1e-5
    assert difference(run(chosen, image), run(graph, image)) > 1e-3


def test_strided_attention_is_exact_on_flat_images() -> None:
    graph, image = attention(bias=False), np.broadcast_to(IMAGES[0][:, :, :1, :1], IMAGES[0].shape).copy()
    assert difference(run(rewritten(graph, StridedAttention(), IMAGES), image), run(graph, image)) < 1e-6


@pytest.mark.parametrize("stride", [1, 0, -2])
def test_strides_that_are_none(stride: int) -> None:
    with pytest.raises(ValueError, match=f"option 'stride' is {stride}; expected 2 or more"):
        StridedAttention(stride=stride)


@pytest.mark.parametrize(("form", "shape"), [("low-rank", [(2, 8, 1, 1), (8, 2, 1, 1)]), ("grouped", [(8, 2, 1, 1)])])
@pytest.mark.parametrize("bias", [True, False])
def test_narrow_attention_keeps_the_mean_attention(form: str, shape: list[tuple[int, ...]], bias: bool) -> None:
    graph = attention(bias=bias)
    chosen = rewritten(graph, NarrowAttention(form=form), IMAGES)
    assert [node.inputs[1].values.shape for node in chosen.nodes if node.op == "Conv"] == shape
    one = np.ones((1, 8, 12, 10), np.float32)
    mean = np.mean([image.mean(axis=(0, 2, 3)) for image in IMAGES], axis=0).reshape(1, -1, 1, 1) * one
    assert difference(run(chosen, mean), run(graph, mean)) < 1e-5
    assert difference(run(chosen, IMAGES[2]), run(graph, IMAGES[2])) > 1e-3


@pytest.mark.parametrize("form", ["low-rank", "grouped"])
def test_narrow_attention_is_exact_where_the_weight_is_narrow(form: str) -> None:
    random = np.random.default_rng(7)
    if form == "low-rank":
        weight = random.normal(size=(8, 2)) @ random.normal(size=(2, 8))
    else:
        weight = np.kron(np.eye(4), np.ones((2, 2))) * random.normal(size=(8, 8))
    graph = attention(weight.reshape(8, 8, 1, 1))
    chosen = rewritten(graph, NarrowAttention(form=form), IMAGES)
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-5


def test_narrow_attention_refuses() -> None:
    graph = attention()
    assert refused(graph, NarrowAttention(share=0.5)) == ["rank 4 of 8 channels saves nothing"]
    assert refused(graph, NarrowAttention(form="grouped", share=0.34)) == ["8 channels do not fall into 3 groups"]
    reasons = refused(attention((1, 8, 1, 1), bias=False), NarrowAttention())
    assert reasons == ["expected an attention of 1x1 with as many outputs as inputs, found 1x8 [1, 1]"]
    with pytest.raises(ValueError, match="option 'share' is 1.5; expected a number between 0 and 1"):
        NarrowAttention(share=1.5)


@pytest.mark.parametrize("pool", ["ReduceMean<keepdims = 1>(x, axes)", "GlobalAveragePool(x)"])
def test_two_step_pool_is_exact(pool: str) -> None:
    graph = attention(pool=pool)
    chosen = rewritten(graph, TwoStepPool(), IMAGES)
    assert kinds(chosen) == ["ReduceMean", "ReduceMean", "Conv", "Mul"]
    assert difference(run(chosen, IMAGES[0]), run(graph, IMAGES[0])) < 1e-6
    space = build_space(graph, [StridedAttention(), TwoStepPool()], IMAGES, [], lambda share, text: None)
    parents = {name: (choice.parent, choice.options) for name, choice in space.choices.items()}
    assert parents == {
        "attention": (None, ("keep", "strided-attention")),
        "pool": ("attention", ("keep", "two-step-pool")),
    }
    assert space.choices["pool"].candidates["two-step-pool"].contract is Contract.EXACT


def test_pools_over_other_axes_are_left_alone() -> None:
    text = f"{X_TO_Y} {{ p = ReduceMean<keepdims = 1>(x, axes) y = Mul(x, p) }}"
    assert refused(network(text, {"axes": np.array([1])}), TwoStepPool()) == []
    flat = "(float[1, 8, 6] x) => (float[1, 8, 6] y) { p = GlobalAveragePool(x) y = Mul(x, p) }"
    assert refused(network(flat), TwoStepPool()) == ["expected a tensor of 4 dimensions, found 3"]


def test_low_rank_is_the_best_for_the_samples() -> None:
    """No other factors of that rank come closer: not plain SVD's, and not those nearby."""
    random = np.random.default_rng(3)
    samples = (random.normal(size=(4000, 6)) * [5, 3, 1, 1, 0.5, 0.1]).astype(np.float32)
    weight = random.normal(size=(5, 6)).astype(np.float32)

    def error(approximate: np.ndarray) -> float:
        return float(np.square(samples @ (weight - approximate).T).sum())

    left, right = low_rank(weight, second_moment(samples), 2)
    assert (left.shape, right.shape) == ((5, 2), (2, 6))
    u, s, v = np.linalg.svd(weight)
    best = error(left @ right)
    assert best < error((u[:, :2] * s[:2]) @ v[:2])
    centred = np.linalg.svd((samples @ weight.T).astype(np.float64), compute_uv=False)
    assert best == pytest.approx(np.square(centred[2:]).sum(), rel=1e-2)  # Eckart-Young, up to the ridge
    for _ in range(20):
        assert error((left + random.normal(0, 0.05, left.shape)) @ right) > best


def test_rank_one() -> None:
    matrices = np.random.default_rng(4).normal(size=(3, 4, 5)).astype(np.float32)
    u, v = rank_one(matrices)
    values = np.linalg.svd(matrices, compute_uv=False)
    left = np.square(matrices - u[:, :, None] * v[:, None]).sum(axis=(1, 2))
    np.testing.assert_allclose(left, np.square(values[:, 1:]).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1), rtol=1e-5)
