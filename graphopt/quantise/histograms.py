"""What values every tensor of a network takes on images: least, most, and how often those between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.session import OnnxSession
from graphopt.progress import Progress, part_of, silent
from graphopt.quantise.tensors import tensors_in_groups

Array = NDArray[np.float32]
BINS = 2048


@dataclass(frozen=True)
class Histogram:
    """`counts` (BINS,) of values in equal parts of [`low`, `high`], which holds zero: integers have one for it."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each part (BINS,)."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[:-1] + edges[1:]) / 2


def histograms(model: onnx.ModelProto, images: Sequence[Array], say: Progress = silent) -> dict[str, Histogram]:
    """Of the image and of every float tensor that a node makes. `images`: each of the shape of the model's input.

    The network runs twice on each image: once for the ranges, once to count.

    Raises:
        GraphoptError: a tensor has values that are not finite.
    """
    groups = tensors_in_groups(model)
    found: dict[str, Histogram] = {}
    for number, names in enumerate(groups):
        found |= counted(model, names, images, part_of(say, number / len(groups), (number + 1) / len(groups)))
    return found


def counted(
    model: onnx.ModelProto, names: Sequence[str], images: Sequence[Array], say: Progress = silent
) -> dict[str, Histogram]:
    """`histograms` of the tensors `names` alone, which memory must hold together."""
    makers = {name: node.name for node in model.graph.node for name in node.output}
    session, ranges = OnnxSession(model, names), dict.fromkeys(names, (0.0, 0.0))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for done, (name, values, is_counted) in enumerate(_twice(session, names, images)):
        say(done / len(names) / (2 * len(images)), "calibrates")
        low, high = ranges[name]
        if is_counted:
            counts[name] += np.histogram(values, BINS, (low, high if high > low else low + 1))[0]
            continue
        least, most = float(values.min()), float(values.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            made = f" (made by node {makers[name]})" if name in makers else ""
            raise GraphoptError(
                f"quantise: tensor '{name}'{made} has values that are not finite on the calibration images, so it "
                "has no range; look for a division by zero or an overflow before it"
            )
        ranges[name] = min(low, least), max(high, most)
    return {name: Histogram(*ranges[name], counts[name]) for name in names}


def _twice(session: OnnxSession, names: Sequence[str], images: Sequence[Array]) -> Iterator[tuple[str, Array, bool]]:
    for is_counted in (False, True):
        for image in images:
            given = {session.inputs[0]: image}
            for name in names:
                if name in given:
                    yield name, image, is_counted
            made = [name for name in names if name not in given]
            for name, values in zip(made, session.run_named(given, made), strict=True):
                yield name, values, is_counted
