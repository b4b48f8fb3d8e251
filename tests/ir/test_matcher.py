"""Patterns and the matcher: what fits, what does not, and the reason."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphs import NORM_CONSTANTS, layer_norm, network, norm_weights

from graphopt import capture, const, either, equal_to, op, optional, pattern, per_channel, scalar
from graphopt.idioms import channel_attention, channel_layer_norm, gate
from graphopt.ir.matcher import Match, Matcher, attribute
from graphopt.ir.patterns import Pattern

IMAGE = "float[1, 4, 8, 8]"
X_TO_Y = f"({IMAGE} x) => ({IMAGE} y)"


def match_last(graph: gs.Graph, rule: Pattern) -> Match | None:
    return Matcher(graph.nodes).match(rule, graph.nodes[-1])


def fits(graph: gs.Graph, rule: Pattern) -> bool:
    return match_last(graph, rule) is not None


def reason(graph: gs.Graph, rule: Pattern) -> str:
    assert not fits(graph, rule)
    return Matcher(graph.nodes).near_miss(rule, graph.nodes[-1]).reason


@pytest.mark.parametrize(("kind", "either_way"), [("Add", True), ("Mul", True), ("Sub", False), ("Div", False)])
@pytest.mark.parametrize("operands", ["r, k", "k, r"])
def test_operand_order(kind: str, either_way: bool, operands: str) -> None:
    rule = pattern(lambda x: getattr(op, kind)(op.Relu(x), const("k")))
    graph = network(f"{X_TO_Y} {{ r = Relu(x) y = {kind}({operands}) }}", {"k": (1, 4, 1, 1)})
    assert fits(graph, rule) == (either_way or operands == "r, k")


def test_commutativity_can_be_switched_off() -> None:
    rule = pattern(lambda x: op.Add(op.Relu(x), const("k"), commutative=False))
    assert fits(network(f"{X_TO_Y} {{ r = Relu(x) y = Add(r, k) }}", {"k": ()}), rule)
    assert not fits(network(f"{X_TO_Y} {{ r = Relu(x) y = Add(k, r) }}", {"k": ()}), rule)


def test_a_capture_may_be_the_root() -> None:
    rule = pattern(lambda x: capture("sum", op.Add(op.Relu(x), const("k"))))
    graph = network(f"{X_TO_Y} {{ r = Relu(x) y = Add(k, r) }}", {"k": (1, 4, 1, 1)})
    found = match_last(graph, rule)
    assert found is not None
    assert found.captures["sum"].name == "y"
    assert not fits(network(f"{X_TO_Y} {{ r = Relu(x) y = Add(r, r) }}"), rule)


def test_a_repeated_variable_is_one_tensor() -> None:
    rule = pattern(lambda x: op.Add(x, op.Relu(x)))
    assert fits(network(f"{X_TO_Y} {{ a = Sigmoid(x) r = Relu(a) y = Add(r, a) }}"), rule)
    graph = network(f"{X_TO_Y} {{ a = Sigmoid(x) r = Relu(a) y = Add(r, x) }}")
    assert reason(graph, rule) == "expected a again, found x"


def test_a_shared_subexpression_is_one_tensor() -> None:
    def square_of_root(x):
        root = op.Sqrt(x)
        return op.Mul(root, root)

    rule = pattern(square_of_root)
    assert fits(network(f"{X_TO_Y} {{ a = Sqrt(x) y = Mul(a, a) }}"), rule)
    assert reason(network(f"{X_TO_Y} {{ a = Sqrt(x) b = Sqrt(x) y = Mul(a, b) }}"), rule) == "expected a again, found b"


def test_two_equal_subexpressions_may_be_two_nodes() -> None:
    rule = pattern(lambda x: op.Mul(op.Sqrt(x), op.Sqrt(x)))
    assert fits(network(f"{X_TO_Y} {{ a = Sqrt(x) b = Sqrt(x) y = Mul(a, b) }}"), rule)


def test_either_takes_the_first_alternative_that_fits() -> None:
    rule = pattern(lambda x: either(capture("small", op.Relu(op.Sqrt(x))), op.Relu(x)))
    found = match_last(network(f"{X_TO_Y} {{ a = Sqrt(x) y = Relu(a) }}"), rule)
    assert isinstance(found, Match)
    assert found.inputs["x"].name == "x"
    assert list(found.captures) == ["small"]
    found = match_last(network(f"{X_TO_Y} {{ a = Exp(x) y = Relu(a) }}"), rule)
    assert isinstance(found, Match)
    assert found.inputs["x"].name == "a"
    assert not found.captures


@pytest.mark.parametrize("tail", ["", "scale", "shift", "both"])
def test_optional_tail(tail: str) -> None:
    rule = pattern(
        lambda x: optional(
            lambda t: op.Add(t, per_channel("shift")), optional(lambda t: op.Mul(t, per_channel("scale")), op.Sqrt(x))
        )
    )
    text = {
        "": "y = Sqrt(x)",
        "scale": "a = Sqrt(x) y = Mul(a, s)",
        "shift": "a = Sqrt(x) y = Add(t, a)",
        "both": "a = Sqrt(x) b = Mul(s, a) y = Add(b, t)",
    }
    graph = network(f"{X_TO_Y} {{ {text[tail]} }}", {"s": (1, 4, 1, 1), "t": (4, 1, 1)})
    found = match_last(graph, rule)
    assert isinstance(found, Match)
    assert len(found.nodes) == len(graph.nodes)
    assert set(found.constants) == {"": set(), "both": {"scale", "shift"}}.get(tail, {tail})


@pytest.mark.parametrize(
    ("opset", "text"),
    [
        (20, "y = ReduceMean<keepdims = 1>(x, positive)"),
        (20, "y = ReduceMean<keepdims = 1>(x, negative)"),
        (20, "y = ReduceMean(x, negative)"),  # keepdims is 1 where it is left out
        (13, "y = ReduceMean<axes = [2, 3], keepdims = 1>(x)"),
        (13, "y = ReduceMean<axes = [-1, -2]>(x)"),
    ],
)
@pytest.mark.parametrize("expected", [(2, 3), (-2, -1)])
def test_axes_as_attribute_and_as_input(opset: int, text: str, expected: tuple[int, int]) -> None:
    rule = pattern(lambda x: op.ReduceMean(x, axes=expected, keepdims=1))
    weights = {"positive": np.array([2, 3]), "negative": np.array([-1, -2])} if opset == 20 else {}
    graph = network(f"({IMAGE} x) => (float[1, 4, 1, 1] y) {{ {text} }}", weights, opset=opset)
    assert fits(graph, rule)
    other = pattern(lambda x: op.ReduceMean(x, axes=(1,), keepdims=1))
    assert not fits(graph, other)


def test_negative_axis_of_split() -> None:
    text = (
        "(float[1, 4, 8, 8] x) => (float[1, 2, 8, 8] y) { a, b = Split<axis = -3, num_outputs = 2>(x) y = Mul(a, b) }"
    )
    assert fits(network(text), gate)


@pytest.mark.parametrize("axis", [3, -1])
def test_axes_of_unsqueeze_are_those_of_its_result(axis: int) -> None:
    text = "(float[1, 4, 8] x) => (float[1, 4, 8, 1] y) { y = Unsqueeze(x, axes) }"
    node = network(text, {"axes": np.array([axis])}).nodes[0]
    assert attribute(node, "axes") == (3,)
    assert fits(network(text, {"axes": np.array([axis])}), pattern(lambda x: op.Unsqueeze(x, axes=(-1,))))


def test_attributes_that_onnx_leaves_out() -> None:
    text = f"{X_TO_Y} {{ y = Conv(x, w) }}"
    node = network(text, {"w": (4, 4, 1, 1)}).nodes[0]
    found = {
        name: attribute(node, name) for name in ("group", "strides", "kernel_shape", "pads", "dilations", "auto_pad")
    }
    assert found == {
        "group": 1, "strides": (1, 1), "kernel_shape": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1),
        "auto_pad": "NOTSET",
    }  # fmt: skip
    assert attribute(node, "no_such_attribute") is None


def test_attribute_conditions_say_what_was_expected() -> None:
    def small(kernel):
        """a kernel of 1x1"""
        return kernel == (1, 1)

    graph = network(f"{X_TO_Y} {{ y = Conv<pads = [1, 1, 1, 1]>(x, w) }}", {"w": (4, 4, 3, 3)})
    rule = pattern(lambda x: op.Relu(op.Conv(x, const(), kernel_shape=small)))
    graph.nodes.append(gs.Node("Relu", "relu", {}, [graph.outputs[0]], [gs.Variable("z")]))
    assert reason(graph, rule) == "conv: attribute kernel_shape: expected a kernel of 1x1, found (3, 3)"


def test_conditions_on_a_node_see_its_shapes() -> None:
    def halved(node):
        """half of the channels"""
        return node.outputs[0].shape[1] * 2 == node.inputs[0].shape[1]

    rule = pattern(lambda x: op.Relu(op.Conv(x, const(), where=halved)))
    text = "(float[1, 4, 8, 8] x) => (float[1, {0}, 8, 8] y) {{ a = Conv(x, w) y = Relu(a) }}"
    assert fits(network(text.format(2), {"w": (2, 4, 1, 1)}), rule)
    found = reason(network(text.format(3), {"w": (3, 4, 1, 1)}), rule)
    assert found == "conv: shapes: expected half of the channels, found Conv of [1, 4, 8, 8] to [1, 3, 8, 8]"


def test_a_match_stays_within_the_matchers_nodes() -> None:
    rule = pattern(lambda x: op.Relu(op.Sqrt(x)))
    nodes = network(f"{X_TO_Y} {{ a = Sqrt(x) y = Relu(a) }}").nodes
    assert isinstance(Matcher(nodes).match(rule, nodes[1]), Match)
    assert Matcher(nodes[1:]).match(rule, nodes[1]) is None


def test_the_size_of_a_pattern_is_that_of_its_first_form() -> None:
    rule = pattern(lambda x: either(op.Relu(x), op.Relu(op.Sqrt(op.Exp(x)))))
    assert rule.size == 1
    assert pattern(lambda x: optional(lambda t: op.Add(t, const()), op.Sqrt(x))).size == 2
    assert channel_layer_norm.size == 9


@pytest.mark.parametrize(
    ("term", "values", "expected"),
    [
        (equal_to(2), np.float32(2), True),
        (equal_to(2), np.full((1, 1), 2, np.float32), True),
        (equal_to(2), np.float32(3), False),
        (equal_to(2), np.full((4, 1, 1), 2, np.float32), False),
        (per_channel("k"), np.ones((1, 4, 1, 1)), True),
        (per_channel("k"), np.ones((4, 1, 1)), True),
        (per_channel("k"), np.ones((8,)), False),  # varies over columns
        (per_channel("k"), np.ones((1, 1, 8, 1)), False),  # and over rows
        (scalar("k"), np.ones((1,)), True),
        (scalar("k", lambda a: a.item() > 0), np.full((), -1.0), False),
        (const("k", lambda a: a.ndim == 3, "a constant of rank 3"), np.ones((4, 1, 1)), True),
        (const("k", lambda a: a.ndim == 3, "a constant of rank 3"), np.ones(()), False),
    ],
)
def test_constants_with_conditions(term, values: np.ndarray, expected: bool) -> None:
    graph = network(f"{X_TO_Y} {{ y = Mul(x, k) }}", {"k": values})
    assert fits(graph, pattern(lambda x: op.Mul(x, term))) is expected


def test_a_number_in_a_pattern_is_that_constant() -> None:
    rule = pattern(lambda x: op.Pow(x, 2))
    assert fits(network(f"{X_TO_Y} {{ y = Pow(x, k) }}", {"k": np.float32(2)}), rule)
    graph = network(f"{X_TO_Y} {{ a = Pow(x, k) y = Relu(a) }}", {"k": np.float32(3)})
    assert reason(graph, pattern(lambda x: op.Relu(op.Pow(x, 2)))) == "expected the constant 2, found k of shape ()"


def test_a_variable_is_no_constant_and_a_constant_no_variable() -> None:
    graph = network(f"{X_TO_Y} {{ a = Relu(x) y = Sub(k, a) }}", {"k": ()})
    assert (
        reason(graph, pattern(lambda x, z: op.Sub(x, z))) == "expected a computed tensor for 'x', found the constant k"
    )
    graph = network(f"{X_TO_Y} {{ a = Relu(x) y = Sub(a, x) }}")
    assert (
        reason(graph, pattern(lambda x: op.Sub(op.Relu(x), const())))
        == "expected a constant, found the input of the network, x"
    )


def test_output_index_of_split() -> None:
    text = "(float[1, 4, 8, 8] x) => (float[1, 2, 8, 8] y) {{ a, b = Split<axis = 1, num_outputs = 2>(x) y = Sub({}) }}"
    rule = pattern(lambda x: op.Sub(op.Split(x, output=0), op.Split(x, output=1)))
    assert fits(network(text.format("a, b")), rule)
    assert not fits(network(text.format("b, a")), rule)
    assert reason(network(text.format("b, a")), rule) == "expected Split, found output 1 of Split (split)"
    third = pattern(lambda x: op.Sub(op.Split(x, output=2), op.Split(x, output=1)))
    assert not fits(network(text.format("a, b")), third)


def test_a_computed_operand_is_not_lost() -> None:
    text = f"({IMAGE} x, {IMAGE} u) => ({IMAGE} y) "
    rule = pattern(lambda x: op.Max(op.Relu(x), op.Exp(x)))
    assert fits(network(text + "{ a = Relu(x) b = Exp(x) y = Max(b, a) }"), rule)
    assert not fits(network(text + "{ a = Relu(x) b = Exp(x) y = Max(a, b, u) }"), rule)


def test_a_missing_bias_is_asked_for_with_none() -> None:
    rule = pattern(lambda x: op.Conv(x, const("weight"), None))
    weights = {"w": (4, 4, 1, 1), "b": (4,)}
    assert fits(network(f"{X_TO_Y} {{ y = Conv(x, w) }}", weights), rule)
    graph = network(f"{X_TO_Y} {{ y = Conv(x, w, b) }}", weights)
    assert reason(graph, rule) == "expected no operand, found the constant b"
    with_bias = pattern(lambda x: op.Conv(x, const("weight"), const("bias")))
    assert (
        reason(network(f"{X_TO_Y} {{ y = Conv(x, w) }}", weights), with_bias) == "expected a constant, found no operand"
    )


def test_captures_and_nodes_come_in_the_graphs_order() -> None:
    text = f"""{X_TO_Y} {{ g = Sigmoid(x) p = ReduceMean(g, axes) a = Conv(p, w, b) y = Mul(a, g) }}"""
    graph = network(text, {"axes": np.array([2, 3]), "w": (4, 4, 1, 1), "b": (4,)})
    found = match_last(graph, channel_attention)
    assert isinstance(found, Match)
    assert [node.op for node in found.nodes] == ["ReduceMean", "Conv", "Mul"]
    assert {name: tensor.name for name, tensor in found.captures.items()} == {"attention": "a"}
    assert {name: tensor.name for name, tensor in found.constants.items()} == {"weight": "w", "bias": "b"}
    assert {name: tensor.name for name, tensor in found.inputs.items()} == {"x": "g"}
    assert found.output.name == "y"


def test_anchors_are_in_the_graphs_order_and_of_the_right_kind(nafnet_graph: gs.Graph) -> None:
    anchors = Matcher(nafnet_graph.nodes).anchors(channel_layer_norm)
    positions = [nafnet_graph.nodes.index(node) for node in anchors]
    assert positions == sorted(positions)
    assert {node.op for node in anchors} == {"Add", "Mul", "Div", "Transpose"} & {n.op for n in nafnet_graph.nodes}


def test_two_searches_find_the_same(nafnet_graph: gs.Graph) -> None:
    found = []
    for graph in (nafnet_graph, nafnet_graph.copy()):
        matcher = Matcher(graph.nodes)
        matches = (matcher.match(channel_layer_norm, anchor) for anchor in matcher.anchors(channel_layer_norm))
        found.append([[n.name for n in m.nodes] for m in matches if isinstance(m, Match)])
    assert found[0] == found[1]
    assert len(found[0]) == 18  # six norms, each with its scale and shift, with its scale, and bare


NORMED = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'norm')} }}"


@pytest.mark.parametrize("spelling", ["decomposed", "transposed"])
def test_both_spellings_of_layer_norm(spelling: str) -> None:
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'norm', spelling)} }}"
    graph = network(text, {**NORM_CONSTANTS, **norm_weights("norm", 4, spelling)})
    found = match_last(graph, channel_layer_norm)
    assert isinstance(found, Match)
    assert len(found.nodes) == len(graph.nodes)
    assert found.inputs["x"].name == "x"


def test_square_as_a_product() -> None:
    text = NORMED.replace("Pow(y_c, two)", "Mul(y_c, y_c)").replace("pow", "mul_9")
    assert fits(network(text, {**NORM_CONSTANTS, **norm_weights("norm", 4)}), channel_layer_norm)


@pytest.mark.parametrize(
    ("text", "matched", "node", "part", "expected", "found"),
    [
        ("a = Sqrt(x) b = Sub(x, a) y = Mul(b, k)", 2, "sub", "operand 0", "Relu", "the input of the network, x"),
        ("a = Relu(x) b = Sub(a, k) y = Mul(b, k)", 3, "sub", "operand 1", "Sqrt", "the constant k"),
        ("a = Relu(x) r = Sqrt(x) b = Sub(a, r) y = Mul(b, k)", 4, "sqrt", "operand 0", "a again", "x"),
        ("y = Mul(x, k)", 1, "mul", "operand 0", "Sub", "the input of the network, x"),
    ],
)  # fmt: skip
def test_a_near_miss_names_the_deepest_node_and_its_first_misfit(
    text: str, matched: int, node: str, part: str, expected: str, found: str
) -> None:
    def rule(x):
        first = op.Relu(x)
        return op.Mul(op.Sub(first, op.Sqrt(first)), const("k"))

    graph = network(f"{X_TO_Y} {{ {text} }}", {"k": (1, 4, 1, 1)})
    miss = Matcher(graph.nodes).near_miss(pattern(rule), graph.nodes[-1])
    assert (miss.matched, miss.node, miss.part, miss.expected, miss.found) == (matched, node, part, expected, found)


def test_a_match_is_no_near_miss() -> None:
    graph = network(f"{X_TO_Y} {{ y = Relu(x) }}")
    with pytest.raises(ValueError, match="matches at relu"):
        Matcher(graph.nodes).near_miss(pattern(lambda x: op.Relu(x)), graph.nodes[-1])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Sub(x, y_mean)", "Sub(y_mean, x)", "expected ReduceMean, found the input of the network, x"),
        ("Add(y_var, eps)", "Add(y_var, y_var)", "expected a constant of one element, found the computed tensor y_var"),
        ("Div(y_c, y_sd)", "Div(x, y_sd)", "expected Sub, found the input of the network, x"),
    ],
)
def test_near_misses_of_layer_norm(old: str, new: str, expected: str) -> None:
    assert old in NORMED
    graph = network(NORMED.replace(old, new), {**NORM_CONSTANTS, **norm_weights("norm", 4)})
    assert reason(graph, channel_layer_norm) == expected


def test_norm_over_channels_and_pixels_is_no_layer_norm() -> None:
    weights = {**NORM_CONSTANTS, **norm_weights("norm", 4), "axes_1": np.array([1, 2, 3])}
    graph = network(NORMED, weights)
    assert reason(graph, channel_layer_norm) == "norm/reducemean: attribute axes: expected (1,), found (1, 2, 3)"


@pytest.mark.parametrize("spelling", ["reshape", "op"])
def test_group_norm_of_one_group_is_no_layer_norm(spelling: str) -> None:
    """GroupNorm(1, C) looks the same, but takes its statistics over the whole image."""
    if spelling == "op":
        text = f"{X_TO_Y} {{ y = GroupNormalization<num_groups = 1, epsilon = 0.000001>(x, s, t) }}"
        graph = network(text, {"s": (4,), "t": (4,)}, opset=21)
    else:
        text = f"""{X_TO_Y} {{
            r = Reshape(x, flat) n = InstanceNormalization(r, one, zero) b = Reshape(n, back)
            m = Mul(b, s) y = Add(m, t) }}"""
        shapes = {"flat": np.array([1, 1, -1]), "back": np.array([1, 4, 8, 8])}
        affine = {"one": np.ones(1), "zero": np.zeros(1), "s": (1, 4, 1, 1), "t": (1, 4, 1, 1)}
        graph = network(text, {**shapes, **affine})
    matcher = Matcher(graph.nodes)
    assert not any(isinstance(matcher.match(channel_layer_norm, a), Match) for a in matcher.anchors(channel_layer_norm))


def test_layer_norm_of_another_axis_is_none() -> None:
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'norm', 'transposed')} }}".replace(
        "perm = [0, 3, 1, 2]", "perm = [0, 1, 2, 3]"
    )
    weights = norm_weights("norm", 4, "transposed")
    graph = network(text.replace(f"=> ({IMAGE} y)", "=> (float[1, 8, 8, 4] y)"), weights)
    assert not fits(graph, channel_layer_norm)


def test_layer_normalization_without_a_bias() -> None:
    text = f"{X_TO_Y} {{ {layer_norm('x', 'y', 'norm', 'transposed')} }}".replace(', "norm.shift")', ")")
    assert fits(network(text, {"norm.scale": (4,)}), channel_layer_norm)
