"""A network, images, a precision and a kind of device -> the QDQ graph that loses least, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.quantised import check_float
from graphopt.progress import Progress, part_of, silent
from graphopt.quantise.histograms import Array
from graphopt.quantise.memory import NOWHERE, Memory
from graphopt.quantise.methods import Range
from graphopt.quantise.mixed import Allowed, Widened, widen
from graphopt.quantise.rules import find_rules
from graphopt.quantise.trials import ALL_VALUES, Judge, Trials

ENOUGH = 8  # calibration images, below which it is said that there are few


@dataclass(frozen=True)
class Quantised:
    """The QDQ graph; the `ranges` of its tensors (low, high), how they were found, and what the judge gave each
    `method`, all in 8 bits; which ops compute in float, and why the quantiser `refused` some of them; what stays wide,
    where that was asked for.
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    method: str
    scores: dict[str, float]
    in_float: dict[str, int]
    refused: dict[str, str]
    images: int  # that it was calibrated on
    widened: Widened | None = None

    @property
    def has_few(self) -> bool:
        """Whether there were fewer images than ranges are usually found with."""
        return self.images < ENOUGH

    @property
    def score(self) -> float:
        """What the judge gives the graph."""
        return self.widened.psnr[1] if self.widened else self.scores[self.method]


def quantise(
    model: onnx.ModelProto,
    images: Sequence[Array],
    judge: Judge,
    precision: str = "w8a8",
    device: str = "cpu",
    say: Progress = silent,
    allowed: Allowed | None = None,
    memory: Memory = NOWHERE,
) -> Quantised:
    """`model`: a canonical one, in float. `images`: noisy ones to calibrate on, each of the shape of its input.

    Every method of finding ranges makes a graph, and the one is taken that `judge`, on images of its own, gives most.
    `allowed`: what layers may cost that stay wider than 8 bits. `memory`: knows what the judge judges by.

    Raises:
        GraphoptError: a model that is quantised already, a precision that the device does not have, images of
            another shape or none, a tensor with values that are not finite, a network that the quantiser refuses.
    """
    rules, bits = find_rules(device, precision)
    check_float(model, "the network", "quantising takes")
    if not images:
        raise GraphoptError("quantise: no images to calibrate on; give one at least, better eight or more")
    shape = input_shape(model)
    if odd := [image.shape for image in images if image.shape != shape]:
        raise GraphoptError(f"quantise: expected images of the shape {shape}, the network's, found one of {odd[0]}")
    if allowed is not None and bits.bits > 8:
        raise GraphoptError(
            f"quantise: {precision} has no layers in 8 bits that could stay wider; give w8a8, or no mixed"
        )
    trials = Trials.of(model, rules, bits, judge, memory)
    end = 0.3 if allowed else 1.0
    ranges = trials.ranges(images, part_of(say, 0, end / 2))
    scores = {}
    for done, name in enumerate(ranges):
        say(end * (0.5 + done / len(ranges) / 2), f"{name}: quantises and judges")
        scores[name] = trials.score(ranges[name])
    best = max(scores, key=lambda name: scores[name])
    widened = None
    if allowed is not None:
        widened = widen(trials, ranges[best], ranges[ALL_VALUES], allowed, part_of(say, end, 1))
    made = widened.qdq if widened else trials.graph(ranges[best])
    return Quantised(made.model, ranges[best], best, scores, made.in_float, made.refused, len(images), widened)
