"""Spaces: what built-in passes offer together, statistics, and the way to disk and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.fold_affine import FoldAffine
from graphs import kinds, run

from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
from graphopt.ir.session import OnnxSession
from graphopt.ir.space import Space
from graphopt.ir.space_building import build_space, prepare
from graphopt.ir.space_files import load_space, save_space

PASSES = (
    "affine-norm", "static-attention", "partial-depthwise", "resize-upsample", "transposed-upsample",
    "skip-feed-forward", "bounded-gate", "fold-affine",
)  # fmt: skip


@pytest.fixture(scope="module")
def space(_nafnet_once: gs.Graph, images: list[np.ndarray]) -> Space:
    rules = [load_pass(name, {}, Path()) for name in PASSES]
    prepared = prepare(_nafnet_once.copy(), rules, images)
    assert prepared.edits == {"bounded-gate": 6}
    return build_space(prepared.graph, rules, images, [], lambda share, text: None)


def test_what_the_built_in_passes_offer(space: Space) -> None:
    block = {
        "encoders.0.0/feed-forward": ("keep", "skip-feed-forward"),
        "encoders.0.0/norm1": ("keep", "affine-norm"),
        "encoders.0.0/norm2": ("keep", "affine-norm"),
        "encoders.0.0/attention": ("keep", "static-attention"),
        "encoders.0.0/conv2": ("keep", "partial-depthwise"),
    }
    options = {name: choice.options for name, choice in space.choices.items()}
    assert block.items() <= options.items()
    assert options["ups.0"] == ("keep", "resize-upsample", "transposed-upsample")
    assert len(options) == 3 * len(block) + 1
    parents = {name: choice.parent for name, choice in space.choices.items() if choice.parent}
    assert parents == {f"{b}/norm2": f"{b}/feed-forward" for b in ("encoders.0.0", "middle_blks.0", "decoders.0.0")}
    order = list(options)
    assert all(order.index(parent) < order.index(name) for name, parent in parents.items())


def test_names_of_candidates_are_unique(space: Space) -> None:
    fragments = [c.fragment for choice in space.choices.values() for c in choice.candidates.values()]
    names = [node.name for fragment in fragments for node in fragment.nodes]
    weights = [constant.name for fragment in fragments for constant in fragment.constants]
    assert len(set(names)) == len(names)
    assert len(set(weights)) == len(weights)
    assert set(names).isdisjoint(node.name for node in space.graph.nodes)


@pytest.mark.parametrize("position", [0, 1, -1])
def test_every_selection_survives_the_disk(
    space: Space, position: int, tmp_path: Path, images: list[np.ndarray]
) -> None:
    save_space(space, tmp_path)
    loaded = load_space(tmp_path)
    assert list(loaded.choices) == list(space.choices)
    assert loaded.refusals == space.refusals
    for name, choice in space.choices.items():
        assert (loaded.choices[name].site, loaded.choices[name].parent) == (choice.site, choice.parent)
        assert loaded.choices[name].options == choice.options
        assert [c.contract for c in loaded.choices[name].candidates.values()] == [
            c.contract for c in choice.candidates.values()
        ]
    selection = {
        name: choice.options[min(position, 1) if position >= 0 else -1]
        for name, choice in space.choices.items()
        if "feed-forward" not in name or position == -1
    }
    first, second = apply_selection(space, selection), apply_selection(loaded, selection)
    assert kinds(first) == kinds(second)
    np.testing.assert_array_equal(run(first, images[0]), run(second, images[0]))


def test_saved_choices_are_plain_json(space: Space, tmp_path: Path) -> None:
    save_space(space, tmp_path)
    content = json.loads((tmp_path / "choices.json").read_text())
    assert [entry["site"]["name"] for entry in content["choices"]] == list(space.choices)
    assert content["choices"][0]["candidates"]["skip-feed-forward"]["contract"] == "tuned"


def test_folding_a_chosen_network(space: Space, images: list[np.ndarray]) -> None:
    """Affine norms and static attention vanish into the convolutions beside them, except before zero padding."""
    selection = {name: choice.options[1] for name, choice in space.choices.items() if "feed" not in name}
    graph = apply_selection(space, selection)
    before = run(graph, images[0])
    edits = rewrite_everywhere(graph, [FoldAffine()])
    found = run(graph, images[0])
    assert np.abs(found - before).max() < 2e-5 * np.abs(before).max()
    # a block: norm1's scale and shift, partial-depthwise's scale and shift, the attention, beta, norm2's two, gamma
    assert edits == {"fold-affine": 3 * 9}
    assert kinds(graph).count("Mul") == 3 * 2  # the gates
    assert kinds(graph).count("Add") == 3 * 2 + 2  # the residuals
    again = rewrite_everywhere(to_graph(to_model(graph)), [FoldAffine()])
    assert again == {"fold-affine": 0}


def test_refusals_say_which_convolutions_are_not_depthwise(space: Space) -> None:
    refused = {r.where: r.reason for r in space.refusals if r.pass_name == "partial-depthwise"}
    assert refused["intro/conv"] == "expected a depthwise convolution, found 1 groups for 4 channels"


def test_a_session_without_outputs_asked_for_runs_nothing(nafnet_graph: gs.Graph) -> None:
    assert OnnxSession(to_model(nafnet_graph)).run_named({}, []) == []
