"""What a device's own arithmetic costs in quality: crops of the test photographs through the artefact that it runs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.backends.base import Backend
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.train.data import noise_of, pairs_of
from graphopt.train.metrics import psnr
from graphopt.train.restorer import PADDING, OnnxRestorer, Restore

Planes = NDArray[np.float32]
SIDE = 64  # pixels: an emulator takes seconds for this, and a minute for 256
COUNT = 4


@dataclass(frozen=True)
class Judged:
    """Mean PSNR (dB) of `count` crops of `side` pixels against the clean images, or why there is none; empty where
    there is nothing to judge.

    `psnr` has the keys `original` and `onnx`, both by onnxruntime, and `artefact`: the deployed network built for
    crops, in the device's own arithmetic.
    """

    side: int
    count: int
    psnr: dict[str, float]
    why_not: str = ""


def judge_arithmetic(run: Run, backend: Backend[Any], say: Progress) -> Judged:
    """Crops of the first test photographs; none where artefacts do not run here, or compute as the graph does."""
    if not backend.own_arithmetic or not backend.runs_here:
        return Judged(0, 0, {})
    pairs = pairs_of(run.test_images[:COUNT], noise_of(run.config.data))
    crops = [_crop(noisy, clean) for noisy, clean in pairs]
    side = min((noisy.shape[1] for noisy, _ in crops), default=0)
    crops = [(noisy[:, :side, :side], clean[:, :side, :side]) for noisy, clean in crops]
    if side == 0:
        return Judged(
            0, 0, {}, f"not judged on crops: no test photograph has {PADDING} pixels or more in height and width"
        )
    folder, name = run.folder, backend.target.name
    with tempfile.TemporaryDirectory(prefix="graphopt-crops-") as place:
        try:
            say(0.0, f"{name}: builds the network for crops of {side} pixels")
            model = canonical(folder.model.read(), (side, side), folder.name(folder.model.path))
            artefact = backend.build(model, Path(place))
            if not artefact.files:
                return Judged(side, 0, {}, f"not judged on crops: {artefact.refusal}")

            def on_device(image: Planes) -> Planes:
                made: Planes = backend.run(artefact, [image[None]])[0][0].astype(np.float32)
                return made

            ways: dict[str, Restore] = {
                "original": OnnxRestorer(folder.original.read(), "the original", crops[0][0].shape[0]),
                "onnx": OnnxRestorer(model, folder.name(folder.model.path), crops[0][0].shape[0]),
                "artefact": on_device,
            }
            scores: dict[str, list[float]] = {way: [] for way in ways}
            for done, (noisy, clean) in enumerate(crops):
                say(done / len(crops), f"{name}: crop {done + 1}/{len(crops)} on {backend.runs_on}")
                for way, restore in ways.items():
                    scores[way].append(psnr(restore(noisy), clean))
        except GraphoptError as error:
            return Judged(side, 0, {}, f"not judged on crops: {error}")
    return Judged(side, len(crops), {way: float(np.mean(found)) for way, found in scores.items()})


def _crop(noisy: Planes, clean: Planes) -> tuple[Planes, Planes]:
    """The square of `SIDE` pixels, or the largest that the image holds, with the most detail."""
    side = min(SIDE, *clean.shape[1:]) // PADDING * PADDING
    step = max(side // 2, 1)
    corners = [
        (top, left)
        for top in range(0, clean.shape[1] - side + 1, step)
        for left in range(0, clean.shape[2] - side + 1, step)
    ]
    detail = [float(clean[:, t : t + side, left : left + side].std()) if side else 0.0 for t, left in corners]
    top, left = corners[int(np.argmax(detail))]
    part = (slice(None), slice(top, top + side), slice(left, left + side))
    return noisy[part], clean[part]
