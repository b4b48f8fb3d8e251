"""Do the kernels that are priced compute the network? Runs each on an OpenCL platform, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import relax, tirx

from graphopt.backends.opencl.drawn_schedules import drawn_records, gpu_schedule
from graphopt.backends.opencl.platform import Device, generate
from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.session import OnnxSession
from graphopt.kernels.facts import kernel_kind
from graphopt.kernels.lowering import is_kernel, to_relax, tvm_target
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress
from graphopt.tuning.records import Record

TOLERANCE = 1e-4  # relative to the largest value of the reference

Array = NDArray[Any]


@dataclass(frozen=True)
class KernelCheck:
    """One kernel against the same function compiled by LLVM: the largest difference, relative, over all its calls."""

    name: str
    kind: str
    calls: int
    difference: float


def check_kernels(
    model: onnx.ModelProto,
    target: GpuTarget,
    image: NDArray[np.float32],
    device: Device,
    say: Progress,
    trials: int = 0,
) -> tuple[list[KernelCheck], Array]:
    """Runs the network on `image` (1, C, H, W), every kernel on the OpenCL device, in fp32 (few OpenCL platforms for
    CPUs have fp16): under TVM's default schedule, or the best of `trials` that static tuning draws.

    Returns the checks, and the network's output, to be compared with onnxruntime's.

    Raises:
        GraphoptError: a kernel that differs from its reference by more than TOLERANCE is named, with the difference.
    """
    target = target.model_copy(update={"dtype": "float32"})
    with tempfile.TemporaryDirectory() as folder:
        records = drawn_records(model, target, trials, CostCache(Path(folder)), say) if trials else {}
    module = to_relax(model, target)
    main = module["main"]
    values = dict(zip(main.params, [image, *(weight.numpy() for weight in main.attrs["params"])], strict=True))
    kernels: dict[str, _Kernel] = {}
    found: dict[str, KernelCheck] = {}
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    for done, binding in enumerate(bindings):
        call = binding.value
        if not is_kernel(call):
            values[binding.var] = _evaluate(call, values)
            continue
        name = str(call.args[0].name_hint)
        say(done / len(bindings), name)
        if name not in kernels:
            kernels[name] = _Kernel(name, module[call.args[0]], target, records)
        kernel = kernels[name]
        inputs = [_evaluate(argument, values) for argument in call.args[1].fields]
        outputs = kernel.run(inputs, device)
        difference = _largest_difference(outputs, kernel.expected(inputs))
        if not difference <= TOLERANCE:
            raise GraphoptError(
                f"{target.name}: kernel {name} differs from its reference by {difference:.1e} (allowed {TOLERANCE:g})"
            )
        before = found.get(name, KernelCheck(name, kernel.kind, 0, 0.0))
        found[name] = KernelCheck(name, kernel.kind, before.calls + 1, max(before.difference, difference))
        values[binding.var] = outputs[0] if len(outputs) == 1 else tuple(outputs)
    result = _evaluate(main.body.body, values)
    return list(found.values()), result[0] if isinstance(result, tuple) else result


def check_network(
    model: onnx.ModelProto, target: GpuTarget, device: Device, say: Progress, trials: int = 0
) -> tuple[list[KernelCheck], float]:
    """The checks of all kernels on a random image, and how far the whole network is from onnxruntime, relative.

    Raises:
        GraphoptError: a kernel, or the whole network, differs by more than TOLERANCE.
    """
    image = np.random.default_rng(0).random(input_shape(model), dtype=np.float32)
    checks, found = check_kernels(model, target, image, device, say, trials)
    whole = _largest_difference([found], [OnnxSession(model).run(image)])
    if not whole <= TOLERANCE:
        raise GraphoptError(
            f"{target.name}: the network differs from onnxruntime by {whole:.1e} (allowed {TOLERANCE:g})"
        )
    return checks, whole


class _Kernel:
    """A fused function as OpenCL C under its GPU schedule, and by LLVM without one, as the reference."""

    def __init__(self, name: str, function: tirx.PrimFunc, target: GpuTarget, records: Mapping[str, Record]):
        self.kind = kernel_kind(function)
        self._names = [f"operand_{number}" for number in range(len(function.params))]  # TVM's own need not differ
        self.function = function = _renamed(function, self._names)
        # first the reference: making a schedule changes the function that it is given
        self._reference = tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), "llvm")
        self._program = generate(gpu_schedule(name, function, target, records), tvm_target(target))

    def run(self, inputs: Sequence[Array], device: Device) -> list[Array]:
        outputs = self._empty(len(inputs))
        arrays = [*(np.asarray(array, order="C") for array in inputs), *outputs]
        device.run(self._program, dict(zip(self._names, arrays, strict=True)), self._names[len(inputs) :])
        return outputs

    def expected(self, inputs: Sequence[Array]) -> list[Array]:
        tensors = [tvm.runtime.tensor(np.asarray(array, order="C")) for array in (*inputs, *self._empty(len(inputs)))]
        self._reference["main"](*tensors)
        return [tensor.numpy() for tensor in tensors[len(inputs) :]]

    def _empty(self, first: int) -> list[Array]:
        return [np.zeros([int(n) for n in p.shape], str(p.dtype)) for p in self.function.params[first:]]


def _renamed(function: tirx.PrimFunc, names: Sequence[str]) -> tirx.PrimFunc:
    """The same function with other names for its parameters: generated code is called by them."""
    made = {old: type(old)(name, old.ty) for old, name in zip(function.params, names, strict=True)}
    return tvm_ffi.structural_map(function, (type(function.params[0]), lambda variable: made.get(variable, variable)))


def _evaluate(value: Any, values: Mapping[Any, Any]) -> Any:
    """What is no kernel: variables, tuples, their elements, reshapes, constants."""
    if isinstance(value, relax.Var):
        return values[value]
    if isinstance(value, relax.Tuple):
        return tuple(_evaluate(field, values) for field in value.fields)
    if isinstance(value, relax.TupleGetItem):
        return _evaluate(value.tuple_value, values)[value.index]
    if isinstance(value, relax.Call):  # a view of the same values
        return _evaluate(value.args[0], values).reshape([int(extent) for extent in value.ty.shape])
    return value.value.numpy()


def _largest_difference(found: Sequence[Array], expected: Sequence[Array]) -> float:
    return max(
        float(np.abs(f - e).max()) / max(float(np.abs(e).max()), 1e-12) for f, e in zip(found, expected, strict=True)
    )
