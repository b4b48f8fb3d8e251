"""The heights and widths that a run deploys its network at, and whether it runs there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import onnx

from graphopt.backends.base import Array, Backend
from graphopt.config.deploy import DeployConfig
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.session import OnnxSession
from graphopt.ir.sizes import Size, at_any_size, at_size, other_sizes, stride_of

Asked = TypeVar("Asked")
Make = Callable[[onnx.ModelProto, Asked], onnx.ModelProto]


@dataclass(frozen=True)
class Sizes:
    """The network as it was `priced`, at the size that artefacts are `fixed` to, and with sizes that are `free`."""

    priced: onnx.ModelProto
    fixed: onnx.ModelProto
    free: onnx.ModelProto | None
    stride: int | None

    def of(self, backend: Backend[Any]) -> onnx.ModelProto:
        """What a backend builds from."""
        return self.free if self.free is not None and backend.any_size else self.fixed

    def tried(self, backend: Backend[Any], image_at: Callable[[Size], Array]) -> Iterator[tuple[Array, Array]]:
        """Images (1, C, H, W) of each size that an artefact is run at, and what onnxruntime makes of them."""
        built = self.of(backend)
        sizes = [size_of(self.fixed)]
        if built is self.free:
            sizes += other_sizes(sizes[0], self.stride or 1)
        for size in sizes:
            image = image_at(size)
            yield image, OnnxSession(at_size(self.fixed, size)).run(image)


def sizes_of(asked: DeployConfig, file: Path, model: onnx.ModelProto) -> Sizes:
    """The network in the sizes that the pipeline's `file` asks for.

    Raises:
        GraphoptError: it does not run there; what holds a size, and what to ask for instead.
    """
    stride, where = stride_of(model), f"config {file}: 'deploy.resolution'"
    free = None
    if asked.resolution == "free":
        if stride is None:
            stride = size_of(model)[0]  # at_any_size says what does not run at any other size
        elif asked.tile % stride:
            near = max(asked.tile // stride, 1) * stride
            raise GraphoptError(
                f"config {file}: 'deploy.tile' is {asked.tile}; the network's stride, {stride}, must divide it: "
                f"give {near} or {near + stride}"
            )
        free = _made(where, "give [height, width]", at_any_size, model, stride)
        size = (asked.tile, asked.tile)
    else:
        size = asked.resolution or size_of(model)
        if stride is not None and any(side % stride for side in size):
            raise GraphoptError(f"{where} is {list(size)}; the network's stride, {stride}, must divide both")
    fixed = _made(where, "give the pipeline's `resolution` that size, too", at_size, model, size)
    return Sizes(model, fixed, free, stride)


def _made(where: str, instead: str, make: Make[Asked], model: onnx.ModelProto, to: Asked) -> onnx.ModelProto:
    try:
        return make(model, to)
    except GraphoptError as error:
        raise GraphoptError(f"{where}: {error}; {instead}") from error


def size_of(model: onnx.ModelProto) -> Size:
    """Height and width of the image that a canonical model takes."""
    height, width = input_shape(model)[2:]
    return height, width
