"""What the kernels of an artefact are held against: the same functions by LLVM, the same network by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import tvm
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnxruntime.transformers.float16 import convert_np_to_float16

from graphopt.ir.session import OnnxSession
from graphopt.kernels.facts import kernel_kind
from graphopt.kernels.lowering import is_kernel, to_relax
from graphopt.kernels.target import GpuTarget, KernelKind

Array = NDArray[Any]
Signature = tuple[tuple[str, tuple[int, ...]], ...]


class References:
    """The fused functions of a network, each compiled by LLVM for this machine, with every half as a float.

    `kinds` and `signatures` (dtype and shape of each argument, results last) are by the function's name.
    """

    def __init__(self, model: onnx.ModelProto, target: GpuTarget):
        module = to_relax(model, target)
        bindings = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
        functions = {str(v.args[0].name_hint): module[v.args[0]] for v in bindings if is_kernel(v)}
        self.kinds: dict[str, KernelKind] = {name: kernel_kind(function) for name, function in functions.items()}
        self.signatures: dict[str, Signature] = {name: _signature(f) for name, f in functions.items()}
        widened = {name: _widened(f).with_attr("global_symbol", name) for name, f in functions.items()}
        self._compiled = tvm.compile(tvm.IRModule(widened), "llvm")

    def run(self, function: str, inputs: Sequence[Array]) -> list[Array]:
        """What a function makes of its inputs (float16 ones as float32)."""
        results = self.signatures[function][len(inputs) :]
        empty = [np.zeros(shape, "float32" if dtype == "float16" else dtype) for dtype, shape in results]
        tensors = [tvm.runtime.tensor(np.asarray(array, order="C")) for array in (*inputs, *empty)]
        self._compiled[function](*tensors)
        return [tensor.numpy() for tensor in tensors[len(inputs) :]]


def run_network(model: onnx.ModelProto, target: GpuTarget, image: NDArray[np.float32]) -> list[Array]:
    """All outputs of the network by onnxruntime, in the arithmetic of its file, with weights rounded to the target's
    dtype.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        if target.dtype == "float16" and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            halves = convert_np_to_float16(values.reshape(-1)).reshape(values.shape)  # as when the artefact was built
            tensor.CopyFrom(numpy_helper.from_array(halves.astype(np.float32), tensor.name))
    session = OnnxSession(rounded)
    given: NDArray[Any] = image.astype(np.float16) if holds_halves(model) else image
    return [*session.run_named({session.inputs[0]: given}, session.outputs)]


def holds_halves(model: onnx.ModelProto) -> bool:
    """Whether the file itself takes halves, whatever the target computes in."""
    return any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in model.graph.input)


def _signature(function: Any) -> Signature:
    return tuple((str(p.dtype), tuple(int(extent) for extent in p.shape)) for p in function.params)


def _widened(function: Any) -> Any:
    """The same function with float32 in place of float16: TVM's JSON of it names each dtype once."""
    return tvm.ir.load_json(tvm.ir.save_json(function).replace('"dtype":"float16"', '"dtype":"float32"'))
