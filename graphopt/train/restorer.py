"""Runs a denoiser on whole images of any size: a checkpoint with torch, an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import fix_shapes, input_shape, read_onnx
from graphopt.ir.session import OnnxSession
from graphopt.train.data import add_noise, list_images, read_image, to_planes
from graphopt.train.metrics import Quality, quality

Planes = NDArray[np.float32]
Restore = Callable[[Planes], Planes]
PADDING = 16  # NAFNet's stride; networks with a smaller one do not mind
OVERLAP = 32


def open_restorer(path: Path) -> Restore:
    """A function from noisy to restored images, (3, H, W) in [0, 1], for an ONNX file or a NAFNet checkpoint."""
    if path.suffix.lower() == ".onnx":
        return OnnxRestorer(read_onnx(path), str(path))
    import torch

    from graphopt.models.checkpoints import load_checkpoint

    network = load_checkpoint(path)
    _check_channels(network.config.image_channels, str(path))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def restore(noisy: Planes) -> Planes:
        with torch.inference_mode():
            image = torch.from_numpy(noisy)[None].to(memory_format=torch.channels_last)
            restored: Planes = network(image)[0].numpy()
        return restored

    return restore


class OnnxRestorer:
    """Whole images where the graph can be reshaped to them, overlapping tiles of its own size where it cannot.

    Only an input that is declared with a height and a width has a size of its own; where height or width are dynamic,
    what goes wrong with an image is an error.
    """

    def __init__(self, model: onnx.ModelProto, where: str):
        initialisers = {tensor.name for tensor in model.graph.initializer}
        inputs = [value.name for value in model.graph.input if value.name not in initialisers]
        if len(inputs) != 1:
            raise GraphoptError(f"{where}: expected one input, found {', '.join(inputs)}")
        shape = input_shape(model)
        if len(shape) != 4:
            raise GraphoptError(f"{where}: expected an input of the shape (1, 3, H, W), found {shape}")
        _check_channels(shape[1], where)
        self._model, self._where = model, where
        self._sessions: dict[tuple[int, int], OnnxSession] = {}
        self._own_size = (shape[2], shape[3]) if min(shape[2:]) > 0 else None
        self._tile: tuple[int, int] | None = None

    def __call__(self, noisy: Planes) -> Planes:
        height, width = noisy.shape[1:]
        if self._tile is None:
            padded = _pad(noisy, height + -height % PADDING, width + -width % PADDING)
            try:
                return self._run(padded)[:, :height, :width]
            except GraphoptError as error:
                if self._own_size is None:
                    size = f"{padded.shape[1]}x{padded.shape[2]}"
                    raise GraphoptError(f"{self._where} cannot be run on an image of {size}: {error}") from error
                self._tile = self._own_size
        return self._by_tiles(noisy, self._tile)

    def _run(self, image: Planes) -> Planes:
        size = (image.shape[1], image.shape[2])
        if size not in self._sessions:
            model = onnx.ModelProto()
            model.CopyFrom(self._model)
            fix_shapes(model, size, self._where)
            self._sessions = {size: OnnxSession(model)}
        session = self._sessions[size]
        value = next(v for v in self._model.graph.input if v.name == session.inputs[0])
        is_half = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        restored: Planes = session.run(image[None].astype(np.float16 if is_half else np.float32))[0].astype(np.float32)
        if restored.shape != image.shape:
            shapes = f"{image.shape} to {restored.shape}"
            raise GraphoptError(f"{self._where}: turns {shapes}; expected a network that keeps the shape of its image")
        return restored

    def _by_tiles(self, noisy: Planes, tile: tuple[int, int]) -> Planes:
        channels, height, width = noisy.shape
        image = _pad(noisy, max(height, tile[0]), max(width, tile[1]))
        total, weight = np.zeros_like(image), np.zeros_like(image[:1])
        for top in _starts(image.shape[1], tile[0]):
            for left in _starts(image.shape[2], tile[1]):
                place = (slice(None), slice(top, top + tile[0]), slice(left, left + tile[1]))
                rows, columns = _ramp(top, tile[0], image.shape[1]), _ramp(left, tile[1], image.shape[2])
                window = np.minimum.outer(rows, columns)[None]
                total[place] += self._run(np.ascontiguousarray(image[place])) * window
                weight[place] += window
        return (total / weight)[:channels, :height, :width]


def _check_channels(channels: int, where: str) -> None:
    if channels != 3:
        raise GraphoptError(f"{where}: expected a network for RGB images, found {channels} channels")


def _pad(image: Planes, height: int, width: int) -> Planes:
    missing = [(0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])]
    return np.pad(image, missing) if any(after for _, after in missing) else image


def _starts(extent: int, tile: int) -> list[int]:
    step = max(1, tile - OVERLAP)
    return sorted({min(start, extent - tile) for start in range(0, max(extent - OVERLAP, 1), step)})


def _ramp(start: int, tile: int, extent: int) -> Planes:
    """The weight of a tile along one axis: it fades where another tile goes on, not at the border of the image."""
    position = np.arange(tile)
    before = position + 1 if start > 0 else np.full(tile, OVERLAP)
    after = tile - position if start + tile < extent else np.full(tile, OVERLAP)
    return np.minimum(np.minimum(before, after) / OVERLAP, 1).astype(np.float32)


def noisy_pairs(folders: Sequence[Path], sigma: float, seed: int = 0) -> Iterator[tuple[Planes, Planes]]:
    """(noisy, clean) for every image, noise seeded by (`seed`, position of the image): each run sees the same."""
    for position, path in enumerate(list_images(folders)):
        clean = to_planes(read_image(path))
        yield add_noise(clean, sigma, (seed, position)), clean


def evaluate(restore: Restore, folders: Sequence[Path], sigma: float, report: Callable[[float, str], None]) -> Quality:
    """Mean PSNR and SSIM over the images of `folders` with Gaussian noise of `sigma`."""
    total = len(list_images(folders))

    def reported() -> Iterator[tuple[Planes, Planes]]:
        for done, pair in enumerate(noisy_pairs(folders, sigma)):
            yield pair
            report((done + 1) / total, f"image {done + 1}/{total}")

    return quality(reported(), restore)
