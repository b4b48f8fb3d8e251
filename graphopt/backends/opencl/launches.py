"""The plan of launches, read from the very module that TVM has turned into OpenCL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import relax, tirx

from graphopt.backends.opencl.plan import Call, Launch, Plan, Sizes, Tensor, kernels_of, size_of
from graphopt.errors import GraphoptError

_LAUNCH, _STORAGE, _TENSOR, _KILL, _NULL = (
    tvm.ir.Op.get(name)
    for name in (
        "tirx.call_ffi_kernel",
        "relax.vm.alloc_storage",
        "relax.vm.alloc_tensor",
        "relax.vm.kill_object",
        "relax.null_value",
    )
)
_VIEW = "vm.builtin.reshape"
_CHECKS = ("vm.builtin.check_tensor_info", "vm.builtin.match_shape")


@tvm.ir.instrument.pass_instrument
class AfterSplit:
    """Keeps the module whose device functions TVM turns into OpenCL, beside the host functions that launch them."""

    module: Any = None

    def run_after_pass(self, module: Any, info: Any) -> None:
        if info.name == "tirx.SplitHostDevice":
            self.module = module


def called_functions(main: relax.Function) -> set[str]:
    """The fused functions that a lowered `main` calls."""
    values = (binding.value for binding in _bindings(main))
    return {
        str(value.op.name_hint)
        for value in values
        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar)
    }


def launch_plan(
    target: str, text: str, main: relax.Function, split: tvm.IRModule, names: Mapping[Any, str]
) -> tuple[Plan, dict[str, NDArray[Any]]]:
    """The plan, and the weights by the tensors' names.

    Args:
        target: the target's name.
        text: the OpenCL source.
        main: after TVM's build pipeline: tensors in storage, and calls that are given where to write.
        split: after `SplitHostDevice`.
        names: what to call weights, by their TVM tensors.

    Raises:
        GraphoptError: `main` does what no plan can say.
    """
    reader = _Reader(split, names)
    for parameter in main.params:
        reader.inputs.append(reader.input(parameter))
    for binding in _bindings(main):
        reader.read(binding)
    outputs = reader.tensor(main.body.body)
    plan = Plan(
        target=target,
        kernels=kernels_of(text),
        buffers=reader.buffers,
        tensors=reader.tensors,
        weights=tuple(reader.weights),
        inputs=tuple(reader.inputs),
        outputs=outputs if isinstance(outputs, tuple) else (outputs,),
        calls=tuple(reader.calls),
    )
    return plan, reader.weights


def _bindings(main: relax.Function) -> Iterator[Any]:
    for block in main.body.blocks:
        yield from block.bindings


class _Reader:
    """Goes through `main` once; `_known` holds, by variable, a tensor's name (or a tuple of them), or a buffer's."""

    def __init__(self, split: tvm.IRModule, names: Mapping[Any, str]):
        self._names = names
        self._functions = {str(variable.name_hint): function for variable, function in split.functions_items()}
        self._known: dict[Any, Any] = {}
        self.buffers: dict[str, int] = {}
        self.tensors: dict[str, Tensor] = {}
        self.weights: dict[str, NDArray[Any]] = {}
        self.inputs: list[str] = []
        self.calls: list[Call] = []
        self._unwritten: set[str] = set()
        self._numbers = count()

    def input(self, parameter: Any) -> str:
        name = str(parameter.name)
        self._known[parameter] = self._own(name, str(parameter.ty.dtype), _extents(parameter.ty.shape))
        return name

    def read(self, binding: Any) -> None:
        value, variable = binding.value, binding.var
        if not isinstance(value, relax.Call):
            self._known[variable] = self.tensor(value)
        elif isinstance(value.op, tvm.ir.GlobalVar):
            self._call(str(value.op.name_hint), [self.tensor(argument) for argument in value.args])
        elif value.op == _STORAGE:
            self._known[variable] = name = (
                f"buffer/{next(self._numbers)}"  # no clash: names of weights are C identifiers
            )
            self.buffers[name] = _extents(value.args[0])[0]
        elif value.op == _TENSOR and int(value.args[1]) == 0:
            self._known[variable] = name = self._view(self._known[value.args[0]], variable.ty)
            self._unwritten.add(name)
        elif isinstance(value.op, relax.ExternFunc) and str(value.op.global_symbol) == _VIEW:
            self._known[variable] = self._view(self.tensors[self.tensor(value.args[0])].buffer, variable.ty)
        elif value.op not in (_KILL, _NULL) and str(getattr(value.op, "global_symbol", "")) not in _CHECKS:
            raise GraphoptError(f"a plan of launches cannot say what TVM's {value.op} does")

    def tensor(self, value: Any) -> Any:
        if isinstance(value, relax.Tuple):
            return tuple(self.tensor(field) for field in value.fields)
        if isinstance(value, relax.TupleGetItem):
            return self.tensor(value.tuple_value)[value.index]
        return self._weight(value) if isinstance(value, tvm.ir.expr.GenericConst) else self._known[value]

    def _weight(self, constant: Any) -> str:
        value = constant.value
        if value not in self._known:
            self._known[value] = name = self._names.get(value, f"constant/{len(self.weights)}")
            self.weights[name] = array = value.numpy()
            self._own(name, str(array.dtype), array.shape)
        return str(self._known[value])

    def _own(self, name: str, dtype: str, shape: tuple[int, ...]) -> str:
        """A tensor in a buffer of its own name."""
        self.tensors[name] = Tensor(buffer=name, dtype=dtype, shape=shape)
        self.buffers[name] = max(self.buffers.get(name, 0), size_of(dtype, shape))
        return name

    def _view(self, buffer: str, kind: Any) -> str:
        name = f"tensor/{len(self.tensors)}"
        self.tensors[name] = Tensor(buffer=buffer, dtype=str(kind.dtype), shape=_extents(kind.shape))
        return name

    def _call(self, name: str, given: list[str]) -> None:
        function = self._functions[name]
        tensors = dict(zip(function.params, given, strict=True))  # by the buffers of the host function
        launches: list[Launch] = []

        def allocate(node: Any) -> None:  # what one launch hands to the next
            own = f"{name}/{node.buffer.name}"
            tensors[node.buffer] = self._own(own, str(node.buffer.dtype), _extents(node.buffer.shape))

        def declare(node: Any) -> None:
            tensors[node.buffer] = tensors[node.data.args[0]]

        def launch(node: Any) -> None:
            if node.op == _LAUNCH:
                launches.append(self._launch(node, tensors))

        def refuse(node: Any) -> None:
            raise GraphoptError(f"a plan of launches cannot say that {name} repeats its kernels")

        visitors = [
            (tirx.AllocBuffer, allocate),
            (tirx.DeclBuffer, declare),
            (tirx.For, refuse),
            (tvm.ir.Call, launch),
        ]
        tvm_ffi.structural_walk(function.body, visitors, order="pre")
        outputs = tuple(tensor for tensor in given if tensor in self._unwritten)
        self._unwritten.difference_update(outputs)
        inputs = tuple(given[: len(given) - len(outputs)])  # TVM's functions take what they write last
        self.calls.append(Call(function=name, inputs=inputs, outputs=outputs, launches=tuple(launches)))

    def _launch(self, node: Any, tensors: Mapping[Any, str]) -> Launch:
        kernel, *arguments = node.args
        name = str(kernel.value)
        pointers = len(self._functions[name].params)
        extents = dict(zip(node.attrs.launch_params, arguments[pointers:], strict=True))
        return Launch(
            kernel=name,
            arguments=tuple(tensors[argument.args[0]] for argument in arguments[:pointers]),
            groups=_sizes("blockIdx", extents),
            threads=_sizes("threadIdx", extents),
        )


def _sizes(kind: str, extents: Mapping[Any, Any]) -> Sizes:
    x, y, z = (int(extents.get(f"{kind}.{axis}", 1)) for axis in "xyz")
    return x, y, z


def _extents(shape: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in shape)
