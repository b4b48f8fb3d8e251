"""How a program runs an OpenCL file, as plain data beside it: which kernels, on which buffers, in which order."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from graphopt.atomic import replacing, write_json
from graphopt.errors import GraphoptError

Array = NDArray[Any]
Sizes = tuple[int, int, int]
_C_TYPES = {"float16": "half", "float32": "float", "float64": "double", "int32": "int", "int64": "long"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tensor(_Record):
    """What lies in a buffer, from its first byte on: rows of a dense array. Several tensors may share a buffer."""

    buffer: str
    dtype: str
    shape: tuple[int, ...]


class Launch(_Record):
    """One run of a kernel: the tensors that its pointers are given, and groups and threads of a group (x, y, z)."""

    kernel: str
    arguments: tuple[str, ...]
    groups: Sizes
    threads: Sizes


class Call(_Record):
    """The launches that compute one fused function of the network; most take one."""

    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    launches: tuple[Launch, ...]


class Plan(_Record):
    """`kernels`: the pointers of each, as "half x_ptr"; `buffers`: sizes in bytes; `weights`: the tensors that the
    safetensors file beside the source holds under these names. Calls run one after the other.
    """

    target: str
    kernels: dict[str, tuple[str, ...]]
    buffers: dict[str, int]
    tensors: dict[str, Tensor]
    weights: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Plan:
        for call in self.calls:
            for launch in call.launches:
                pointers = self.kernels.get(launch.kernel, ())
                given = [self.tensors[name].dtype for name in launch.arguments if name in self.tensors]
                if [pointer.split()[0] for pointer in pointers] != [_C_TYPES.get(dtype, dtype) for dtype in given]:
                    raise ValueError(f"a launch gives kernel {launch.kernel} {given} for {list(pointers)}")
        launched = [name for call in self.calls for launch in call.launches for name in launch.arguments]
        passed = [name for call in self.calls for name in (*call.inputs, *call.outputs)]
        for name in (*self.weights, *self.inputs, *self.outputs, *launched, *passed):
            if name not in self.tensors:
                raise ValueError(f"there is no tensor {name}")
        for tensor in self.tensors.values():
            if self.buffers.get(tensor.buffer, -1) < size_of(tensor.dtype, tensor.shape):
                raise ValueError(f"buffer {tensor.buffer} is missing or too small for {tensor.dtype} {tensor.shape}")
        return self


@dataclass(frozen=True)
class KernelFile:
    """The OpenCL file at `path`, its text, and what lies beside it: the plan and the weights."""

    path: Path
    text: str
    plan: Plan
    weights: dict[str, Array]


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """The bytes of a dense array."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def plan_path(source: Path) -> Path:
    """`phone.cl` -> `phone.plan.json`."""
    return source.with_suffix(".plan.json")


def weights_path(source: Path) -> Path:
    """`phone.cl` -> `phone.safetensors`."""
    return source.with_suffix(".safetensors")


def kernels_of(text: str) -> dict[str, tuple[str, ...]]:
    """The kernels that OpenCL C defines, with their pointers: `{"scale": ("half x_ptr", "half y_ptr")}`."""
    return {
        name: tuple(_pointer(argument) for argument in arguments.split(","))
        for name, arguments in re.findall(r"^__kernel void (\w+)\(([^)]*)\)\s*\{", text, re.MULTILINE)
    }


def _pointer(argument: str) -> str:
    """`__global half* restrict x_ptr` -> `half x_ptr`; what is no pointer stays as it is."""
    return re.sub(r"^\s*__global (?:const )?(\w+)\*\s*(?:restrict )?(\w+)\s*$", r"\1 \2", argument)


def write_kernel_file(source: Path, text: str, plan: Plan, weights: Mapping[str, Array]) -> list[Path]:
    """The source, and plan and weights beside it."""
    with replacing(source) as temporary:
        temporary.write_text(text)
    write_json(plan_path(source), plan.model_dump())
    with replacing(weights_path(source)) as temporary:
        temporary.write_bytes(save({name: np.asarray(array, order="C") for name, array in weights.items()}))
    return [source, plan_path(source), weights_path(source)]


def read_kernel_file(source: Path) -> KernelFile:
    """What `write_kernel_file` has written.

    Raises:
        GraphoptError: a file is missing or is not what it should be.
    """
    for path in (source, plan_path(source), weights_path(source)):
        if not path.is_file():
            raise GraphoptError(f"{path} is missing: graphopt run writes it beside the source; run the pipeline again")
    try:
        plan = Plan.model_validate(json.loads(plan_path(source).read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise GraphoptError(f"{plan_path(source)} is no plan of launches: {place} {first['msg']}") from error
    except ValueError as error:
        raise GraphoptError(f"{plan_path(source)} is not JSON: {error}") from error
    try:
        weights = load(weights_path(source).read_bytes())
    except SafetensorError as error:
        raise GraphoptError(f"{weights_path(source)} holds no weights: {error}") from error
    for name in plan.weights:
        tensor = plan.tensors[name]
        if name not in weights or (weights[name].shape, str(weights[name].dtype)) != (tensor.shape, tensor.dtype):
            raise GraphoptError(
                f"{weights_path(source)}: no {tensor.dtype} {list(tensor.shape)} named {name}, as the plan beside it "
                "has it; the files come from different builds"
            )
    return KernelFile(source, source.read_text(), plan, weights)
