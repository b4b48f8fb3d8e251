"""Integer weights become float behind a pair, and integers again: the same graph with the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from qdq import residual, scene, to_integers

from graphopt.errors import GraphoptError
from graphopt.quantise.training_form import QuantisedForm, dequantised, integers_of, quantised_form, with_trained

FORMS = [("qnn", "w8a8"), ("cpu", "w8a8"), ("qnn", "w8a16")]


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def values(form: QuantisedForm) -> dict[str, np.ndarray]:
    """The weights that a training would start with."""
    tensors = form.graph.tensors()
    return {master.name: tensors[master.name].values for master in form.masters}


@pytest.mark.parametrize(("device", "precision"), FORMS)
def test_what_was_not_trained_comes_back_as_it_was(device: str, precision: str) -> None:
    model = residual()
    quantised = to_integers(model, device, precision, scene(16, 16))
    form = quantised_form(quantised, model)
    back = with_trained(quantised, form.masters, values(form))
    assert [node.SerializeToString() for node in back.graph.node] == [
        node.SerializeToString() for node in quantised.graph.node
    ]
    before, after = arrays(quantised), arrays(back)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        assert after[name].dtype == expected.dtype
        assert np.abs(after[name].astype(np.float64) - expected).max() <= (expected.dtype == np.int32)  # biases


def test_the_weights_are_those_of_the_float_network_exactly() -> None:
    model = residual()
    form = quantised_form(to_integers(model, "cpu", "w8a8", scene(16, 16)), model)
    found, exact = values(form), arrays(model)
    assert {master.integers.removesuffix("_quantized") for master in form.masters} >= {"w", "b", "k", "d"}
    for master in form.masters:
        np.testing.assert_array_equal(found[master.name], exact[master.integers.removesuffix("_quantized")])


def test_trained_numbers_go_back_as_integers_and_scales() -> None:
    model = residual()
    quantised = to_integers(model, "cpu", "w8a8", scene(16, 16))
    form, held = quantised_form(quantised, model), arrays(quantised)
    weights = next(master for master in form.masters if master.integers == "w_quantized")
    bias = next(master for master in form.masters if master.integers == "b_quantized")
    assert bias.product is not None
    trained = values(form)
    trained[weights.name] = trained[weights.name] * np.float32(0.9)
    trained[weights.scale] = held[weights.scale] * np.float32(1.25)
    trained[bias.product[0]] = held[bias.product[0]] * np.float32(1.5)
    found = arrays(with_trained(quantised, form.masters, trained))
    scale = trained[weights.scale].reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(found["w_quantized"], np.rint(trained[weights.name] / scale).astype(np.int8))
    np.testing.assert_array_equal(found[weights.scale], trained[weights.scale])
    product = trained[bias.product[0]] * trained[weights.scale]
    np.testing.assert_array_equal(found[bias.scale], product)
    np.testing.assert_array_equal(found["b_quantized"], np.rint(trained[bias.name] / product).astype(np.int32))


@pytest.mark.parametrize("device", ["qnn", "cpu"])
def test_what_a_rule_gives_is_not_learnt_nor_trained(device: str) -> None:
    """The scale of a sigmoid's output, and the exponent."""
    model = residual()
    quantised = to_integers(model, device, "w8a8", scene(16, 16))
    form = quantised_form(quantised, model)
    makers = {name: node for node in quantised.graph.node for name in node.output}
    pairs = [node for node in quantised.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in makers]
    of_sigmoid = [node.input[1] for node in pairs if makers[node.input[0]].op_type == "Sigmoid"]
    others = {node.input[1] for node in pairs if makers[node.input[0]].op_type in ("Add", "Conv")}
    assert of_sigmoid
    assert not set(of_sigmoid) & set(form.scales)
    assert others <= set(form.scales)
    assert not any("two" in master.name for master in form.masters)


def test_pairs_on_the_grid_that_values_are_on_already_are_left_out() -> None:
    model = residual()
    quantised = to_integers(model, "cpu", "w8a8", scene(16, 16))
    split = next(node for node in quantised_form(quantised, model).graph.nodes if node.op == "Split")
    assert [reader.op for part in split.outputs for reader in part.outputs] == ["Mul", "Mul"]
    before = next(node for node in quantised.graph.node if node.op_type == "Split")
    assert {node.op_type for node in quantised.graph.node if set(node.input) & set(before.output)} == {"QuantizeLinear"}


def test_weights_of_another_network_are_refused() -> None:
    quantised = to_integers(residual(), "cpu", "w8a8", scene(16, 16))
    with pytest.raises(GraphoptError, match="are not those that the quantised network was made of"):
        quantised_form(quantised, residual(seed=1))


def test_integers_are_rounded_half_to_even_and_end_where_their_type_does() -> None:
    weights, zero = np.array([0.5, 1.5, 2.5, -0.5, 300, -300], np.float32), np.array(1, np.int8)
    found = integers_of(weights, np.float32(1).reshape(()), zero, 0)
    np.testing.assert_array_equal(found, np.array([1, 3, 3, 1, 127, -128], np.int8))
    far = integers_of(np.array([1e30, -1e30], np.float32), np.float32([1, 1]), np.zeros(2, np.int32), 0)
    np.testing.assert_array_equal(far, np.array([2**31 - 128, -(2**31) + 128], np.int32))
    back = dequantised(found, np.float32(1).reshape(()), zero, 0)
    np.testing.assert_array_equal(back, np.array([0, 2, 2, 0, 126, -129], np.float32))
