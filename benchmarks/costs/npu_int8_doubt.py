"""What the fits to quantised networks leave open: the file `doubt_quantised.json` of the NPU, and its coverage."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np

from costs import npu, npu_doubt, npu_int8
from costs.npu_int8 import KINDS, PRECISIONS, Array, Rows
from graphopt.backends.qnn.doubt import drawn_times
from graphopt.backends.qnn.quantised import PARAMETERS, QuantisedFeatures, model_of
from graphopt.backends.qnn.quantised_doubt import QuantisedDoubt, drawn_quantised
from graphopt.backends.qnn.target import NpuTarget, QuantisedNpuModel
from graphopt.backends.targets import load_target

VECTORS = 64
_SOURCE = (
    "python benchmarks/cost.py --doubt, on {count} networks in {precision} that AI Hub timed on a Galaxy S24 "
    "(qai-hub-models 0.65.0)"
)
Judged = tuple[bool, float]


def doubt(rows: Rows, known: Array, macs: float, vectors: int) -> tuple[QuantisedDoubt, QuantisedNpuModel]:
    """`known`: numbers of the rows that may be seen; `macs`: what a GMAC takes in w8a8. The doubt, and the parameters
    that it is about.
    """
    matrix, wanted = rows.problem("priced", macs)
    middle = npu_int8.parameters(rows.precision, npu_int8.fit(matrix[known], wanted[known]), macs)
    offsets: dict[str, list[float]] = {name: [] for name in middle}
    for seed in range(vectors):
        drawn = known[np.random.default_rng(seed).integers(0, len(known), len(known))]
        found = npu_int8.parameters(rows.precision, npu_int8.fit(matrix[drawn], wanted[drawn]), macs)
        for name, value in found.items():
            offsets[name].append(float(f"{value - middle[name]:.3g}"))
    fitted = {name: values for name, values in offsets.items() if any(values)}
    ratios = npu_int8.leave_one_out(matrix[known], wanted[known])
    residuals = [float(f"{-np.log(ratio):.3f}") for ratio in ratios]
    source = _SOURCE.format(count=len(known), precision=rows.precision)
    return QuantisedDoubt(source, fitted, residuals), _model(rows.precision, middle)


def shipped(calibration: Path) -> dict[str, QuantisedDoubt]:
    """By precision."""
    macs = npu_int8.per_gmac(calibration)
    every = {precision: Rows(calibration, precision).apart()[0] for precision in PRECISIONS}
    return {precision: doubt(rows, np.arange(len(rows.names)), macs, VECTORS)[0] for precision, rows in every.items()}


def pairs(rows: Rows, macs: float, vectors: int = VECTORS) -> list[Judged]:
    """Of each pair of networks, both left out: whether its ratio lies within its interval, and high / low of that."""
    everything, found = np.arange(len(rows.names)), []
    for first, second in combinations(range(len(rows.names)), 2):
        known = everything[(everything != first) & (everything != second)]
        made, model = doubt(rows, known, macs, vectors)
        times = [drawn_quantised(features(rows, row), model, made) for row in (first, second)]
        found.append(_judged(times[0], times[1], rows.measured[first] / rows.measured[second]))
    return found


def from_float(floats: npu.Rows, rows: Rows, macs: float, vectors: int = VECTORS) -> list[Judged]:
    """The same of each network in float16 beside each that is quantised, each left out of the fit to its own kind."""
    before = [
        drawn_times(npu_doubt.features(floats, row), target, known)
        for row in range(len(floats.names))
        for known, target in [npu_doubt.doubt(floats, _without(row, len(floats.names)))]
    ]
    after = [
        drawn_quantised(features(rows, row), model, known)
        for row in range(len(rows.names))
        for known, model in [doubt(rows, _without(row, len(rows.names)), macs, vectors)]
    ]
    return [
        _judged(before[i], after[j], floats.measured[i] / rows.measured[j])
        for i, j in product(range(len(before)), range(len(after)))
    ]


def features(rows: Rows, row: int) -> QuantisedFeatures:
    value = {name: float(column[row]) for name, column in rows.features.items()}
    return QuantisedFeatures(1, value["padded_gmac"], value["megabytes"], **{kind: value[kind] for kind in KINDS})


def _without(row: int, count: int) -> Array:
    everything = np.arange(count)
    return np.asarray(everything[everything != row])


def _judged(before: Array, after: Array, measured: float) -> Judged:
    low, high = np.quantile(before / after, (0.05, 0.95))
    return bool(low <= measured <= high), float(high / low)


def _model(precision: str, values: dict[str, float]) -> QuantisedNpuModel:
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    model = model_of(target, precision)
    names = PARAMETERS.values()
    return model.model_copy(
        update={name: getattr(model, name).model_copy(update={"value": values[name]}) for name in names}
    )
