"""Fits the NPU's regressions of quantised networks, and says how wrong they are on networks that they did not see.

    python benchmarks/cost.py --only npu-int8 --json

Times are those of AI Hub's runtime `qnn_dlc` (`sm8650_npu_measured_aihub.csv`). What the compiler says is in
`npu_int8_facts.csv` beside this file, and the values of each network in `npu_values.csv`; `npu_rebuild.py` makes both.
For networks that `npu_int8_facts.csv` does not hold it is that of `sm8650_npu_int8_compiled_vs_measured.csv`.

Parameters are not negative, and the loss is the mean absolute relative error: a network that the features cannot
explain does not bend the others. Not fitted: a megabyte over DDR, which takes what it takes in float16, and in w8a16 a
MAC, which takes what it takes in w8a8. Networks in `APART` are priced by the fit to all others, and not fitted.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from costs.npu import MEASURED, PADDED
from graphopt.backends.qnn.quantised import PARAMETERS
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.targets import load_target

Array = NDArray[np.float64]

FACTS = Path(__file__).parent / "npu_int8_facts.csv"
VALUES = Path(__file__).parent / "npu_values.csv"
PRECISIONS = ("w8a8", "w8a16")
KINDS = ("convolved", "scaled", "border", "joined")
# Columns that are fitted, each a sum of features that share a parameter; `launch` is beside them. The last is priced.
FORMS = {
    "macs_alone": ("gmac",),
    "macs_and_memory": ("padded_gmac",),
    "macs_memory_supertiles": ("padded_gmac", "supertiles"),
    "macs_memory_vector_ops": ("padded_gmac", "vector_kiloops"),
    "macs_memory_all_values": ("padded_gmac", "convolved+scaled+border+joined"),
    "macs_memory_values_of_each_kind": ("padded_gmac", *KINDS),
    "priced": (),
}
PRICED = {"w8a8": ("padded_gmac", *KINDS), "w8a16": ("convolved+scaled+border+joined",)}
# 3D convolutions; and attention that was rewritten before it was timed (swin), or may have been.
APART = ("resnet_3d", "resnet_mixed", "resnet_2plus1d", "efficientvit_b2_cls", "efficientvit_l2_cls", "swin_tiny")
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
        values = {row["model"]: {kind: float(row[kind]) / 1e6 for kind in KINDS} for row in _rows(VALUES)}
        for (model, _), features in found.items():
            features.update(values[model])
        chosen = sorted(key for key in found if key[1] == precision and key in times)
        self.precision = precision
        self.names = [model for model, _ in chosen]
        self.measured = np.array([times[key] for key in chosen])
        self.features = {name: np.array([found[key][name] for key in chosen]) for name in found[chosen[0]]}

    def part(self, chosen: NDArray[np.bool_]) -> Rows:
        made = object.__new__(Rows)
        made.precision = self.precision
        made.names = [name for name, is_chosen in zip(self.names, chosen, strict=True) if is_chosen]
        made.measured = self.measured[chosen]
        made.features = {name: column[chosen] for name, column in self.features.items()}
        return made

    def apart(self) -> tuple[Rows, Rows]:
        """The networks that are fitted, and those that are not."""
        is_apart = np.array([name in APART for name in self.names])
        return self.part(~is_apart), self.part(is_apart)

    def problem(self, form: str, per_gmac: float) -> tuple[Array, Array]:
        """A matrix and what it should make: relative milliseconds of what is fitted (the launch first), and of what is
        left once the megabytes, and MACs whose price is known (`per_gmac` of w8a8), have theirs.
        """
        columns = PRICED[self.precision] if form == "priced" else FORMS[form]
        sums = [np.sum([self.features[name] for name in column.split("+")], axis=0) for column in columns]
        known = 0 * self.measured if form == "macs_alone" else self.features["megabytes"] * per_megabyte()
        if form == "priced" and "padded_gmac" not in columns:
            known = known + self.features["padded_gmac"] * per_gmac
        matrix = np.stack([np.ones(len(self.names)), *sums], axis=1)
        return matrix / self.measured[:, None], 1 - known / self.measured


def per_megabyte() -> float:
    target = load_target("sm8650-hexagon")
    assert isinstance(target, NpuTarget)
    return target.npu_model.per_megabyte.value


def per_gmac(calibration: Path) -> float:
    """What w8a16 takes over: the price of a MAC in w8a8."""
    return float(fit(*Rows(calibration, "w8a8").apart()[0].problem("priced", 0))[1])


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


def parameters(precision: str, found: Array, macs: float) -> dict[str, float]:
    """Of a fit in the priced form: the parameters of the target by name."""
    values = dict(zip(("launch", *PRICED[precision]), found.tolist(), strict=True))
    by_kind = {kind: value for column, value in values.items() for kind in column.split("+")}
    arithmetic = by_kind.get("padded_gmac", macs)
    known = {"launch": values["launch"], "arithmetic": arithmetic, "memory": per_megabyte()}
    return {PARAMETERS[term]: value for term, value in {**known, **{kind: by_kind[kind] for kind in KINDS}}.items()}


def leave_one_out(matrix: Array, wanted: Array) -> Array:
    """Estimate over measurement of each network, from a fit to all others."""
    everything = np.arange(len(wanted))
    found = [fit(matrix[everything != row], wanted[everything != row]) for row in everything]
    return np.array([1 + matrix[row] @ found[row] - wanted[row] for row in everything])


def measure(calibration: Path) -> dict[str, Any]:
    """The figures by precision, as fractions. `calibration` is the folder of the calibration files."""
    macs = per_gmac(calibration)
    return {f"npu_{precision}": _figures(Rows(calibration, precision), macs) for precision in PRECISIONS}


def _figures(every: Rows, macs: float) -> dict[str, Any]:
    rows, others = every.apart()
    ratios = {form: leave_one_out(*rows.problem(form, macs)) for form in FORMS}
    errors = {form: np.abs(ratio - 1) for form, ratio in ratios.items()}
    factors = np.maximum(ratios["priced"], 1 / ratios["priced"])
    found = fit(*rows.problem("priced", macs))
    matrix, wanted = others.problem("priced", macs)
    all_of_them = np.abs(leave_one_out(*every.problem("priced", macs)) - 1)
    return {
        "leave_one_out_error": float(errors["priced"].mean()),
        "leave_one_out_median_error": float(np.median(errors["priced"])),
        "rows": len(rows.names),
        "leave_one_out_error_with_those_apart": float(all_of_them.mean()),
        "leave_one_out_median_error_with_those_apart": float(np.median(all_of_them)),
        "leave_one_out_error_of_forms": {form: float(error.mean()) for form, error in errors.items()},
        "leave_one_out_median_error_of_forms": {form: float(np.median(error)) for form, error in errors.items()},
        "parameters": parameters(rows.precision, found, macs),
        "spread": float(factors.max()),
        "spread_of_90_percent": float(np.quantile(factors, 0.9)),
        "leave_one_out_ratios": dict(zip(rows.names, ratios["priced"].round(3).tolist(), strict=True)),
        "ratios_of_those_apart": dict(zip(others.names, (1 + matrix @ found - wanted).round(3).tolist(), strict=True)),
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
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
