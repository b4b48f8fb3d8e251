"""Does an OpenCL artefact compute its network? Runs the files as they were written, one kernel after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.backends.base import CheckedKernel
from graphopt.backends.opencl.plan import Call, KernelFile
from graphopt.backends.opencl.platform import Device, Loaded
from graphopt.backends.opencl.reference import References, holds_halves, run_network
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.difference import relative_difference
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress

# relative to the largest value of the reference
KERNEL_TOLERANCE = 1e-4  # in float32
NETWORK_TOLERANCE = 1e-4
ROUNDED_TOLERANCE = 1e-3  # of the network in float32, where constants inside operators were rounded to halves
HALF_TOLERANCE = 2e-2  # on a device that computes in halves, and against onnxruntime where it does

Array = NDArray[Any]


def check_kernel_file(
    artefact: KernelFile, model: onnx.ModelProto, target: GpuTarget, device: Device, say: Progress
) -> tuple[list[CheckedKernel], float]:
    """Runs the artefact on a random image; returns the checks of its kernels, and how far the whole network is from
    onnxruntime, relative.

    Each kernel is given what the kernels before it made, and so is its reference, the function by LLVM in float32.
    onnxruntime computes in float32 with the weights that the artefact has, rounded to halves where the target is
    float16: what rounding does to a network is no fault of its kernels.

    Raises:
        GraphoptError: the artefact is of another network or target, does not compile, or computes something else.
    """
    references = References(model, target)
    _check_origin(artefact, references, target)
    loaded = Loaded(artefact, device)
    plan = artefact.plan
    halves = device.halves and any(tensor.dtype == "float16" for tensor in plan.tensors.values())
    image = np.random.default_rng(0).random(input_shape(model), dtype=np.float32)
    if plan.tensors[plan.inputs[0]].dtype == "float16":
        image = image.astype(np.float16).astype(np.float32)
    loaded.write(plan.inputs[0], image)
    allowed = HALF_TOLERANCE if halves else KERNEL_TOLERANCE
    found: dict[str, CheckedKernel] = {}
    for done, call in enumerate(plan.calls):
        say(done / len(plan.calls), call.function)
        inputs = [loaded.read(name) for name in call.inputs]
        loaded.run(call)
        made = [loaded.read(name) for name in call.outputs]
        difference = _largest_difference(made, references.run(call.function, inputs))
        if not difference <= allowed:
            kernels = " and ".join(launch.kernel for launch in call.launches)
            raise GraphoptError(
                f"{artefact.path.name}: kernel {kernels} differs from its reference by {difference:.1e} "
                f"(allowed {allowed:g})"
            )
        before = found.get(call.function)
        found[call.function] = CheckedKernel(
            call.function,
            references.kinds[call.function],
            1 + (before.calls if before else 0),
            max(difference, before.difference if before else 0.0),
        )
    made = [loaded.read(name) for name in plan.outputs]
    whole = _largest_difference(made, run_network(model, target, image))
    allowed = HALF_TOLERANCE if halves or holds_halves(model) else _network_tolerance(target)
    if not whole <= allowed:
        raise GraphoptError(
            f"{artefact.path.name}: the network differs from onnxruntime by {whole:.1e} (allowed {allowed:g}), though "
            "each kernel computes what it should: the weights or the plan beside the file are those of another network"
        )
    return list(found.values()), whole


def _network_tolerance(target: GpuTarget) -> float:
    return ROUNDED_TOLERANCE if target.dtype == "float16" else NETWORK_TOLERANCE


def _check_origin(artefact: KernelFile, references: References, target: GpuTarget) -> None:
    plan = artefact.plan
    if plan.target != target.name:
        raise GraphoptError(f"{artefact.path.name} was built for {plan.target}, not for {target.name}")
    called = {call.function: _signature(artefact, call) for call in plan.calls}
    for name in (*called, *references.signatures):
        if called.get(name) != references.signatures.get(name):
            raise GraphoptError(
                f"{artefact.path.name} belongs to another network, resolution or version of graphopt: function "
                f"{name} is {_shapes(called.get(name))} in it, {_shapes(references.signatures.get(name))} in the model"
            )


def _signature(artefact: KernelFile, call: Call) -> tuple[tuple[str, tuple[int, ...]], ...]:
    tensors = [artefact.plan.tensors[name] for name in (*call.inputs, *call.outputs)]
    return tuple((tensor.dtype, tensor.shape) for tensor in tensors)


def _shapes(signature: Sequence[tuple[str, tuple[int, ...]]] | None) -> str:
    if signature is None:
        return "missing"
    return " ".join(f"{dtype}{list(shape)}" for dtype, shape in signature)


def _largest_difference(found: Sequence[Array], expected: Sequence[Array]) -> float:
    return max(relative_difference(f, e) for f, e in zip(found, expected, strict=True))
