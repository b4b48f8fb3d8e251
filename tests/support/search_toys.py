"""A toy space whose right answer is known, and searches in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from graphopt import Contract, Pass, op, pattern, per_channel
from graphopt.config.methods import METHODS
from graphopt.config.search import SearchConfig
from graphopt.cost.live import LiveBytes
from graphopt.cost.record import Cost, NetworkCost
from graphopt.cost.settling import settle
from graphopt.cost.table import CostTable, Delta, build_table
from graphopt.ir.canonical import canonical, to_graph, to_model
from graphopt.ir.space import Selection, Space
from graphopt.ir.space_building import build_space
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.method import Method, method_of
from graphopt.search.problem import Given, Problem, teacher_of
from graphopt.search.wholes import Aim
from graphopt.train.data import PatchSampler
from graphopt.train.processes import start_fabric

TARGET = "phone"


@pattern
def scaled(x):
    return op.Mul(x, per_channel("scale"))


@pattern
def scaled_twice(x):
    return op.Mul(op.Mul(x, per_channel("first")), per_channel("second"))


@dataclass(frozen=True)
class Drop(Pass):
    """x * s -> x"""

    name: ClassVar[str] = "drop"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph) -> Iterable:
        return graph.find(scaled, label="scale")

    def rewrite(self, site, build):
        return build.input("x")


@dataclass(frozen=True)
class DropPair(Pass):
    """x * s * t -> x, around the last two scales"""

    name: ClassVar[str] = "drop-pair"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph) -> Iterable:
        return graph.find(scaled_twice, label="pair")

    def rewrite(self, site, build):
        return build.input("x")


@dataclass(frozen=True)
class Same(Pass):
    """x * s -> s * x"""

    name: ClassVar[str] = "same"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph) -> Iterable:
        return graph.find(scaled, label="scale")

    def rewrite(self, site, build):
        return build.mul(build.parameter("scale", build.values("scale")), build.input("x"))


def toy_space(*passes: Pass) -> Space:
    """Scales 1, 0.5 and 1 for each channel, and a last factor 2: dropping the second one halves the image's range."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        toy (float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] restored)
        <float[1, 3, 1, 1] one = {1, 1, 1}, float[1, 3, 1, 1] half = {0.5, 0.5, 0.5},
         float[1, 3, 1, 1] other = {1, 1, 1}, float two = {2}>
        {
            [first] a = Mul(image, one)
            [second] b = Mul(a, half)
            [third] c = Mul(b, other)
            [last] restored = Mul(c, two)
        }
    """)
    for node, name in zip(model.graph.node, ("/first/Mul", "/second/Mul", "/third/Mul", "/last/Mul"), strict=True):
        node.name = name
    graph = to_graph(canonical(model, None, "toy"))
    return build_space(graph, passes, [np.ones((1, 3, 16, 16), np.float32)], [], lambda share, words: None)


def cost(ms: float) -> Cost:
    return Cost(ms, ms, ms, "estimated", 0, 100, 1000)


def table_of(space: Space, saving: float = 1.0) -> CostTable:
    """A space without exact candidates, each of whose candidates saves as much; `settled_toy` prices others."""
    deltas = {
        name: {o: {TARGET: Delta(0.0, 0, 0) if o == "keep" else Delta(-saving, 0, -3)} for o in choice.options}
        for name, choice in space.choices.items()
    }
    return CostTable({TARGET: cost(4.0)}, deltas)


@dataclass(frozen=True)
class ToyPricer:
    """Prices a network as the sum of what its ops cost.

    `first` is a product whose first operand is a weight, as `Same` makes it. Parameters are counted.
    """

    ms: dict[str, float]

    def price(self, model: onnx.ModelProto) -> NetworkCost:
        weights = {tensor.name: onnx.numpy_helper.to_array(tensor).size for tensor in model.graph.initializer}
        kinds = ["first" if node.input[0] in weights else node.op_type for node in model.graph.node]
        total = sum(self.ms.get(kind, 0.0) for kind in kinds)
        return NetworkCost(total, total, total, "estimated", 0, sum(weights.values()), 1000)

    def price_part(self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None) -> NetworkCost:
        return self.price(model)

    def price_beside(self, model: onnx.ModelProto, reference: onnx.ModelProto) -> NetworkCost:
        return self.price(model)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        return put.latency_ms - kept.latency_ms


def settled_toy(pricers: dict[str, ToyPricer], weights: dict[str, float], *passes: Pass) -> tuple[Space, CostTable]:
    """The toy space after the stage `cost`: priced by `build_table`, exact candidates settled."""
    space = toy_space(*passes)

    def whole(graph: gs.Graph) -> dict[str, NetworkCost]:
        return {name: pricer.price(to_model(graph)) for name, pricer in pricers.items()}

    table = build_table(space, whole(space.graph), pricers, [], lambda share, words: None)
    return settle(space, table, weights, whole)


def hardware_of(
    space: Space, goal: float, table: CostTable | None = None, live: LiveBytes | None = None, **goals: Any
) -> Hardware:
    return Hardware(space, table or table_of(space), live, Goals({TARGET: goal}, **goals))


def losses_of(space: Space, lost: dict[str, float]) -> dict[str, dict[str, float]]:
    """`lost`: dB that dropping a site costs, by the first part of its name; 0 for others."""
    return {
        name: {option: 0.0 if option == "keep" else lost.get(name.split("/")[0], 0.0) for option in choice.options}
        for name, choice in space.choices.items()
    }


def given_of(space: Space, table: CostTable | None = None, config: SearchConfig | None = None) -> Given:
    """With a photograph of noise, half of it for the choices."""
    images = [np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)]
    original = {TARGET: {"latency_ms": 4.0, "peak_memory_bytes": 1000, "parameters": 100}}
    return Given(
        config or SearchConfig(), space, table or table_of(space), original, {TARGET: 1.0}, teacher_of(space.graph),
        lambda seed, varied: PatchSampler(images, 5.0, np.random.default_rng(seed), varied), start_fabric("cpu", "fp32"),
    )  # fmt: skip


def config_of(method: str = "entropy", **changes: Any) -> SearchConfig:
    warm_up = {"warm_up_steps": 5} if "warm_up_steps" in METHODS[method].options else {}
    return SearchConfig(
        **{
            "method": method, "steps": 165, "patches": (2, 16), "learning_rate": 1e-6, "held_out": 0.5,
            "distillation": 0.0, "record_every": 20, **warm_up, **changes,
        }
    )  # fmt: skip


def problem_of(
    space: Space, tmp_path: Path, goal: float = 2.0, lost: dict[str, float] | None = None, **changes: Any
) -> Problem:
    given = given_of(space, config=config_of(**changes))
    aim = Aim(hardware_of(space, goal), None, {}, [])
    return Problem(given, aim, losses_of(space, lost or {}), tmp_path / "state.pt")


def search_of(
    space: Space, tmp_path: Path, goal: float = 2.0, lost: dict[str, float] | None = None, **changes: Any
) -> Method:
    problem = problem_of(space, tmp_path, goal, lost, **changes)
    return method_of(problem.given.config.method, problem)


def silent(share: float, words: str) -> None:
    assert 0 <= share <= 1, words


def short(selection: Selection) -> dict[str, str]:
    """By the first part of the choices' names."""
    return {name.split("/")[0]: option for name, option in selection.items()}


def killed_and_whole(space: Space, tmp_path: Path, at: int, **changes: Any) -> tuple[Method, Method, int]:
    """A search that was killed when it said update `at`, went on and ended; one that never was killed; and the update
    that the first one went on at."""

    def stop(done: float, words: str) -> None:
        if f"step {at}/" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_of(space, tmp_path, **changes).run(stop)
    seen: list[str] = []
    killed = search_of(space, tmp_path, **changes)
    killed.run(lambda done, words: seen.append(words))
    (tmp_path / "whole").mkdir()
    whole = search_of(space, tmp_path / "whole", **changes)
    whole.run(silent)
    return killed, whole, int(seen[0].removeprefix("goes on at step "))
