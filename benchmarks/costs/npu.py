"""Fits the NPU's regression to latencies measured on phones, and says how wrong it is on networks that it did not see.

    python benchmarks/costs/npu.py sm8650_npu_fp16_compiled_vs_measured.csv

Columns used: model, macs, ddr_read_bytes, ddr_write_bytes, supertiles, ops_vec, measured_ms_qnn_dlc. That is the
compiled network as the NPU runs it, without the framework that `onnx` and `tflite` put around it.
`npu_padded_macs.csv` beside this file has the MACs with channels in groups of 32, as `graphopt.backends.qnn.padding`
counts them: of the layers of torchvision 0.28's networks, and of DnCNN, XLSR and QuickSRNet as published; their plain
MACs and parameters are those of the calibration file. The formula is that of
`graphopt.backends.qnn.regression.price`; parameters are not negative, and the loss is the mean squared relative
error.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]

MEASURED = "measured_ms_qnn_dlc"
PADDED = Path(__file__).parent / "npu_padded_macs.csv"
FORMS = {
    "macs_alone": ("gmac",),
    "macs_and_memory": ("gmac", "megabytes"),
    "macs_memory_vector_ops": ("gmac", "megabytes", "vector_kiloops"),
    "macs_memory_supertiles": ("gmac", "megabytes", "supertiles"),
    "padded_macs_memory_supertiles": ("padded_gmac", "megabytes", "supertiles"),
}
FORM = (
    "padded_macs_memory_supertiles"  # the one that graphopt prices with, the supertiles to a power that is fitted too
)
EXPONENTS = tuple(step / 20 for step in range(10, 21))
# Networks that make images of images; all others give a class.
IMAGE_TO_IMAGE = ("xlsr", "quicksrnetsmall", "quicksrnetmedium", "dncnn", "fcn_resnet50")


class Rows:
    """The rows with a measurement: `names`, `measured` (ms) and `features`, each an array over the rows."""

    def __init__(self, path: Path):
        with path.open() as stream:
            rows = [row for row in csv.DictReader(stream) if row[MEASURED]]

        def column(name: str) -> Array:
            return np.array([float(row[name]) for row in rows])

        self.names = [row["model"] for row in rows]
        self.measured = column(MEASURED)
        with PADDED.open() as stream:
            padded = {row["model"]: float(row["padded_macs"]) / 1e9 for row in csv.DictReader(stream)}
        self.features = {
            "gmac": column("macs") / 1e9,
            "padded_gmac": np.array([padded[name] for name in self.names]),
            "megabytes": (column("ddr_read_bytes") + column("ddr_write_bytes")) / 1e6,
            "supertiles": column("supertiles"),
            "vector_kiloops": column("ops_vec") / 1e3,
        }

    def matrices(self, form: str) -> list[Array]:
        """For each exponent that may be chosen, a row a network: 1 for the launch, then the features of a form."""
        exponents = EXPONENTS if "supertiles" in FORMS[form] else (1.0,)
        ones = np.ones(len(self.names))

        def column(name: str, exponent: float) -> Array:
            return np.asarray(self.features[name] ** (exponent if name == "supertiles" else 1.0))

        return [np.stack([ones, *(column(name, power) for name in FORMS[form])], axis=1) for power in exponents]


def fit(matrices: list[Array], measured: Array, rows: NDArray[np.bool_]) -> tuple[Array, int]:
    """The parameters, none negative, and the matrix, by number, that together have the least mean squared relative
    error over `rows`.
    """
    ones = np.ones(int(rows.sum()))
    fits = [nnls(matrix[rows] / measured[rows, None], ones) for matrix in matrices]
    best = min(range(len(fits)), key=lambda number: fits[number][1])
    return np.asarray(fits[best][0]), best


def leave_one_out(matrices: list[Array], measured: Array) -> Array:
    """Estimate over measurement for each row, from a fit to all others."""
    everything = np.arange(len(measured))
    ratios = []
    for row in everything:
        found, best = fit(matrices, measured, everything != row)
        ratios.append(found @ matrices[best][row] / measured[row])
    return np.array(ratios)


def transfer(rows: Rows, form: str) -> Array:
    """Estimate over measurement of the image-to-image networks, from a fit to the others."""
    other = np.array([name in IMAGE_TO_IMAGE for name in rows.names])
    matrices = rows.matrices(form)
    found, best = fit(matrices, rows.measured, ~other)
    return np.asarray(matrices[best][other] @ found / rows.measured[other])


def measure(path: Path) -> dict[str, Any]:
    """The figures, as fractions. `path` is the CSV."""
    rows = Rows(path)
    ratios = {form: leave_one_out(rows.matrices(form), rows.measured) for form in FORMS}
    moved = {form: transfer(rows, form) for form in FORMS}
    chosen = ratios[FORM]
    factors = np.maximum(chosen, 1 / chosen)
    found, best = fit(rows.matrices(FORM), rows.measured, np.ones(len(rows.names), dtype=bool))
    names = ("launch", "per_gmac", "per_megabyte", "per_supertile")
    return {
        "npu_leave_one_out_error": _error(chosen),
        "npu_leave_one_out_median_error": float(np.median(np.abs(chosen - 1))),
        "npu_leave_one_out_error_of_forms": {form: _error(ratio) for form, ratio in ratios.items()},
        "npu_classifiers_to_images_error_of_forms": {form: _error(ratio) for form, ratio in moved.items()},
        "npu_parameters": {**dict(zip(names, found.tolist(), strict=True)), "supertile_exponent": EXPONENTS[best]},
        "npu_spread": float(factors.max()),
        "npu_spread_of_90_percent": float(np.quantile(factors, 0.9)),
        "npu_rows": len(rows.names),
        "npu_most_supertiles": float(rows.features["supertiles"].max()),
        "npu_leave_one_out_ratios": dict(zip(rows.names, chosen.round(3).tolist(), strict=True)),
    }


def _error(ratios: Array) -> float:
    return float(np.abs(ratios - 1).mean())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/costs/npu.py CALIBRATION.csv")
    print(json.dumps(measure(Path(sys.argv[1])), indent=2))
