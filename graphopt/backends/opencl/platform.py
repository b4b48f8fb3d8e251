"""Runs generated OpenCL kernels on whatever OpenCL platform this machine has (PoCL needs no GPU): for correctness."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx
from tvm.tirx.build import codegen_build, split_host_device_mods

from graphopt.errors import GraphoptError

Sizes = tuple[int, int, int]
_INSTALL = "install Debian's pocl-opencl-icd (OpenCL on the CPU), or your GPU's driver"


@dataclass(frozen=True)
class Launch:
    """One device function: its name, its pointers as (name of the buffer, elements, dtype), groups and threads."""

    name: str
    pointers: tuple[tuple[str, int, str], ...]
    groups: Sizes
    threads: Sizes


@dataclass(frozen=True)
class Program:
    """OpenCL C for one scheduled kernel, and the launches that it takes, in their order."""

    source: str
    launches: tuple[Launch, ...]


def why_no_platform() -> str | None:
    """What is missing before kernels can run here, and what to install; None where nothing is."""
    if importlib.util.find_spec("pyopencl") is None:
        return "kernels cannot run here: pyopencl is not installed; pip install 'graphopt[opencl]'"
    import pyopencl

    try:
        found = pyopencl.get_platforms()
    except pyopencl.LogicError:
        found = []
    return None if found else f"kernels cannot run here: no OpenCL platform was found; {_INSTALL}"


def generate(function: tirx.PrimFunc, target: Any) -> Program:
    """OpenCL C of a scheduled function of static shapes, as TVM makes it for `target`."""
    lower, _, finish = tirx.get_tir_pipeline("default")
    module = tvm.IRModule({"kernel": function.with_attr("global_symbol", "kernel")})
    _, by_device = split_host_device_mods(lower(tirx.transform.BindTarget(target)(module)))
    ((device, code),) = by_device.items()
    code = finish()(code)
    launches = [_launch(made) for made in code.functions.values()]
    launches.sort(key=lambda launch: [int(n) for n in re.findall(r"\d+", launch.name)])  # kernel, kernel_1, ...
    return Program(codegen_build(code, device).inspect_source(), tuple(launches))


def _launch(function: tirx.PrimFunc) -> Launch:
    extents: dict[str, int] = {}
    buffers: dict[str, tuple[int, str]] = {}

    def attribute(node: Any) -> None:
        if node.attr_key == "thread_extent":
            extents[str(node.node.thread_tag)] = int(node.value)

    def declare(node: Any) -> None:
        buffer = node.buffer
        if isinstance(node.data, tirx.Var):
            buffers[str(node.data.name)] = prod(int(extent) for extent in buffer.shape), str(buffer.dtype)

    tvm_ffi.structural_walk(function.body, [(tirx.AttrStmt, attribute), (tirx.DeclBuffer, declare)], order="pre")

    def sizes(kind: str) -> Sizes:
        return extents.get(f"{kind}.x", 1), extents.get(f"{kind}.y", 1), extents.get(f"{kind}.z", 1)

    pointers = tuple((str(p.name).removesuffix("_ptr"), *buffers[str(p.name)]) for p in function.params)
    return Launch(str(function.attrs["global_symbol"]), pointers, sizes("blockIdx"), sizes("threadIdx"))


class Device:
    """The first OpenCL device of this machine.

    Raises:
        GraphoptError: pyopencl is not installed, or finds no platform.
    """

    def __init__(self) -> None:
        reason = why_no_platform()
        if reason:
            raise GraphoptError(reason)
        import pyopencl

        self._cl = pyopencl
        self._device = pyopencl.get_platforms()[0].get_devices()[0]
        self._context = pyopencl.Context([self._device])
        self._queue = pyopencl.CommandQueue(self._context)
        self._built: dict[Program, Any] = {}
        self.name = str(self._device.name)

    def run(self, program: Program, arrays: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> None:
        """Runs the launches in order. `arrays` are the kernel's tensors by name; those of `outputs` are written."""
        flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.COPY_HOST_PTR
        held = {name: self._cl.Buffer(self._context, flags, hostbuf=array) for name, array in arrays.items()}
        if program not in self._built:
            self._built[program] = self._cl.Program(self._context, program.source).build()
        for launch in program.launches:
            for name, elements, dtype in launch.pointers:
                if name not in held:  # what one launch hands to the next
                    empty = np.zeros(elements, dtype)
                    held[name] = self._cl.Buffer(self._context, flags, hostbuf=empty)
            total = [groups * threads for groups, threads in zip(launch.groups, launch.threads, strict=True)]
            kernel = self._cl.Kernel(self._built[program], launch.name)
            kernel(self._queue, total, launch.threads, *(held[name] for name, _, _ in launch.pointers))
        for name in outputs:
            self._cl.enqueue_copy(self._queue, arrays[name], held[name])
        self._queue.finish()
