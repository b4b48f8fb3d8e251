"""The benchmark of ops in integers: chains that can be quantised, passes that find their sites, and its rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from costs.integer_ops import OPS, TIMES, chain, markdown
from graphopt.ir.canonical import canonical, to_graph
from graphopt.ir.quantised import is_quantised
from graphopt.ir.registry import load_pass
from graphopt.ir.rewriting import rewrite_once
from graphopt.quantise.pricing import priced_form
from graphopt.quantise.rules import find_rules

SMALL = 32


@pytest.mark.parametrize(("name", "channels", "step", "rule"), [(*op[:2], *op[3:]) for op in OPS])
def test_a_chain_is_quantised_and_its_pass_has_sites(name: str, channels: int, step: object, rule: str) -> None:
    model = canonical(chain(channels, SMALL, step), None, name)  # type: ignore[arg-type]
    output = model.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in output] == [1, channels, SMALL, SMALL]
    assert is_quantised(priced_form(model, *find_rules("cpu", "w8a8")))
    if rule:
        assert rewrite_once(to_graph(model), load_pass(rule, {}, Path())) == TIMES


def test_one_convolution_for_each_step() -> None:
    _, channels, _, step, _ = OPS[0]
    made = Counter(node.op_type for node in chain(channels, SMALL, step).graph.node)
    assert made == {"Conv": TIMES}


def test_rows() -> None:
    ratio = {"value": 2.0, "low": 1.9, "high": 2.1, "provenance": "measured"}
    rows = [
        {"op": "3x3", "size": 8, "pass": "", "w8a8": ratio, "with_pass": None},
        {"op": "norm", "size": 8, "pass": "fused-layer-norm", "w8a8": ratio, "with_pass": ratio},
    ]
    assert markdown(rows).splitlines()[2:] == [
        "| 3x3, 8x8 | 2.00x (1.90 to 2.10) | | |",
        "| norm, 8x8 | 2.00x (1.90 to 2.10) | 2.00x (1.90 to 2.10) | `fused-layer-norm` |",
    ]
