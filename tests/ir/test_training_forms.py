"""Training forms: what stands there at the start, in the middle and at the end, and the weights that are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from graphs import difference, network, random_image, run
from patches import sampler

from graphopt import Contract, GraphoptError, Pass, Stage, const, op, pattern
from graphopt.authoring.passcheck import check_pass
from graphopt.config.training import FinetuneConfig
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.explain import explain
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space_building import build_space
from graphopt.ir.training_forms import TrainingGraph, training_graph
from graphopt.nn.module import GraphModule
from graphopt.nn.training_module import TrainingModule, check_forms, collapse
from graphopt.train.finetune import finetune

BLEND = load_pass("affine-norm", {"blend": 0.5}, Path())
BRANCHES = load_pass("reparameterised-conv", {}, Path())


def edsr() -> gs.Graph:
    """Not a NAFNet: residual blocks of conv, ReLU, conv; one that is grouped, strided or dilated, and a tied weight."""
    same = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
    text = f"""(float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] restored) {{
        ["head/conv"] x = Conv<{same}>(image, w0, b0)
        ["body.0/conv1/conv"] a = Conv<{same}>(x, w1, b1) ["body.0/relu"] r = Relu(a)
        ["body.0/conv2/conv"] c = Conv<{same}, group = 2>(r, w2) ["body.0/add"] y = Add(x, c)
        ["body.1/conv/conv"] d = Conv<kernel_shape = [3, 5], pads = [2, 4, 2, 4], dilations = [2, 2]>(y, w3)
        ["down/conv"] e = Conv<{same}, strides = [2, 2]>(d, w4, b4)
        ["even/conv"] f = Conv<kernel_shape = [2, 2], strides = [2, 2]>(x, w5)
        ["joined"] g = Add(e, f)
        ["tied/conv"] h = Conv(g, w6) ["tied.1/conv"] i = Conv(h, w6)
        ["up"] j = DepthToSpace<blocksize = 2, mode = "CRD">(i)
        ["last/conv"] o = Conv<{same}>(j, w7) ["add"] restored = Add(o, image) }}"""
    return network(text, {
        "w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "b1": (8,), "w2": (8, 4, 3, 3), "w3": (8, 8, 3, 5),
        "w4": (8, 8, 3, 3), "b4": (8,), "w5": (8, 8, 2, 2), "w6": (8, 8, 1, 1), "w7": (3, 2, 3, 3),
    })  # fmt: skip


def trained(graph: gs.Graph, images: list[np.ndarray], *rules: Pass) -> tuple[gs.Graph, TrainingGraph]:
    """The graph with the first candidate everywhere, and as it trains."""
    space = build_space(graph, rules, images, [], lambda share, text: None)
    selection = {name: choice.options[1] for name, choice in space.choices.items()}
    deployed = to_graph(to_model(apply_selection(space, selection)))
    return deployed, training_graph(deployed, space, selection, rules)


def shaken(form: TrainingGraph) -> TrainingModule:
    """The training form with random weights, as after some training."""
    torch.manual_seed(0)
    module = TrainingModule(form)
    with torch.no_grad():
        for parameter in module.named_initialisers().values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


def outputs(module: GraphModule, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = module(torch.from_numpy(image))
    assert isinstance(found, torch.Tensor)
    return found.numpy()


def as_text(graph: gs.Graph) -> list[str]:
    return [f"{n.name} {n.op} {[t.name for t in n.inputs]} {[t.name for t in n.outputs]}" for n in graph.nodes]


def test_the_blend_begins_as_the_norm_and_ends_as_the_affine(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    deployed, form = trained(nafnet_graph, images, BLEND)
    assert (form.sites, set(form.fades.values()), form.weights) == ({"affine-norm": 6}, {0.5}, {})
    module = TrainingModule(form)
    before, after = run(nafnet_graph, images[0]), run(deployed, images[0])
    assert difference(before, after) > 1e-2
    assert difference(outputs(module, images[0]), before) < 1e-6
    for progress in (0.5, 0.75, 1.0):
        module.advance(progress)
        assert difference(outputs(module, images[0]), after) < 1e-6


def test_lambda_falls_linearly_over_its_share() -> None:
    text = """(float[1, 4, 8, 8] image) => (float[1, 4, 8, 8] y) {
        m = ReduceMean<keepdims = 1>(image, axes) c = Sub(image, m) q = Mul(c, c) v = ReduceMean<keepdims = 1>(q, axes)
        e = Add(v, eps) s = Sqrt(e) n = Div(c, s) z = Mul(n, scale) y = Add(z, shift) }"""
    weights = {"axes": np.array([1]), "eps": np.float32(1e-6), "scale": (1, 4, 1, 1), "shift": (1, 4, 1, 1)}
    graph, image = network(text, weights), random_image(1, 4, 8, 8)
    deployed, form = trained(graph, [image], BLEND)
    module, norm, affine = TrainingModule(form), run(graph, image), run(deployed, image)
    for progress, factor in ((0, 1.0), (0.125, 0.75), (0.25, 0.5), (0.4, 0.2), (0.5, 0.0), (1, 0.0)):
        module.advance(progress)
        expected = factor * norm + (1 - factor) * affine
        np.testing.assert_allclose(outputs(module, image), expected, rtol=0, atol=2e-6)


def test_no_blend_trains_what_is_deployed(nafnet_graph: gs.Graph, images: list[np.ndarray]) -> None:
    deployed, form = trained(nafnet_graph, images, load_pass("affine-norm", {}, Path()))
    assert form == TrainingGraph(deployed, {}, {}, {})


@pytest.mark.parametrize("make", [edsr, None])
def test_kernels_begin_as_the_convolution(
    make: Callable[[], gs.Graph] | None, nafnet_graph: gs.Graph, images: list[np.ndarray]
) -> None:
    graph = make() if make else nafnet_graph
    before = as_text(graph)
    form = training_graph(graph, build_space(graph, [], images, [], lambda share, text: None), {}, [BRANCHES])
    # edsr: not the kernel without a middle, not the weight that is used twice
    assert form.sites == {"reparameterised-conv": 6 if make else 14}
    expected = run(graph, images[0])
    assert difference(outputs(TrainingModule(form), images[0]), expected) < 1e-6
    assert as_text(graph) == before
    if make:
        space = build_space(graph, [], images, [], lambda share, text: None)
        assert training_graph(graph, space, {}, [BRANCHES], ["body*"]).sites == {"reparameterised-conv": 3}


@pytest.mark.parametrize("make", [edsr, None])
def test_random_weights_collapse_exactly(
    make: Callable[[], gs.Graph] | None, nafnet_graph: gs.Graph, images: list[np.ndarray]
) -> None:
    deployed, form = trained(make() if make else nafnet_graph, images, BLEND, BRANCHES)
    before, shapes = run(deployed, images[0]), as_text(deployed)
    module = shaken(form)
    assert collapse(module, deployed, torch.from_numpy(images[0])) < 1e-12
    assert as_text(deployed) == shapes
    assert difference(run(deployed, images[0]), before) > 1e-2
    module.advance(1.0)
    assert difference(run(deployed, images[0]), outputs(module, images[0])) < 1e-5


def test_collapsed_kernel_by_hand() -> None:
    text = "(float[1, 2, 8, 8] image) => (float[1, 2, 8, 8] y) { y = Conv<pads = [1, 1, 1, 1]>(image, w) }"
    graph, image = network(text, {"w": (2, 2, 3, 3)}), random_image(1, 2, 8, 8)
    form = training_graph(graph, build_space(graph, [], [image], [], lambda share, text: None), {}, [BRANCHES])
    module = shaken(form)
    values = {name.split("/")[-1]: p.detach().double().numpy() for name, p in module.named_initialisers().items()}
    expected = values["main_scale"] * values["main"]
    expected[:, :, 1:2, 1:2] += values["point_scale"] * values["point"]
    expected[:, :, 1:2, :] += values["row_scale"] * values["row"]
    expected[:, :, :, 1:2] += values["column_scale"] * values["column"]
    expected[[0, 1], [0, 1], 1, 1] += values["identity_scale"].reshape(-1)
    collapse(module, graph, torch.from_numpy(image))
    np.testing.assert_allclose(graph.tensors()["w"].values, expected, rtol=1e-6, atol=1e-7)


def test_every_branch_gets_a_gradient_that_is_not_that_of_the_kernel() -> None:
    """After one step of plain gradient descent, the collapsed kernel is another than that of the plain convolution."""
    text = "(float[1, 4, 8, 8] image) => (float[1, 4, 8, 8] y) { y = Conv<pads = [1, 1, 1, 1]>(image, w, b) }"
    graph, image = network(text, {"w": (4, 4, 3, 3), "b": (4,)}), random_image(1, 4, 8, 8)
    form = training_graph(graph, build_space(graph, [], [image], [], lambda share, text: None), {}, [BRANCHES])
    plain, module = GraphModule(graph), TrainingModule(form)
    kernels = []
    for network_ in (plain, module):
        network_(torch.from_numpy(image)).square().mean().backward()
        for parameter in network_.parameters():
            assert parameter.grad is not None
            assert float(parameter.grad.abs().max()) > 0
            with torch.no_grad():
                parameter -= 0.1 * parameter.grad
    kernels = [plain.named_initialisers()["w"], module.deployed()["w"]]
    start = torch.from_numpy(graph.tensors()["w"].values)
    steps = [kernel.detach() - start for kernel in kernels]
    assert float((steps[0] - steps[1]).abs().max() / steps[0].abs().max()) > 0.1


def config(**changes: Any) -> FinetuneConfig:
    content = {
        "steps": 40,
        "patches": (2, 16),
        "learning_rate": 3e-3,
        "ema": 0.8,
        "record_every": 10,
        "distillation": 0,
    }
    return FinetuneConfig.model_validate({**content, **changes})


@pytest.mark.parametrize("rules", [(BLEND, BRANCHES), (BRANCHES,)], ids=["both", "branches"])
def test_fine_tuning_from_form_to_weights(
    rules: tuple[Pass, ...], nafnet_graph: gs.Graph, images: list[np.ndarray], tmp_path: Path
) -> None:
    """The loss of the deployed network falls; a run that was killed and goes on ends as a network as good."""
    graph = nafnet_graph if BLEND in rules else edsr()
    deployed, form = trained(graph, images, *rules)
    noisy, clean = sampler(9).batch(4, 16)

    def loss() -> float:
        return float(np.mean([np.square(run(deployed, n[None]) - c).mean() for n, c in zip(noisy, clean, strict=True)]))

    before, heard = loss(), list[float]()
    module = TrainingModule(form)

    def advance(progress: float) -> None:
        heard.append(progress)
        module.advance(progress)

    def kill(share: float, words: str) -> None:
        if words.startswith("step 25/"):
            raise KeyboardInterrupt

    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        finetune(module, torch.nn.Identity(), sampler(), config(), state, kill, advance)
    module = TrainingModule(trained(graph, images, *rules)[1])  # as another process makes it
    finetune(module, torch.nn.Identity(), sampler(), config(), state, lambda share, words: None, advance)
    assert heard == [step / 40 for step in (*range(25), *range(20, 40))]
    assert collapse(module, deployed, torch.from_numpy(noisy)) < 1e-12
    assert loss() < 0.8 * before


@pattern
def rectified(x: Any) -> Any:
    return op.Relu(op.Conv(x, const("weight"), const("bias")))


@dataclass(frozen=True)
class Mine(Pass):
    """relu(conv(x)) -> conv(x), while the activation fades out."""

    name: ClassVar[str] = "mine"
    contract: ClassVar[Contract] = Contract.TUNED

    way: str = "fade"

    def sites(self, graph: Any) -> Any:
        return graph.find(rectified, label="activation")

    def rewrite(self, site: Any, build: Any) -> Any:
        weight, bias = (build.parameter(name, build.values(name)) for name in ("weight", "bias"))
        return build.conv(build.input("x"), weight, bias)

    def training(self, site: Any, build: Any) -> Any:
        if self.way == "fade":
            return build.fade(build.original(), build.rewritten(), 1.0)
        if self.way == "original":
            return build.original()
        if self.way == "share":
            return build.fade(build.original(), build.rewritten(), 0)
        if self.way == "sum":
            return build.add(build.rewritten(), build.input("x"))
        if self.way == "raises":
            return 1 / 0
        return {"other": build.rewritten()}


def test_a_pass_of_ones_own_fades_an_activation_out(images: list[np.ndarray]) -> None:
    graph = edsr()
    assert check_pass(Mine(), graph, images).problems == []
    deployed, form = trained(graph, images, Mine(), BRANCHES)
    assert form.sites == {"mine": 1, "reparameterised-conv": 6}  # not in the copy that fades
    assert difference(outputs(TrainingModule(form), images[0]), run(graph, images[0])) < 1e-6
    assert collapse(shaken(form), deployed, torch.from_numpy(images[0])) < 1e-12
    assert [node.op for node in deployed.nodes].count("Relu") == 0


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("original", "does not end as the deployed form: expected Conv of 3 operands, found Relu"),
        ("sum", "expected Conv of 3 operands, found Add .*add kernels, not images"),
        ("share", "mine at site body.0/activation: a fade lasts a share of the fine-tuning above 0 and up to 1, not 0"),
        ("raises", r"pass mine at site body.0/activation raised ZeroDivisionError: .*mend its training\(\)"),
        ("role", r"training\(\) must return tensors for: output"),
    ],
)
def test_forms_that_do_not_collapse_are_one_message(way: str, message: str, images: list[np.ndarray]) -> None:
    (problem,) = check_pass(Mine(way), edsr(), images).problems
    assert "\n" not in problem
    with pytest.raises(GraphoptError, match=message):
        raise GraphoptError(problem)
    with pytest.raises(GraphoptError, match=message):
        trained(edsr(), images, Mine(way))


@pattern
def unbiased(x: Any) -> Any:
    return op.Conv(x, const("weight"), None)


@dataclass(frozen=True)
class Branched(Pass):
    """conv(x) -> conv(x) + conv(x), as images: the same function at the start, and no convolution at the end."""

    name: ClassVar[str] = "branched"
    contract: ClassVar[Contract] = Contract.EXACT
    stage: ClassVar[Stage] = Stage.TRAIN

    half: float = 0.5

    def sites(self, graph: Any) -> Any:
        return graph.find(unbiased, label="conv")

    def rewrite(self, site: Any, build: Any) -> Any:
        parts = [build.parameter(name, build.values("weight") * self.half) for name in ("first", "second")]
        attributes = build.attributes("Conv")
        return build.add(*(build.op("Conv", [build.input("x"), part], **attributes) for part in parts))


def test_branches_of_images_and_changes_at_the_start_are_one_message(images: list[np.ndarray]) -> None:
    problems = check_pass(Branched(), edsr(), images).problems
    assert "pass branched at site body.0/conv2: what stands there while it trains does not end as" in problems[0]
    problems = check_pass(Branched(0.6), edsr(), images).problems
    assert "the contract is 'exact', but the rewrite differs by 2.00e-01 relative" in problems[0]
    message = "expected Conv of 2 operands, found Add .*add kernels, not images"
    with pytest.raises(GraphoptError, match=message):
        trained(edsr(), images, Branched())
    space = build_space(edsr(), [Mine()], images, [], lambda share, text: None)
    check_forms(space, [Mine(), BRANCHES], [])
    with pytest.raises(GraphoptError, match=message):
        check_forms(space, [Mine(), Branched()], [])
    with pytest.raises(GraphoptError, match="found Relu"):
        check_forms(space, [Mine("original")], [])


def test_no_branch_without_room(images: list[np.ndarray]) -> None:
    rule = load_pass("reparameterised-conv", {"branches": ["identity"]}, Path())
    found = check_pass(rule, edsr(), images)
    sites = [row.site for row in found.rows]
    assert sites == ["body.0/conv1", "body.0/conv2", "body.1/conv", "down", "whole network"]
    refused = dict(explain(rule, edsr()).refused)
    assert refused["even/conv"] == "expected a kernel with a middle, found 2x2"
    assert refused["tied/conv"] == "its weights are used elsewhere too, and would train apart"
    assert refused["head/conv"] == "none of the branches identity differs from its kernel"
