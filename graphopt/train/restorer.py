"""Runs a denoiser on whole images of any size: a checkpoint with torch, an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.config.data import EvaluationData
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import fix_shapes, input_shape, read_onnx
from graphopt.ir.session import OnnxSession
from graphopt.progress import Progress, silent
from graphopt.train.data import noise_of, open_photographs, packed_of, pairs_of
from graphopt.train.metrics import FULL, Quality, View, quality
from graphopt.train.tiling import by_tiles, pad

Planes = NDArray[np.float32]
Restore = Callable[[Planes], Planes]
PADDING = 16  # NAFNet's stride; networks with a smaller one do not mind


def open_restorer(path: Path, tile: int | None = None, channels: int = 3, say: Progress = silent) -> Restore:
    """A function from noisy to restored images, (`channels`, H, W) in [0, 1], for an ONNX file or a checkpoint.

    With `tile`, images with a side above that many pixels go through by overlapping tiles.
    """
    untiled = _open_untiled(path, channels)
    if tile is None:
        return untiled
    if tile < PADDING:
        raise GraphoptError(f"tiles of {tile} pixels are too small; give {PADDING} or more, e.g. 512")
    side = tile

    def restore(noisy: Planes) -> Planes:
        size = (min(side, noisy.shape[1]), min(side, noisy.shape[2]))
        return untiled(noisy) if size == noisy.shape[1:] else by_tiles(untiled, noisy, size, say=say)

    return restore


def _open_untiled(path: Path, channels: int) -> Restore:
    if path.suffix.lower() == ".onnx":
        return OnnxRestorer(read_onnx(path), str(path), channels)
    import torch

    from graphopt.models.checkpoints import load_checkpoint

    network = load_checkpoint(path)
    _check_channels(network.config.image_channels, str(path), channels)
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

    def __init__(self, model: onnx.ModelProto, where: str, channels: int = 3):
        initialisers = {tensor.name for tensor in model.graph.initializer}
        inputs = [value.name for value in model.graph.input if value.name not in initialisers]
        if len(inputs) != 1:
            raise GraphoptError(f"{where}: expected one input, found {', '.join(inputs)}")
        shape = input_shape(model)
        if len(shape) != 4:
            raise GraphoptError(f"{where}: expected an input of the shape (1, {channels}, H, W), found {shape}")
        _check_channels(shape[1], where, channels)
        self._model, self._where = model, where
        self._sessions: dict[tuple[int, int], OnnxSession] = {}
        self._own_size = (shape[2], shape[3]) if min(shape[2:]) > 0 else None
        self._tile: tuple[int, int] | None = None

    def __call__(self, noisy: Planes) -> Planes:
        height, width = noisy.shape[1:]
        if self._tile is None:
            padded = pad(noisy, height + -height % PADDING, width + -width % PADDING)
            try:
                return self._run(padded)[:, :height, :width]
            except GraphoptError as error:
                if self._own_size is None:
                    size = f"{padded.shape[1]}x{padded.shape[2]}"
                    raise GraphoptError(f"{self._where} cannot be run on an image of {size}: {error}") from error
                self._tile = self._own_size
        return by_tiles(self._run, noisy, self._tile)

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


def _check_channels(found: int, where: str, expected: int) -> None:
    if found == expected:
        return
    if expected != 3:
        raise GraphoptError(
            f"{where}: expected a network for packed Bayer RAW, which `noise: bayer` makes ({expected} channels), "
            f"found {found} channels"
        )
    advice = "; packed Bayer RAW is judged by `graphopt evaluate --data FILE.yaml`, whose `data` says `noise: bayer`"
    raise GraphoptError(
        f"{where}: expected a network for RGB images, found {found} channels{advice if found == 4 else ''}"
    )


def evaluate(restore: Restore, data: EvaluationData, report: Progress, view: View = FULL) -> Quality:
    """Mean PSNR and SSIM over what `data` names to judge by, with its noise where a photograph is clean."""
    if data.is_packed and view.channel == "y":
        raise GraphoptError("packed Bayer RAW has no luma; compare all its channels with --channel rgb")
    photographs = open_photographs(data.test, judged=True)
    total = len(photographs)

    def reported() -> Iterator[tuple[Planes, Planes]]:
        for done, pair in enumerate(pairs_of(photographs, noise_of(data), packed=packed_of(data))):
            yield pair
            report((done + 1) / total, f"image {done + 1}/{total}")

    return quality(reported(), restore, view)
