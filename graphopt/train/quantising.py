"""Photographs -> a quantised network: ranges are found on patches of some, and what comes out judged on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.quantised import check_float
from graphopt.ir.session import OnnxSession
from graphopt.progress import Progress, silent
from graphopt.quantise.memory import NOWHERE, Memory, hash_of_arrays
from graphopt.quantise.mixed import Allowed
from graphopt.quantise.quantise import Quantised, quantise
from graphopt.train.data import Noise, Photograph, to_planes
from graphopt.train.metrics import psnr

Planes = NDArray[np.float32]
Item = TypeVar("Item")
Pair = tuple[Planes, Planes]  # noisy and clean, (3, H, W) each
EVERY = 4  # of so many photographs one is kept to judge by
SEEN = 16  # patches that ranges are found on, where nobody says how many
_HELD_OUT = 8  # patches at most
_OF_ONE = 4  # patches of one photograph at most


@dataclass(frozen=True)
class Patches:
    """Those that ranges are found on (`seen`), and those of other photographs, which judge (`held_out`)."""

    seen: list[Pair]
    held_out: list[Pair]

    def judge(self, model: onnx.ModelProto) -> float:
        """PSNR (dB) on patches that no range was found on, the mean over them, by onnxruntime on this machine."""
        return _psnr(self.held_out, model)


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

    @property
    def warning(self) -> str:
        """That ranges of so few patches are not to be trusted, and what that cost; empty where there were enough."""
        if not self.quantised.has_few:
            return ""
        return (
            f"calibrated on {self.quantised.images} patches; give photographs for eight or more: ranges of few cut off "
            f"what others hold; others lost {self.loss - self.seen_loss:+.3f} dB more than those patches (measured)"
        )


def check_judged(photographs: Sequence[Photograph], where: str) -> None:
    """GraphoptError where there are not two of them: one calibrates, and another one judges."""
    if len(photographs) < 2:
        raise GraphoptError(
            f"{where} holds one photograph; give two or more, since one of them judges what integers cost"
        )


def patches_of(
    model: onnx.ModelProto, photographs: Sequence[Photograph], noise: Noise, where: str, images: int = SEEN
) -> Patches:
    """At the size of the canonical `model`; at most `images` to find ranges on. Noise is the same each time.

    Raises:
        GraphoptError: a network that is quantised, or takes something else than RGB images; fewer than two photographs
            `where` they come from.
    """
    check_float(model, "the network", "quantising takes")
    shape = input_shape(model)
    if len(shape) != 4 or shape[1] != 3:
        raise GraphoptError(f"quantise: expected a network for RGB images (1, 3, H, W), found an input of {shape}")
    check_judged(photographs, where)
    judging = photographs[EVERY - 1 :: EVERY] or photographs[-1:]
    others = [photograph for photograph in photographs if photograph not in judging]
    size = (shape[2], shape[3])
    return Patches(_pairs(others, size, noise, images, 0), _pairs(judging, size, noise, _HELD_OUT, 1))


def quantise_on(
    model: onnx.ModelProto, patches: Patches, precision: str, device: str, say: Progress = silent,
    allowed: Allowed | None = None, memory: Memory = NOWHERE,
) -> Outcome:  # fmt: skip
    """`model`: a canonical one for RGB images, of the size of the patches. `allowed`, `memory`: as `quantise`.

    Raises:
        GraphoptError: as `quantise`.
    """
    seen, held_out = patches.seen, patches.held_out
    images, judged = [noisy[None] for noisy, _ in seen], [planes for pair in held_out for planes in pair]
    memory = memory.of(hash_of_arrays(judged))
    found = quantise(model, images, patches.judge, precision, device, say, allowed, memory)
    return Outcome(
        found,
        (patches.judge(model), found.score),
        (_psnr(seen, model), _psnr(seen, found.model)),
        (len(seen), len(held_out)),
    )


def _psnr(pairs: Sequence[Pair], model: onnx.ModelProto) -> float:
    """The mean over pairs."""
    session = OnnxSession(model)
    return float(np.mean([psnr(session.run(noisy[None])[0], clean) for noisy, clean in pairs]))


def _pairs(photographs: Sequence[Photograph], size: tuple[int, int], noise: Noise, most: int, seed: int) -> list[Pair]:
    """Patches of the photographs, spread over all of them."""
    chosen = _spread(photographs, most)
    pairs = []
    for position, photograph in enumerate(chosen):
        clean, noisy = (None if pixels is None else _patches(to_planes(pixels), size) for pixels in photograph.read())
        assert clean is not None
        for place, patch in enumerate(clean):
            random = np.random.default_rng([77, seed, position, place])
            pairs.append((noise(patch, random) if noisy is None else noisy[place], patch))
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
