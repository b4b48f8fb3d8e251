"""Every ONNX op that graphopt.nn runs, against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from graphopt.errors import GraphoptError
from graphopt.nn.layout import reshaped_to
from graphopt.nn.module import GraphModule
from graphopt.nn.ops import supported


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def uniform(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + np.float32(0.3)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = normal(2, 6, 7, 8)


@dataclass
class Case:
    """A node: `inputs` are given at run time, `constants` follow them as initialisers (None: omitted)."""

    op: str
    inputs: list[np.ndarray]
    constants: list[np.ndarray | None] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20

    def model(self) -> onnx.ModelProto:
        names = [f"x{i}" for i in range(len(self.inputs))]
        constant_names = [f"c{i}" if c is not None else "" for i, c in enumerate(self.constants)]
        made = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, [*names, *constant_names], made, name="the_node", **self.attributes)
        graph = helper.make_graph(
            [node],
            "case",
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                for n, x in self.feeds()
            ],
            [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in made],
            [
                numpy_helper.from_array(c, n)
                for n, c in zip(constant_names, self.constants, strict=True)
                if c is not None
            ],
        )
        for value in graph.output:
            value.ClearField("type")
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def feeds(self) -> list[tuple[str, np.ndarray]]:
        return [(f"x{i}", x) for i, x in enumerate(self.inputs)]


def check(case: Case, rtol: float = 1e-5) -> None:
    """torch gives what onnxruntime gives: same shapes and types, and values within `rtol` of the largest."""
    model = case.model()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(case.feeds()))
    graph = gs.import_onnx(model)
    with torch.no_grad():
        got = GraphModule(graph)(*(torch.from_numpy(x) for x in case.inputs))
    results = got if isinstance(got, tuple) else (got,)
    assert len(results) == len(expected)
    for mine, theirs in zip(results, expected, strict=True):
        assert tuple(mine.shape) == theirs.shape
        assert mine.numpy().dtype == theirs.dtype
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())
        else:
            np.testing.assert_array_equal(mine.numpy(), theirs)


SMALL = normal(2, 6, 5, 4)
IMAGE = normal(1, 4, 6, 9)
CONV = {"kernel_shape": [3, 3]}

CASES: dict[str, Case] = {
    "add": Case("Add", [X, normal(6, 1, 1)]),
    "add_number": Case("Add", [X], [np.float32(0.25).reshape(())]),
    "sub": Case("Sub", [X], [normal(1, 6, 1, 1)]),
    "mul": Case("Mul", [X, normal(2, 6, 1, 1)]),
    "div": Case("Div", [X, uniform(2, 1, 7, 8)]),
    "div_ints": Case("Div", [ints(7, -7, 9), ints(2, 2, -4)]),
    "pow_2": Case("Pow", [X], [np.float32(2).reshape(())]),
    "pow_half": Case("Pow", [uniform(3, 4)], [np.array([0.5], np.float32)]),
    "pow_tensor": Case("Pow", [uniform(3, 4), normal(3, 4)]),
    "min": Case("Min", [X, normal(6, 1, 1), normal(1, 1, 7, 8)]),
    "max": Case("Max", [X, normal(6, 1, 1)]),
    "sum": Case("Sum", [X, normal(6, 1, 1), normal(8)]),
    "neg": Case("Neg", [X]),
    "abs": Case("Abs", [X]),
    "sqrt": Case("Sqrt", [uniform(3, 4)]),
    "reciprocal": Case("Reciprocal", [uniform(3, 4)]),
    "exp": Case("Exp", [X]),
    "log": Case("Log", [uniform(3, 4)]),
    "erf": Case("Erf", [X]),
    "floor": Case("Floor", [X]),
    "ceil": Case("Ceil", [X]),
    "tanh": Case("Tanh", [X]),
    "sigmoid": Case("Sigmoid", [X]),
    "relu": Case("Relu", [X]),
    "leaky_relu": Case("LeakyRelu", [X], attributes={"alpha": 0.2}),
    "leaky_relu_default": Case("LeakyRelu", [X]),
    "prelu": Case("PRelu", [X], [normal(6, 1, 1)]),
    "elu": Case("Elu", [X], attributes={"alpha": 0.7}),
    "hard_sigmoid": Case("HardSigmoid", [X * 3]),
    "hard_sigmoid_set": Case("HardSigmoid", [X * 3], attributes={"alpha": 0.3, "beta": 0.4}),
    "hard_swish": Case("HardSwish", [X * 3]),
    "gelu": Case("Gelu", [X]),
    "gelu_tanh": Case("Gelu", [X], attributes={"approximate": "tanh"}),
    "softplus": Case("Softplus", [X * 8]),
    "clip": Case("Clip", [X], [np.float32(-0.5).reshape(()), np.float32(0.7).reshape(())]),
    "clip_high": Case("Clip", [X], [None, np.float32(0.7).reshape(())]),
    "clip_run_time": Case("Clip", [X, np.array(-0.1, np.float32)]),
    "softmax": Case("Softmax", [X], attributes={"axis": 1}),
    "identity": Case("Identity", [X]),
    "dropout": Case("Dropout", [X]),
    "cast": Case("Cast", [X * 5], attributes={"to": TensorProto.INT64}),
    "cast_half": Case("Cast", [X], attributes={"to": TensorProto.FLOAT16}),
    "where": Case("Where", [X > 0, X, normal(6, 1, 1)]),
    "equal": Case("Equal", [ints(1, 2, 3), ints(1, 0, 3)]),
    "greater": Case("Greater", [X, normal(6, 1, 1)]),
    "greater_or_equal": Case("GreaterOrEqual", [ints(1, 2, 3), ints(1, 3, 3)]),
    "less": Case("Less", [X, normal(6, 1, 1)]),
    "less_or_equal": Case("LessOrEqual", [ints(1, 2, 3), ints(1, 3, 3)]),
    "not": Case("Not", [X > 0]),
    "and": Case("And", [X > 0, X < 1]),
    "or": Case("Or", [X > 1, X < 0]),
    "reduce_mean": Case("ReduceMean", [X], [ints(1)]),
    "reduce_mean_flat": Case("ReduceMean", [X], [ints(-1, 2)], {"keepdims": 0}),
    "reduce_mean_all": Case("ReduceMean", [X]),
    "reduce_mean_none": Case("ReduceMean", [X], attributes={"noop_with_empty_axes": 1}),
    "reduce_mean_attribute": Case("ReduceMean", [X], attributes={"axes": [2, 3]}, opset=17),
    "reduce_sum": Case("ReduceSum", [X], [ints(2, 3)]),
    "reduce_max": Case("ReduceMax", [X], [ints(1)]),
    "reduce_min": Case("ReduceMin", [X], [ints(1)], {"keepdims": 0}),
    "gemm": Case("Gemm", [normal(3, 4)], [normal(5, 4), normal(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "gemm_left": Case("Gemm", [normal(4, 3)], [normal(4, 5)], {"transA": 1}),
    "matmul": Case("MatMul", [normal(2, 3, 4, 5), normal(3, 5, 6)]),
    "conv": Case("Conv", [X], [normal(5, 6, 3, 3), normal(5)], {**CONV, "pads": [1, 1, 1, 1]}),
    "conv_no_bias": Case("Conv", [X], [normal(5, 6, 1, 1)]),
    "conv_strided": Case("Conv", [X], [normal(5, 6, 2, 2)], {"strides": [2, 2]}),
    "conv_depthwise": Case("Conv", [X], [normal(6, 1, 3, 3), normal(6)], {"group": 6, "pads": [1, 1, 1, 1]}),
    "conv_grouped_dilated": Case("Conv", [X], [normal(4, 3, 3, 3)], {"group": 2, "dilations": [2, 1]}),
    "conv_uneven_pads": Case("Conv", [X], [normal(5, 6, 3, 3)], {"pads": [0, 1, 2, 0]}),
    "conv_same_upper": Case("Conv", [X], [normal(5, 6, 4, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "conv_same_lower": Case("Conv", [X], [normal(5, 6, 4, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "conv_valid": Case("Conv", [X], [normal(5, 6, 3, 3)], {"auto_pad": "VALID"}),
    "conv_1d": Case("Conv", [normal(2, 4, 9)], [normal(3, 4, 3), normal(3)], {"pads": [1, 1], "strides": [2]}),
    "conv_1d_uneven": Case("Conv", [normal(2, 4, 9)], [normal(3, 4, 3)], {"pads": [2, 0]}),
    "conv_3d": Case("Conv", [normal(1, 2, 4, 5, 6)], [normal(3, 2, 2, 2, 2)]),
    "transposed": Case("ConvTranspose", [X], [normal(6, 3, 2, 2), normal(3)], {"strides": [2, 2]}),
    "transposed_grouped": Case("ConvTranspose", [X], [normal(6, 2, 3, 3)], {"group": 3, "pads": [1, 1, 1, 1]}),
    "transposed_extra": Case(
        "ConvTranspose",
        [X],
        [normal(6, 3, 3, 3)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "transposed_uneven": Case("ConvTranspose", [X], [normal(6, 3, 3, 3)], {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
    "transposed_shape": Case("ConvTranspose", [X], [normal(6, 3, 3, 3)], {"strides": [2, 2], "output_shape": [14, 15]}),
    "transposed_same": Case(
        "ConvTranspose", [X], [normal(6, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER", **CONV}
    ),
    "transposed_1d": Case("ConvTranspose", [normal(2, 4, 9)], [normal(4, 3, 2)], {"strides": [2]}),
    "global_average": Case("GlobalAveragePool", [X]),
    "global_max": Case("GlobalMaxPool", [X]),
    "average": Case("AveragePool", [X], attributes={"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average_padded": Case("AveragePool", [X], attributes={**CONV, "pads": [1, 1, 1, 1]}),
    "average_include": Case("AveragePool", [X], attributes={**CONV, "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    "average_uneven": Case("AveragePool", [X], attributes={**CONV, "pads": [0, 1, 2, 1]}),
    "average_uneven_include": Case(
        "AveragePool", [X], attributes={**CONV, "pads": [0, 1, 2, 1], "count_include_pad": 1}
    ),
    "average_same": Case("AveragePool", [X], attributes={**CONV, "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "average_ceil": Case("AveragePool", [X], attributes={**CONV, "strides": [2, 2], "ceil_mode": 1}),
    "average_1d": Case("AveragePool", [normal(2, 4, 9)], attributes={"kernel_shape": [3], "strides": [2]}),
    "max_pool": Case("MaxPool", [X], attributes={**CONV, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "max_pool_uneven": Case("MaxPool", [X - 3], attributes={**CONV, "pads": [0, 1, 2, 1]}),
    "max_pool_dilated": Case("MaxPool", [X], attributes={**CONV, "dilations": [2, 2]}),
    "max_pool_ceil": Case("MaxPool", [X], attributes={**CONV, "strides": [2, 2], "ceil_mode": 1}),
    "batch_norm": Case("BatchNormalization", [X], [normal(6), normal(6, seed=1), normal(6, seed=2), uniform(6)]),
    "instance_norm": Case("InstanceNormalization", [X], [normal(6), normal(6, seed=1)], {"epsilon": 1e-3}),
    "layer_norm": Case("LayerNormalization", [X], [normal(8), normal(8, seed=1)], {"epsilon": 1e-6}),
    "layer_norm_two_axes": Case("LayerNormalization", [X], [normal(7, 8)], {"axis": 2}),
    "split_sizes": Case("Split", [X], [ints(1, 3, 2)], {"axis": 1}, outputs=3),
    "split_count": Case("Split", [X], [], {"axis": 1, "num_outputs": 2}, outputs=2),
    "split_uneven": Case("Split", [X], [], {"axis": -2, "num_outputs": 3}, outputs=3),
    "concat": Case("Concat", [X, normal(2, 3, 7, 8)], attributes={"axis": 1}),
    "slice": Case("Slice", [X], [ints(1, 2), ints(5, 100), ints(1, 3)]),
    "slice_negative": Case("Slice", [X], [ints(-4), ints(-1), ints(-2)]),
    "slice_steps": Case("Slice", [X], [ints(0, 1), ints(7, 8), ints(2, 3), ints(2, 3)]),
    "slice_backwards": Case("Slice", [X], [ints(-1, 6), ints(-(2**60), 1), ints(3, 2), ints(-1, -2)]),
    "slice_no_axes": Case("Slice", [X], [ints(0, 1), ints(1, 4)]),
    "gather": Case("Gather", [X], [np.array([[0, -1], [2, 3]], np.int64)], {"axis": 1}),
    "gather_scalar": Case("Gather", [X], [np.array(-2, np.int64)], {"axis": 2}),
    "gather_run_time": Case("Gather", [X, ints(1, 0, -1)]),
    "pad_constant": Case("Pad", [X], [ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5).reshape(())]),
    "pad_crop": Case("Pad", [X], [ints(0, 0, -1, 2, 0, 0, 0, -3)]),
    "pad_reflect": Case("Pad", [X], [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}),
    "pad_reflect_channels": Case("Pad", [X], [ints(0, 2, 0, 0, 0, 1, 0, 1)], {"mode": "reflect"}),
    "pad_edge": Case("Pad", [X], [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "edge"}),
    "pad_edge_batch": Case("Pad", [X], [ints(1, 0, 0, 0, 2, 0, 0, 3)], {"mode": "edge"}),
    "pad_wrap": Case("Pad", [X], [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "wrap"}),
    "pad_axes": Case("Pad", [X], [ints(1, 2, 3, 0), None, ints(-1, 2)], {"mode": "reflect"}),
    "pad_run_time": Case("Pad", [X, ints(0, 0, 1, 1, 0, 0, 1, 1)]),
    "crd": Case("DepthToSpace", [normal(2, 8, 3, 4)], attributes={"blocksize": 2, "mode": "CRD"}),
    "dcr": Case("DepthToSpace", [normal(2, 8, 3, 4)], attributes={"blocksize": 2}),
    "space_to_depth": Case("SpaceToDepth", [normal(2, 3, 4, 6)], attributes={"blocksize": 2}),
    "transpose": Case("Transpose", [X], attributes={"perm": [0, 2, 3, 1]}),
    "transpose_default": Case("Transpose", [normal(2, 3, 4)]),
    "reshape": Case("Reshape", [X], [ints(0, -1, 8)]),
    "reshape_run_time": Case("Reshape", [X, ints(2, 6, 56)]),
    "flatten": Case("Flatten", [X], attributes={"axis": 2}),
    "flatten_negative": Case("Flatten", [X], attributes={"axis": -1}),
    "squeeze": Case("Squeeze", [normal(1, 3, 1, 4)], [ints(0, 2)]),
    "squeeze_all": Case("Squeeze", [normal(1, 3, 1, 4)]),
    "unsqueeze": Case("Unsqueeze", [normal(3, 4)], [ints(-1, 0)]),
    "expand": Case("Expand", [normal(6, 1, 1)], [ints(2, 1, 7, 8)]),
    "expand_short": Case("Expand", [normal(2, 1, 3)], [ints(4, 1)]),
    "tile": Case("Tile", [normal(2, 3)], [ints(3, 2)]),
    "shape": Case("Shape", [X]),
    "shape_part": Case("Shape", [X], attributes={"start": 1, "end": -1}),
    "constant_of_shape": Case("ConstantOfShape", [ints(2, 3)], attributes={"value": numpy_helper.from_array(ints(7))}),
    "constant_of_shape_zero": Case("ConstantOfShape", [ints(2, 3)]),
}


@pytest.mark.parametrize("name", CASES)
def test_op_equals_onnxruntime(name: str) -> None:
    check(CASES[name])


SCALES = np.array([1, 1, 2, 2], np.float32)
ODD = np.array([1, 1, 1.5, 0.7], np.float32)
RESIZES = [
    (mode, coordinates, nearest, operand)
    for mode in ("nearest", "linear", "cubic")
    for coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    for nearest in (("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else ("floor",))
    for operand in ("whole", "odd", "sizes")
]


@pytest.mark.parametrize(("mode", "coordinates", "nearest", "operand"), RESIZES)
def test_resize_equals_onnxruntime(mode: str, coordinates: str, nearest: str, operand: str) -> None:
    operands = {"whole": [None, SCALES], "odd": [None, ODD], "sizes": [None, None, ints(1, 4, 9, 5)]}[operand]
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    check(Case("Resize", [IMAGE], operands, attributes), rtol=2e-5 if mode == "cubic" else 1e-5)


def test_resize_sizes_follow_the_image() -> None:
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    case = Case("Resize", [normal(1, 2, 4, 6)], [None, None, ints(1, 2, 8, 12)], attributes)
    module = GraphModule(gs.import_onnx(case.model()))
    image = torch.from_numpy(normal(3, 2, 5, 7))
    assert torch.equal(module(image), image.repeat_interleave(2, 2).repeat_interleave(2, 3))


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    groups=st.sampled_from([1, 2, 4]),
)
def test_any_conv_equals_onnxruntime(size: Any, kernel: Any, stride: Any, pads: Any, groups: int) -> None:
    weight = normal(8, 4 // groups, *kernel)
    attributes = {"strides": list(stride), "pads": list(pads), "group": groups, "kernel_shape": list(kernel)}
    check(Case("Conv", [normal(2, 4, *size)], [weight, normal(8)], attributes))


@pytest.mark.parametrize(
    ("traced", "target", "actual", "expected"),
    [
        ((1, 8, 4, 6), (1, 8, 24), (3, 8, 5, 7), [3, 8, 35]),
        ((1, 8, 4, 6), (1, 2, 2, 2, 4, 6), (3, 8, 5, 7), [3, 2, 2, 2, 5, 7]),
        ((1, 2, 4, 2, 6, 2), (1, 2, 8, 12), (3, 2, 5, 2, 7, 2), [3, 2, 10, 14]),
        ((1, 8, 1, 1), (1, 8), (3, 8, 1, 1), [3, 8]),
        ((1, 8), (1, 8, 1, 1), (3, 8), [3, 8, 1, 1]),
        ((1, 2, 16, 16), (1, 2, 2, 8, 2, 8), (2, 2, 24, 32), [2, 2, 3, 8, 4, 8]),
    ],
)
def test_reshape_carries_over_to_other_sizes(traced: Any, target: Any, actual: Any, expected: list[int]) -> None:
    assert reshaped_to(traced, target, actual) == expected


def test_expand_and_slice_follow_batch_and_size() -> None:
    expand = GraphModule(gs.import_onnx(Case("Expand", [normal(1, 1, 4, 6)], [ints(1, 5, 4, 6)]).model()))
    assert expand(torch.zeros(3, 1, 7, 8)).shape == (3, 5, 7, 8)
    crop = GraphModule(
        gs.import_onnx(Case("Slice", [normal(1, 1, 4, 6)], [ints(0, 1), ints(4, 6), ints(2, 3)]).model())
    )
    assert crop(torch.zeros(3, 1, 7, 8)).shape == (3, 1, 7, 7)


def test_unknown_op_names_op_node_opset_and_remedy() -> None:
    assert not supported("LSTM")
    case = Case("Det", [normal(3, 3)])
    with pytest.raises(GraphoptError, match=r"node 'the_node' \(Det\).*opset 20.*cut the graph") as error:
        GraphModule(gs.import_onnx(case.model()))
    assert "Conv" in str(error.value)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("Resize", [IMAGE], [None, ODD], {"mode": "linear", "antialias": 1}), "antialias"),
        (
            Case("Resize", [IMAGE], [None, ODD], {"coordinate_transformation_mode": "half_pixel_symmetric"}),
            "half_pixel_s",
        ),
        (Case("AveragePool", [X], attributes={**CONV, "dilations": [2, 2]}), "dilated"),
        (Case("Relu", [X], opset=9), "opset 9 is too old"),
    ],
)
def test_unknown_options_are_refused(case: Case, message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        GraphModule(gs.import_onnx(case.model()))


def test_a_failing_node_is_named_with_its_shapes() -> None:
    module = GraphModule(gs.import_onnx(Case("Conv", [X], [normal(5, 6, 3, 3)]).model()))
    with pytest.raises(GraphoptError, match=r"node 'the_node' \(Conv\) failed on inputs of shape \(2, 4, 7, 8\)"):
        module(torch.zeros(2, 4, 7, 8))
