import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from graphopt.cost.counts import macs_and_parameters
from graphopt.errors import GraphoptError

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'


def model(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f"{HEAD} {text}")
    for name, shape in weights.items():
        made.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    return made


def test_convolutions_and_products() -> None:
    made = model(
        """g (float[1,4,8,8] x) => (float[1,5,16,16] y) {
            a = Conv<group=1, kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, w, b)
            c = Conv<group=6, kernel_shape=[3,3], pads=[1,1,1,1]>(a, d)
            y = ConvTranspose<kernel_shape=[4,4], strides=[4,4]>(c, t)
        }""",
        w=(6, 4, 3, 3),
        b=(6,),
        d=(6, 1, 3, 3),
        t=(6, 5, 4, 4),
    )
    macs = 6 * 16 * 4 * 9 + 6 * 16 * 9 + 6 * 16 * 5 * 16
    assert macs_and_parameters(made) == (macs, 6 * 4 * 9 + 6 + 6 * 9 + 6 * 5 * 16)


def test_matrix_products_and_fixed_constants() -> None:
    made = model(
        """g (float[2,3,7] x, float[7,2] z) => (float[2,3,5] y, float[2,5] v) {
            p = MatMul(x, w)
            s = Mul(p, scale_fixed)
            y = Add(s, epsilon)
            v = Gemm<transA=1>(z, w)
        }""",
        w=(7, 5),
        scale_fixed=(5,),
        epsilon=(),
        unused=(100,),
    )
    assert macs_and_parameters(made) == (2 * 3 * 5 * 7 + 2 * 5 * 7, 35)


def test_dynamic_shapes_are_refused() -> None:
    with pytest.raises(GraphoptError, match="no static shape"):
        macs_and_parameters(model("g (float[1,3,H,W] x) => (float[1,3,H,W] y) { a = Relu(x) y = Relu(a) }"))
