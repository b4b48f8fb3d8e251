"""Spaces with exact candidates in place: sites follow their nodes, and what others read stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from nested_space import space as nested_space
from search_toys import Drop, DropPair, Same, scaled, toy_space

from graphopt import Contract, GraphoptError, Pass
from graphopt.ir.canonical import to_model
from graphopt.ir.contract import Contract as Promise
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.session import OnnxSession
from graphopt.ir.settling import settled_space
from graphopt.ir.space import Space
from graphopt.ir.space_files import load_space, save_space
from graphopt.nn.supernet import Supernet


@dataclass(frozen=True)
class Unscaled(Pass):
    """x * 1 -> x, exact where the scale is 1"""

    name: ClassVar[str] = "unscaled"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph) -> Iterable:
        return [site for site in graph.find(scaled, label="scale") if site.name.startswith(("first", "third"))]

    def rewrite(self, site, build):
        return build.input("x")


def at(space: Space, start: str) -> str:
    return next(name for name in space.choices if name.startswith(start))


def run(space: Space, selection: dict[str, str]) -> np.ndarray:
    image = np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)
    return OnnxSession(to_model(apply_selection(space, selection))).run(image)


def test_sites_follow_what_stands_in_their_place(tmp_path) -> None:
    space = toy_space(Drop(), DropPair(), Same())
    second = at(space, "second")
    found = settled_space(space, {second: "same"})
    outer = next(name for name, choice in found.choices.items() if "drop-pair" in choice.candidates)
    assert [list(choice.candidates) for choice in found.choices.values()].count(["drop"]) == 3
    assert found.choices[second].site.nodes == (f"{second}@same/mul",)
    assert set(found.choices[second].site.nodes) < set(found.choices[outer].site.nodes)
    assert found.choices[second].parent == outer
    save_space(found, tmp_path)
    for stored in (found, load_space(tmp_path)):
        for selection in ({}, {second: "drop"}, {outer: "drop-pair"}, {at(space, "first"): "drop"}):
            np.testing.assert_allclose(run(stored, selection), run(space, selection), rtol=1e-6)


def test_what_is_handed_on_keeps_the_name_that_others_read() -> None:
    space = toy_space(Drop(), Unscaled())
    settled = {name: "unscaled" for name, choice in space.choices.items() if "unscaled" in choice.candidates}
    assert len(settled) == 2
    found = settled_space(space, settled)
    second = at(space, "second")
    np.testing.assert_allclose(run(found, {second: "drop"}), run(space, {second: "drop"}), rtol=1e-6)
    everything = {name: "drop" for name in found.choices}
    np.testing.assert_allclose(run(found, everything), run(space, everything), rtol=1e-6)


def test_what_is_settled_is_what_a_search_trains() -> None:
    """The weights of an exact candidate come from the original's: trained ones must not be left behind for them."""
    space = toy_space(Drop(), Same())
    found = settled_space(space, dict.fromkeys(space.choices, "same"))
    supernet = Supernet(found)
    kept = dict.fromkeys(found.choices, "keep")
    with torch.no_grad():
        for weight in supernet.weight_parameters():
            weight.mul_(1.5)
    image = np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)
    expected = supernet(torch.from_numpy(image), selection=kept).detach().numpy()
    supernet.write_back(found)
    np.testing.assert_allclose(run(found, kept), expected, rtol=1e-6)
    assert np.abs(expected - image).max() > 0.5


def test_a_space_without_exact_candidates_stays_as_it_is() -> None:
    space = nested_space()
    del space.choices["block/act"].candidates["same"]
    found = settled_space(space, {})
    assert list(found.choices) == list(space.choices)
    assert [c.parent for c in found.choices.values()] == [c.parent for c in space.choices.values()]
    assert [c.site.nodes for c in found.choices.values()] == [c.site.nodes for c in space.choices.values()]


def test_what_lies_inside_a_settled_site_is_no_choice_any_more() -> None:
    space = nested_space()
    space.choices["block"].candidates["skip"].contract = Promise.EXACT
    found = settled_space(space, {"block": "skip"})
    assert list(found.choices) == ["halves"]
    assert found.choices["halves"].parent is None


def test_a_tensor_that_is_gone_is_an_error() -> None:
    space = toy_space(Drop(), Same())
    choice = space.choices[at(space, "third")]
    (output,) = choice.site.outputs.values()
    choice.candidates["drop"].fragment.outputs = {output: gs.Variable("gone", np.float32, (1, 3, 16, 16))}
    with pytest.raises(GraphoptError, match="takes away the tensor gone, which drop needs"):
        settled_space(space, {})
