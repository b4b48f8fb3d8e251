"""Groups of layers: sums with what they skip, branches between, and convolutions with what passes their numbers on."""

from __future__ import annotations

import onnx
import pytest
from graphs import onnx_model

from graphopt.quantise.groups import groups_of, touching

CONV = "Conv<pads=[1,1,1,1]>"
PLAIN = f"""(float[1,4,8,8] x) => (float[1,4,8,8] y) {{
    ["c1"] a = {CONV}(x, w) ["r1"] b = Relu(a) ["c2"] c = {CONV}(b, w) ["r2"] d = Relu(c) ["c3"] y = {CONV}(d, w) }}"""
SKIPS = f"""(float[1,4,8,8] x) => (float[1,4,8,8] y) {{
    ["head"] s = {CONV}(x, w) ["b1"] a = {CONV}(s, w) ["r1"] r = Relu(a) ["add1"] t = Add(s, r)
    ["b2"] c = {CONV}(t, w) ["add2"] u = Add(t, c) ["tail"] e = {CONV}(u, w) ["out"] y = Add(x, e) }}"""
W = {"w": (4, 4, 3, 3)}


def found(model: onnx.ModelProto, most: int = 64) -> dict[str, set[str]]:
    return {group.name: set(group.tensors) for group in groups_of(model, most)}


def test_a_convolution_goes_with_what_passes_its_numbers_on() -> None:
    assert found(onnx_model(PLAIN, W)) == {"x": {"x"}, "c1": {"a", "b"}, "c2": {"c", "d"}, "c3": {"y"}}


def test_a_sum_goes_with_what_it_skips_and_branches_stand_apart() -> None:
    assert found(onnx_model(SKIPS, W)) == {
        "x": {"x", "y"}, "head": {"s", "t", "u"}, "b1": {"a", "r"}, "b2": {"c"}, "tail": {"e"}
    }  # fmt: skip


@pytest.mark.parametrize(("most", "sizes"), [(4, [1, 2, 2, 1]), (3, [3, 3]), (1, [6])])
def test_groups_grow_until_there_are_few_enough(most: int, sizes: list[int]) -> None:
    made = groups_of(onnx_model(PLAIN, W), most)
    assert sum(len(group.tensors) for group in made) == 6
    assert len(made) <= most
    assert [len(group.tensors) for group in made] == sizes


def test_a_sum_of_two_branches_skips_nothing() -> None:
    text = f"(float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = {CONV}(x, w) b = {CONV}(x, w) y = Add(a, b) }}"
    assert all(not {"y", "a"} <= tensors for tensors in found(onnx_model(text, W)).values())


def test_nodes_that_touch_a_group() -> None:
    assert [node.name for node in touching(onnx_model(SKIPS, W), frozenset({"t"}))] == ["add1", "b2", "add2"]


def test_two_groups_that_one_node_begins_have_two_names() -> None:
    split = f"""(float[1,8,8,8] x) => (float[1,4,8,8] y) {{
        ["b0"] s = {CONV}(x, w8) ["add0"] t = Add(x, s) ["part"] a, b = Split<axis=1, num_outputs=2>(t)
        ["b1"] c = {CONV}(a, w) ["add1"] d = Add(a, c) ["b2"] e = {CONV}(b, w) ["mul"] y = Mul(d, e) }}"""
    made = found(onnx_model(split, {**W, "w8": (8, 8, 3, 3)}))
    assert made == {"x": {"x", "t"}, "b0": {"s"}, "part:a": {"a", "d"}, "part:b": {"b"}, "b1": {"c"}, "b2": {"e", "y"}}
