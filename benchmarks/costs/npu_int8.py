"""Fits the NPU's regressions of quantised networks, and says how wrong they are on networks that they did not see.

    python benchmarks/cost.py --only npu-int8 --json

Times are those of AI Hub's runtime `qnn_dlc` (`sm8650_npu_measured_aihub.csv`). What the compiler says is in
`npu_int8_facts.csv` beside this file for networks built at the size that was timed: torchvision's by
`npu_rebuild.py`, and DnCNN, XLSR, QuickSRNet and two networks for video, which it does not hold, in the same way. For
others it is that of `sm8650_npu_int8_compiled_vs_measured.csv`, but for the rows in `WRONG`.

Parameters are not negative, and the loss is the mean absolute relative error: a network that the features cannot
explain does not bend the others. A megabyte over DDR takes what it takes in float16, so that it is not fitted here.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from costs.npu import MEASURED, PADDED
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.targets import load_target

Array = NDArray[np.float64]

FACTS = Path(__file__).parent / "npu_int8_facts.csv"
VECTOR_VALUES = Path(__file__).parent / "npu_vector_values.csv"
PRECISIONS = ("w8a8", "w8a16")
FORMS = {
    "macs_alone": ("gmac",),
    "macs_and_memory": ("padded_gmac", "megabytes"),
    "macs_memory_supertiles": ("padded_gmac", "megabytes", "supertiles"),
    "macs_memory_vector_ops": ("padded_gmac", "megabytes", "vector_kiloops"),
    "macs_memory_main_ops": ("padded_gmac", "megabytes", "main_kiloops"),
    "macs_memory_vector_values": ("padded_gmac", "megabytes", "vector_megavalues"),
    "macs_memory_vector_ops_and_values": ("padded_gmac", "megabytes", "vector_kiloops", "vector_megavalues"),
}
FORM = "macs_memory_vector_values"  # the one that graphopt prices with
_PARAMETERS = ("launch", "per_gmac", "per_million_vector_values")
# Rows of the compiled file of which the network, its size or its MACs are not what was timed.
WRONG = ("swin_tiny", "swin_small", "inception_v3", "fcn_resnet50")


class Rows:
    """Networks of one precision: `names`, `measured` (ms) and `features`, each an array over the networks."""

    def __init__(self, calibration: Path, precision: str):
        times = {
            (row["model_id"], row["precision"]): float(row["ms"])
            for row in _rows(calibration / "sm8650_npu_measured_aihub.csv")
            if f"measured_ms_{row['runtime']}" == MEASURED
        }
        found = _compiled(calibration / "sm8650_npu_int8_compiled_vs_measured.csv")
        found.update({(row["model"], row["precision"]): _features(row) for row in _rows(FACTS)})
        values = {row["model"]: float(row["vector_values"]) / 1e6 for row in _rows(VECTOR_VALUES)}
        for (model, _), features in found.items():
            features["vector_megavalues"] = values[model]
        chosen = sorted(key for key in found if key[1] == precision and key in times)
        self.names = [model for model, _ in chosen]
        self.measured = np.array([times[key] for key in chosen])
        self.features = {name: np.array([found[key][name] for key in chosen]) for name in found[chosen[0]]}

    def problem(self, form: str) -> tuple[Array, Array]:
        """A matrix and what it should make: relative milliseconds of what is fitted (the launch first), and of what is
        left once the megabytes have theirs.
        """
        ones = np.ones(len(self.names))
        columns = [ones, *(self.features[name] for name in FORMS[form] if name != "megabytes")]
        known = self.features["megabytes"] * per_megabyte() if "megabytes" in FORMS[form] else 0 * ones
        return np.stack(columns, axis=1) / self.measured[:, None], 1 - known / self.measured


def per_megabyte() -> float:
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    return target.npu_model.per_megabyte.value


def fit(matrix: Array, wanted: Array) -> Array:
    """The factors of the columns, none negative, with the least mean absolute error."""
    rows, columns = matrix.shape
    slack = np.eye(rows)
    found = linprog(
        np.r_[np.zeros(columns), np.ones(rows)],
        A_ub=np.block([[matrix, -slack], [-matrix, -slack]]),
        b_ub=np.r_[wanted, -wanted],
    )
    return np.asarray(found.x[:columns])


def leave_one_out(matrix: Array, wanted: Array) -> Array:
    """Estimate over measurement of each network, from a fit to all others."""
    everything = np.arange(len(wanted))
    found = [fit(matrix[everything != row], wanted[everything != row]) for row in everything]
    return np.array([1 + matrix[row] @ found[row] - wanted[row] for row in everything])


def measure(calibration: Path) -> dict[str, Any]:
    """The figures by precision, as fractions. `calibration` is the folder of the calibration files."""
    return {f"npu_{precision}": _figures(Rows(calibration, precision)) for precision in PRECISIONS}


def _figures(rows: Rows) -> dict[str, Any]:
    ratios = {form: leave_one_out(*rows.problem(form)) for form in FORMS}
    errors = {form: np.abs(ratio - 1) for form, ratio in ratios.items()}
    factors = np.maximum(ratios[FORM], 1 / ratios[FORM])
    found = fit(*rows.problem(FORM))
    return {
        "leave_one_out_error": float(errors[FORM].mean()),
        "leave_one_out_median_error": float(np.median(errors[FORM])),
        "leave_one_out_error_of_forms": {form: float(error.mean()) for form, error in errors.items()},
        "leave_one_out_median_error_of_forms": {form: float(np.median(error)) for form, error in errors.items()},
        "parameters": {**dict(zip(_PARAMETERS, found.tolist(), strict=True)), "per_megabyte": per_megabyte()},
        "spread": float(factors.max()),
        "spread_of_90_percent": float(np.quantile(factors, 0.9)),
        "rows": len(rows.names),
        "leave_one_out_ratios": dict(zip(rows.names, ratios[FORM].round(3).tolist(), strict=True)),
    }


def _compiled(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    padded = {row["model"]: row["padded_macs"] for row in _rows(PADDED)}
    return {
        (row["model"], row["precision"]): _features({**row, "padded_macs": padded[row["model"]]})
        for row in _rows(path)
        if row["model"] in padded and row["model"] not in WRONG
    }


def _features(row: dict[str, str]) -> dict[str, float]:
    return {
        "gmac": float(row["macs"]) / 1e9,
        "padded_gmac": float(row["padded_macs"]) / 1e9,
        "megabytes": float(row["ddr_read_write_bytes"]) / 1e6,
        "supertiles": float(row["supertiles"]),
        "vector_kiloops": float(row["ops_vec"]) / 1e3,
        "main_kiloops": float(row["ops_main"]) / 1e3,
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
