"""A network, images, a precision and a kind of device -> the QDQ graph that loses least, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.quantised import check_float
from graphopt.progress import Progress, silent
from graphopt.quantise.histograms import Array, histograms
from graphopt.quantise.methods import METHODS, Range
from graphopt.quantise.qdq import prepared, to_qdq
from graphopt.quantise.rules import find_rules

ENOUGH = 8  # calibration images, below which it is said that there are few
_COARSE = 8  # bits of which `entropy` asks: with more, levels outnumber the parts of a histogram

Judge = Callable[[onnx.ModelProto], float]


@dataclass(frozen=True)
class Quantised:
    """The QDQ graph; the `ranges` of its tensors (low, high), how they were found, and what the judge gave each
    `method`; which ops compute in float.
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    method: str
    scores: dict[str, float]
    in_float: dict[str, int]
    images: int  # that it was calibrated on

    @property
    def has_few(self) -> bool:
        """Whether there were fewer images than ranges are usually found with."""
        return self.images < ENOUGH


def quantise(
    model: onnx.ModelProto,
    images: Sequence[Array],
    judge: Judge,
    precision: str = "w8a8",
    device: str = "cpu",
    say: Progress = silent,
) -> Quantised:
    """`model`: a canonical one, in float. `images`: noisy ones to calibrate on, each of the shape of its input.

    Every method of finding ranges makes a graph, and the one is taken that `judge`, on images of its own, gives most.

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
    ready = prepared(model, rules, bits)
    seen = histograms(ready, images, lambda share, words: say(share / 2, words))
    methods = {name: find for name, find in METHODS.items() if bits.bits <= _COARSE or name != "entropy"}
    made, scores, ranges = {}, {}, {}
    for done, (name, find) in enumerate(methods.items()):
        say(0.5 + done / len(methods) / 2, f"{name}: quantises and judges")
        ranges[name] = {tensor: find(values, bits.steps) for tensor, values in seen.items()}
        made[name] = to_qdq(ready, ranges[name], rules, bits)
        scores[name] = judge(made[name].model)
    best = max(scores, key=lambda name: scores[name])
    return Quantised(made[best].model, ranges[best], best, scores, made[best].in_float, len(images))
