"""Photographs -> a quantised network: ranges are found on patches of some, and methods judged on patches of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.quantised import check_float
from graphopt.ir.session import OnnxSession
from graphopt.progress import Progress, silent
from graphopt.quantise.quantise import Quantised, quantise
from graphopt.quantise.rules import find_rules
from graphopt.train.data import Photograph, add_noise, open_photographs, to_planes
from graphopt.train.metrics import psnr

Planes = NDArray[np.float32]
Item = TypeVar("Item")
Pair = tuple[Planes, Planes]  # noisy and clean, (3, H, W) each
EVERY = 4  # of so many photographs one is kept to judge by
_SEEN, _HELD_OUT = 16, 8  # patches at most
_OF_ONE = 4  # patches of one photograph at most


@dataclass(frozen=True)
class Outcome:
    """What quantising gave. PSNR in dB, each in float and quantised, measured by onnxruntime on this machine: on the
    `held_out` patches, and on those that ranges were found on (`seen`).
    """

    quantised: Quantised
    held_out: tuple[float, float]
    seen: tuple[float, float]
    patches: tuple[int, int]  # seen, and held out

    @property
    def loss(self) -> float:
        """dB on patches that nothing was fitted to but the choice among methods."""
        return self.held_out[0] - self.held_out[1]

    @property
    def seen_loss(self) -> float:
        """dB on the patches that ranges were found on."""
        return self.seen[0] - self.seen[1]


def quantise_on(
    model: onnx.ModelProto, folder: Path, sigma: float, precision: str, device: str, say: Progress = silent
) -> Outcome:
    """`model`: a canonical one for RGB images. `folder`: clean photographs, which get white noise of `sigma` (0-255).

    Raises:
        GraphoptError: as `quantise`; fewer than two photographs, a network that takes something else than RGB images.
    """
    find_rules(device, precision)
    check_float(model, "the network", "quantising takes")
    shape = input_shape(model)
    if len(shape) != 4 or shape[1] != 3:
        raise GraphoptError(f"quantise: expected a network for RGB images (1, 3, H, W), found an input of {shape}")
    photographs = open_photographs([folder])
    if len(photographs) < 2:
        raise GraphoptError(f"quantise: {folder} holds one photograph; give two or more, since one of them judges")
    judging = photographs[EVERY - 1 :: EVERY] or photographs[-1:]
    others = [photograph for photograph in photographs if photograph not in judging]
    size = (shape[2], shape[3])
    seen, held_out = _pairs(others, size, sigma, _SEEN, 0), _pairs(judging, size, sigma, _HELD_OUT, 1)
    found = quantise(model, [noisy[None] for noisy, _ in seen], partial(_psnr, held_out), precision, device, say)
    return Outcome(
        found,
        (_psnr(held_out, model), found.scores[found.method]),
        (_psnr(seen, model), _psnr(seen, found.model)),
        (len(seen), len(held_out)),
    )


def _psnr(pairs: Sequence[Pair], model: onnx.ModelProto) -> float:
    """The mean over pairs."""
    session = OnnxSession(model)
    return float(np.mean([psnr(session.run(noisy[None])[0], clean) for noisy, clean in pairs]))


def _pairs(photographs: Sequence[Photograph], size: tuple[int, int], sigma: float, most: int, seed: int) -> list[Pair]:
    """Patches of the photographs, spread over all of them."""
    chosen = _spread(photographs, most)
    pairs = []
    for position, photograph in enumerate(chosen):
        for place, clean in enumerate(_patches(to_planes(photograph.read()[0]), size)):
            pairs.append((add_noise(clean, sigma, [77, seed, position, place]), clean))
    return [pairs[i] for i in _spread(range(len(pairs)), most)]


def _patches(image: Planes, size: tuple[int, int]) -> list[Planes]:
    """Beside each other, (3, *size); one that is filled up by its mirror image where the photograph is smaller."""
    missing = [(0, max(0, side - extent)) for side, extent in zip(size, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *missing], mode="symmetric")
    tops, lefts = (range(0, image.shape[i + 1] - size[i] + 1, size[i]) for i in (0, 1))
    corners = _spread([(top, left) for top in tops for left in lefts], _OF_ONE)
    return [np.ascontiguousarray(image[:, top : top + size[0], left : left + size[1]]) for top, left in corners]


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, evenly spread."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]
