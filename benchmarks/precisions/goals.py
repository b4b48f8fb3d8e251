"""The figures that int8 is judged by, each beside its goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from costs import npu_int8
from denoising.quality import Case as Judged
from denoising.quality import judge
from graphopt.backends.base import Backend
from graphopt.cost.keys import hash_of
from graphopt.cost.ratio import Ratio
from graphopt.errors import GraphoptError
from graphopt.models.source import find_model
from precisions.networks import ORIGINAL, Case, Networks

Row = dict[str, Any]
FASTER = 5.0  # times
LOST_BY_INTEGERS, LOST_IN_ALL = 0.05, 0.2  # dB
OFF, OFF_MEDIAN = 0.15, 0.08


def goal(figure: str, value: float, wanted: float, unit: str, provenance: str, more: bool = False, **also: Any) -> Row:
    """`met`: at most what is `wanted`, or at least with `more`."""
    met = value >= wanted if more else value <= wanted
    return {
        "figure": figure,
        "value": value,
        "goal": wanted,
        "unit": unit,
        "met": met,
        "provenance": provenance,
        **also,
    }


def faster(case: Case, networks: Networks, backend: Backend[Any], precision: str = "w8a8") -> Row:
    """The original in the target's floats against the network in integers; what is measured is measured turn by turn,
    once.
    """
    path, made = networks.file(case, precision)
    before, after = networks.model(ORIGINAL), networks.model(str(path))  # each is priced as it is
    key = f"precision-ratio:{hash_of([backend.price_key(before), backend.price_key(after)])}"
    kept = backend.cache.get(key)
    if kept is None:
        networks.say(0, f"{backend.target.name}: {ORIGINAL} against {case.network} in {precision}")
        kept = backend.compare(before, after).to_dict()
        backend.cache.put(key, kept)
    found = Ratio.from_dict(kept)
    name = f"{backend.target.name}: {ORIGINAL} in {backend.target.precision} -> {case.network} in {precision} ({made})"
    return goal(name, found.value, FASTER, "times", found.provenance, more=True, low=found.low, high=found.high)


def lost_by_integers(rows: list[Row], precision: str = "w8a8") -> list[Row]:
    """What the emulator gives less in integers than in halves, of `agreement`'s rows, for each network."""
    found = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = {row["precision"]: row for row in rows if row["network"] == network}
        half, whole = own["fp16"]["psnr_device"], own[precision]["psnr_device"]
        if half is None or whole is None:
            continue
        figure = f"{network} ({own[precision]['made']}): lost by {precision} against fp16, on the emulator"
        crops = f"{own[precision]['crops']} crops of {own[precision]['side']}"
        found.append(goal(figure, half - whole, LOST_BY_INTEGERS, "dB", "measured", on=crops))
    return found


def lost_in_all(
    cases: tuple[Case, ...], networks: Networks, sets: Mapping[str, Path], sigmas: list[float], jobs: int,
    say: Callable[[str, float, str], None],
) -> list[Row]:  # fmt: skip
    """Against the original in fp32, by onnxruntime on this machine's CPU, for each set and sigma."""
    if not sets:
        return []
    files = {_name(case): networks.file(case, "w8a8")[0] for case in cases}
    everything = {ORIGINAL: find_model(ORIGINAL, Path()), **files}
    found = judge(everything, sets, sigmas, networks.cache / "quality", jobs, partial(say, "judge"))
    return [
        goal(
            f"{name}: lost in all against {ORIGINAL}, {photographs}, sigma {sigma:g}",
            found[Judged(ORIGINAL, photographs, sigma)].psnr - found[Judged(name, photographs, sigma)].psnr,
            LOST_IN_ALL, "dB", "measured", psnr=found[Judged(name, photographs, sigma)].psnr,
        )
        for name in files for photographs in sets for sigma in sigmas
    ]  # fmt: skip


def _name(case: Case) -> str:
    return f"{case.network} in w8a8 for {case.target}"


def regression(calibration: Path) -> list[Row]:
    """The NPU's regression for integers, each network left out once; beside it MACs alone."""
    if not calibration.is_dir():
        raise GraphoptError(f"--calibration {calibration} is no folder; give that of the calibration files")
    rows = []
    for name, found in npu_int8.measure(calibration).items():
        figure = f"{name.removeprefix('npu_')}: the NPU's regression, left out, {found['rows']} networks"
        alone = found["leave_one_out_error_of_forms"]["macs_alone"]
        mean, median = found["leave_one_out_error"], found["leave_one_out_median_error"]
        rows.append(goal(f"{figure}, mean error", mean, OFF, "", "measured", macs_alone=alone))
        rows.append(goal(f"{figure}, median error", median, OFF_MEDIAN, "", "measured"))
    return rows
