"""ONNX to fused TVM kernels: import, precision, legalisation and fusion, and the calls of the fused kernels."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import tvm
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from tvm import relax, tirx, topi
from tvm.relax.frontend.onnx import from_onnx

from graphopt.errors import GraphoptError
from graphopt.kernels.legal_names import legal_names
from graphopt.kernels.target import CpuTarget, TvmTarget

_ANDROID = {"kind": "llvm", "mtriple": "aarch64-linux-android"}


@dataclass(frozen=True)
class Call:
    """A fused, unscheduled kernel and how often the graph calls it.

    `repeats`: the parameters that are given the same tensor as an earlier one.
    """

    name: str
    function: tirx.PrimFunc
    repeats: tuple[int, ...]
    calls: int


def tvm_target(target: TvmTarget) -> Any:
    """The TVM target with the limits that the target's facts give: TVM's own defaults are generic."""
    if isinstance(target, CpuTarget):
        processor = {"mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": target.tuning.threads}
        return tvm.target.Target({"kind": "llvm", **processor})
    limits = {
        "max_num_threads": int(target.fact("max_threads")),
        "max_shared_memory_per_block": int(target.fact("local_memory")),
        "thread_warp_size": int(target.fact("wave_size")),
    }
    keys = [target.device, "opencl", "gpu"]
    return tvm.target.Target({"kind": "opencl", "device": target.device, "keys": keys, **limits}, host=_ANDROID)


def to_relax(model: onnx.ModelProto, target: TvmTarget) -> tvm.IRModule:
    """The model in the target's dtype as fused kernels (PrimFuncs) that `main` calls.

    float16 is storage and arithmetic, except that means and sums add up in float32. The weights are inputs of `main`
    until `embed_weights`: as constants they would be folded op by op (18 s on a 36-block NAFNet).

    Raises:
        GraphoptError: an operator that TVM does not import.
    """
    grouped = _grouped(model, target)
    with tvm_target(target):
        return tvm.transform.Sequential(
            [
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
                relax.transform.RewriteDataflowReshape(),
            ]
        )(grouped)


def kernel_parts(model: onnx.ModelProto, target: TvmTarget, name: str) -> list[Call]:
    """The kernels of single operators that `to_relax` has fused into the kernel `name`, one call each."""
    module = _grouped(model, target)
    group = module[name]
    if isinstance(group, tirx.PrimFunc):
        return []
    bindings = [binding.value for block in group.body.blocks for binding in block.bindings]
    calls = [value for value in bindings if isinstance(value, relax.Call) and str(value.op) == _CALL_TIR]
    return [Call(f"{name}/{call.args[0].name_hint}", module[call.args[0]], _repeats(call), 1) for call in calls]


def _grouped(model: onnx.ModelProto, target: TvmTarget) -> tvm.IRModule:
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _square_by_product(prepared)
    _resize_to_sizes(prepared)
    legal_names(prepared)
    if target.dtype == "float16":
        with warnings.catch_warnings():  # one for each weight below 6e-8, which rounds to nearly nothing
            warnings.simplefilter("ignore")
            prepared = convert_float_to_float16(prepared, disable_shape_infer=True, op_block_list=[])
    try:
        module = _without_questions(_bind_scalars(from_onnx(prepared, keep_params_in_input=True)))
    except Exception as error:  # the importer raises whatever its converters meet
        reason = next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)
        raise GraphoptError(f"TVM cannot import the graph '{model.graph.name}': {reason}") from error
    with tvm_target(target):
        return tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.transform.LegalizeOps(_WIDE_SUMS if _holds_halves(prepared) else None),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
            ]
        )(module)


def _holds_halves(model: onnx.ModelProto) -> bool:
    """Not only where the target computes in float16: a file may come in it."""
    types = [value.type.tensor_type.elem_type for value in model.graph.input]
    types += [tensor.data_type for tensor in model.graph.initializer]
    return onnx.TensorProto.FLOAT16 in types


def _repeats(call: relax.Call) -> tuple[int, ...]:
    given = list(call.args[1].fields)
    return tuple(i for i, argument in enumerate(given) if argument in given[:i])


def kernel_calls(module: tvm.IRModule) -> list[Call]:
    """The kernels that run for every image, each with its number of calls.

    Reshapes are views, and what depends on weights alone is computed once at build time: neither is a kernel.
    """
    main = module["main"]
    images = int(main.attrs["num_input"])
    varying = set(main.params[:images])
    counts: Counter[Any] = Counter()
    for block in main.body.blocks:
        for binding in block.bindings:
            value = binding.value
            inputs = _arguments(value)
            if not any(argument in varying for argument in inputs):
                continue
            varying.add(binding.var)
            if is_kernel(value):
                counts[value.args[0], _repeats(value)] += 1
    return [Call(str(kernel.name_hint), module[kernel], same, calls) for (kernel, same), calls in counts.items()]


def planned_bytes(module: tvm.IRModule) -> int:
    """What TVM sets aside for activations, results included, when it runs the module: its own plan of static memory."""
    planned = tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
        ]
    )(module)
    total = 0
    for block in planned["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call) and value.op == _STORAGE:
                total += int(value.args[0].values[0])
            elif isinstance(value, relax.Call) and value.op == _TENSOR:  # a result, which the caller keeps
                bits = tvm.DataType(str(binding.var.ty.dtype)).bits
                total += prod(int(extent) for extent in binding.var.ty.shape) * bits // 8
    return total


_STORAGE, _TENSOR = (tvm.ir.Op.get(f"relax.{name}") for name in ("memory.alloc_storage", "builtin.alloc_tensor"))


def is_kernel(value: Any) -> bool:
    """Whether a binding of `main` calls a fused kernel."""
    return isinstance(value, relax.Call) and str(value.op) == _CALL_TIR


_CALL_TIR = str(tvm.ir.Op.get("relax.call_tir"))


def _arguments(value: Any) -> list[Any]:
    if isinstance(value, relax.Call):
        return [leaf for argument in value.args for leaf in _arguments(argument)]
    if isinstance(value, relax.Tuple):
        return [leaf for field in value.fields for leaf in _arguments(field)]
    if isinstance(value, relax.TupleGetItem):
        return _arguments(value.tuple_value)
    return [value] if isinstance(value, relax.Var) else []


def embed_weights(module: tvm.IRModule) -> tvm.IRModule:
    """`main` with the images as its only inputs."""
    bound = relax.transform.BindParams("main", dict(_weights(module)))(module)
    main = bound["main"].without_attr("params").without_attr("num_input")
    bound.update_func(bound.get_global_var("main"), main)
    return bound


def weight_names(module: tvm.IRModule) -> dict[Any, str]:
    """The weights of a module whose weights are inputs, as TVM's tensors, and what the graph calls them."""
    return {value: str(variable.name) for variable, value in _weights(module)}


