"""Runs an OpenCL artefact on whatever OpenCL platform this machine has (PoCL needs no GPU): for correctness."""

from __future__ import annotations

import importlib.util
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.opencl.plan import Call, KernelFile, kernels_of
from graphopt.errors import GraphoptError

Array = NDArray[Any]
_INSTALL = "install Debian's pocl-opencl-icd (OpenCL on the CPU), or your GPU's driver"
_WIDTHS = ("2", "3", "4", "8", "16")
_READ_AS = {
    "cl_amd_fp16": "1",  # opens the door that TVM's pragmas shut on a compiler without any extension for halves
    **{f"{prefix}half{width}": f"{prefix}float{width}" for prefix in ("", "convert_") for width in ("", *_WIDTHS)},
    **{f"convert_short{width}": f"convert_int{width}" for width in _WIDTHS},  # a mask has the size of what it selects
}
_HALVES_AS_FLOATS = "".join(f"#undef {name}\n#define {name} {other}\n" for name, other in _READ_AS.items())


def why_no_platform() -> str | None:
    """What is missing before kernels can run here, and what to install; None where nothing is."""
    if importlib.util.find_spec("pyopencl") is None:
        return "pyopencl, which runs kernels here, is not installed: pip install 'graphopt[opencl]'"
    import pyopencl

    try:
        found = pyopencl.get_platforms()
    except pyopencl.LogicError:
        found = []
    return None if found else f"no OpenCL platform was found to run kernels on: {_INSTALL}"


def platform_name() -> str:
    """The platform that kernels run on here; there is one."""
    return str(_device().platform.name)


def has_halves() -> bool:
    """Whether that device computes in float16."""
    return "cl_khr_fp16" in str(_device().extensions).split()


def _device() -> Any:
    import pyopencl

    return pyopencl.get_platforms()[0].get_devices()[0]


class Device:
    """The first OpenCL device of this machine. `halves`: whether it computes in float16; `prelude`: what its compiler
    is told before any file.

    Raises:
        GraphoptError: pyopencl is not installed, or finds no platform.
    """

    def __init__(self) -> None:
        reason = why_no_platform()
        if reason:
            raise GraphoptError(reason)
        import pyopencl

        device = _device()
        self.context = pyopencl.Context([device])
        self.name = str(device.name)
        self.halves = has_halves()
        self.prelude = "" if self.halves else _HALVES_AS_FLOATS


class Loaded:
    """An artefact on a device, ready to run: its file built as it is, its weights in place.

    On a device without float16 every half is a float, in buffers twice as large: the same text, in float32.

    Raises:
        GraphoptError: the file has other kernels than its plan, or does not compile.
    """

    def __init__(self, artefact: KernelFile, device: Device):
        import pyopencl

        self._cl = pyopencl
        self._tensors = artefact.plan.tensors
        self._halves = device.halves
        _check_kernels(artefact)
        try:
            program = pyopencl.Program(device.context, f"{device.prelude}#line 1\n{artefact.text}").build(["-w"])
        except pyopencl.Error as error:
            reason = _first_error(error)
            raise GraphoptError(f"{artefact.path.name} does not compile on {device.name}: {reason}") from error
        self._kernels = {name: pyopencl.Kernel(program, name) for name in artefact.plan.kernels}
        self._queue = pyopencl.CommandQueue(device.context)
        sizes = dict(artefact.plan.buffers)
        for tensor in self._tensors.values():
            needed = prod(tensor.shape) * self._dtype(tensor.dtype).itemsize
            sizes[tensor.buffer] = max(sizes[tensor.buffer], needed)
        flags = pyopencl.mem_flags.READ_WRITE
        self._buffers = {name: pyopencl.Buffer(device.context, flags, size=size) for name, size in sizes.items()}
        for name in artefact.plan.weights:
            self.write(name, artefact.weights[name])

    def write(self, tensor: str, array: Array) -> None:
        """Fills a tensor, rounded to its dtype, in the dtype that it has on the device."""
        known = self._tensors[tensor]
        rounded = np.asarray(array).astype(known.dtype, copy=False)
        values = np.ascontiguousarray(rounded, self._dtype(known.dtype)).reshape(known.shape)
        self._cl.enqueue_copy(self._queue, self._buffers[known.buffer], values)

    def read(self, tensor: str) -> Array:
        """What a tensor holds now; halves as float32."""
        known = self._tensors[tensor]
        values = np.empty(known.shape, self._dtype(known.dtype))
        self._cl.enqueue_copy(self._queue, values, self._buffers[known.buffer])
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def run(self, call: Call) -> None:
        """The launches of a call, in their order."""
        for launch in call.launches:
            total = [groups * threads for groups, threads in zip(launch.groups, launch.threads, strict=True)]
            buffers = [self._buffers[self._tensors[name].buffer] for name in launch.arguments]
            self._kernels[launch.kernel](self._queue, total, launch.threads, *buffers)
        self._queue.finish()

    def _dtype(self, dtype: str) -> np.dtype[Any]:
        return np.dtype(np.float32 if dtype == "float16" and not self._halves else dtype)


def _check_kernels(artefact: KernelFile) -> None:
    """The file has the kernels of its plan, and no others, with their arguments in the plan's order."""
    found = kernels_of(artefact.text)
    expected = artefact.plan.kernels
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            raise GraphoptError(
                f"{artefact.path.name}: kernel {name} is {_takes(found.get(name))} in the file, "
                f"{_takes(expected.get(name))} in the plan beside it; the files come from different builds"
            )


def _takes(pointers: tuple[str, ...] | None) -> str:
    return "missing" if pointers is None else f"({', '.join(pointers)})"


def _first_error(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[0])
