"""The builder's names, and copies of a host's constants."""

from __future__ import annotations

import numpy as np
from graphs import network

from graphopt.ir.build import Build
from graphopt.ir.sites import Site
from graphopt.ir.view import GraphView


def builder() -> Build:
    """At a clamp whose bounds are called as the builder itself would call them."""
    text = "(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) { y = Clip(x, value_fixed, value_2_fixed) }"
    graph = network(text, {"value_fixed": np.float32(-1), "value_2_fixed": np.float32(2)})
    constants = {"low": "value_fixed", "high": "value_2_fixed"}
    return Build(Site("here", ("clip",), {"x": "x"}, {"output": "y"}, constants), "mine", GraphView(graph), None)


def test_copies_of_constants_have_names_of_their_own_and_stay_untrained() -> None:
    build = builder()
    copies = [build.like(role, build.values(role) * 2) for role in ("low", "high", "low")]
    copies.append(build.host("value_fixed"))
    assert [copy.name.removeprefix("here@mine/") for copy in copies] == [
        "value_fixed", "value_2_fixed", "value_3_fixed", "value_4_fixed",
    ]  # fmt: skip
    assert [copy.values.item() for copy in copies] == [-2, 4, -2, -1]
    assert build.fragment.constants == copies