def _weights(module: tvm.IRModule) -> list[tuple[Any, Any]]:
    main = module["main"]
    values = main.attrs.get("params", [])
    return list(zip(main.params[int(main.attrs["num_input"]) :], values, strict=True))


def _bind_scalars(module: tvm.IRModule) -> tvm.IRModule:
    """Scalars back into the code: an exponent or an epsilon that is known changes what the kernel computes."""
    weights = _weights(module)
    scalars = {variable: value for variable, value in weights if prod(int(extent) for extent in value.shape) == 1}
    left = [value for variable, value in weights if variable not in scalars]
    bound = relax.transform.BindParams("main", scalars)(module)
    bound.update_func(bound.get_global_var("main"), bound["main"].with_attr("params", left))
    return bound


def _square_by_product(model: onnx.ModelProto) -> None:
    """x ** 2 as x * x, as every compiler for phones does; `pow` would be priced as an exponential and a logarithm."""
    twos = {t.name for t in model.graph.initializer if prod(t.dims) == 1 and numpy_helper.to_array(t).item() == 2}
    for node in model.graph.node:
        if node.op_type == "Pow" and node.input[1] in twos:
            node.op_type = "Mul"
            node.input[1] = node.input[0]


def _resize_to_sizes(model: onnx.ModelProto) -> None:
    """Resize by scales -> Resize to the sizes that result: the conversion to float16 would cast the scales."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        if node.op_type == "Resize" and len(node.input) == 3 and node.output[0] in shapes:
            sizes = np.array([dim.dim_value for dim in shapes[node.output[0]]], np.int64)
            model.graph.initializer.append(numpy_helper.from_array(sizes, f"{node.output[0]}_sizes"))
            node.input[2] = ""
            node.input.append(f"{node.output[0]}_sizes")
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


@relax.expr_functor.mutator
class _KnownLimits(relax.PyExprMutator):
    """where(isnan(c), a, b) -> b for a constant c that is a number.

    TVM's importer asks this of each limit of a Clip, in a block of its own in the kernel of the convolution before
    it, and MetaSchedule's rules for what follows a convolution cannot place such blocks.
    """

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if call.op == _WHERE:
            question = call.args[0]
            asked = self.lookup_binding(question) if isinstance(question, relax.Var) else question
            if (
                isinstance(asked, relax.Call)
                and asked.op == _IS_NAN
                and isinstance(asked.args[0], tvm.ir.expr.GenericConst)
            ):
                return call.args[1 if np.isnan(asked.args[0].value.numpy()).any() else 2]
        return call


_WHERE, _IS_NAN = tvm.ir.Op.get("relax.where"), tvm.ir.Op.get("relax.isnan")


def _without_questions(module: tvm.IRModule) -> tvm.IRModule:
    module.update_func(module.get_global_var("main"), _KnownLimits(module).visit_expr(module["main"]))
    return module


def _wide(reduce: Any, mean: bool) -> Any:
    """A legalisation that adds up in float32 and stores float16: 65536 values of 1 already overflow float16."""

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        shape = [int(extent) for extent in call.args[0].ty.shape]
        axes = range(len(shape)) if call.attrs.axis is None else [int(axis) for axis in call.attrs.axis]
        scale = np.float32(1 / prod(shape[axis] for axis in axes)) if mean else np.float32(1)

        def compute(x: Any) -> Any:
            total = reduce(topi.cast(x, "float32"), list(axes), call.attrs.keepdims)
            return topi.cast(total * float(scale), x.dtype)

        return builder.call_te(compute, call.args[0], primfunc_name_hint="mean" if mean else "sum")

    return legalize


_WIDE_SUMS = {"relax.mean": _wide(topi.sum, True), "relax.sum": _wide(topi.sum, False)}
