"""What int8 gives and costs, on the networks that ship: every figure beside its goal, and the emulator beside the CPU.

    python benchmarks/precision.py --json
    python benchmarks/precision.py --markdown --sets CBSD68=DIR Kodak24=DIR
    python benchmarks/precision.py --only agreement --data DIR --crops 24

A quantised network that ships is judged as it is; where none ships, the network in float is quantised after training,
with ranges of the photographs of `--train`. Times as fast on the NPU are estimated, on this machine's CPU measured turn
by turn. PSNR is measured: on crops of the photographs of `--data` by onnxruntime's CPU and by Qualcomm's emulator of
the NPU, and on whole photographs of `--sets` by onnxruntime. What is known is kept in the cache folder, so that a
killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

from denoise import commit, finish, lines, named
from precisions.agreement import agreement, crops_of
from precisions.goals import faster, lost_by_integers, lost_in_all, regression
from precisions.networks import CASES, Networks

from graphopt.backends.base import Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache, cache_folder
from graphopt.errors import GraphoptError
from graphopt.train.data import open_photographs

HERE = Path(__file__).parents[1]
IMAGES = HERE / "examples" / "images"
CALIBRATION = Path(os.environ.get("GRAPHOPT_CALIBRATION", HERE.parent / "shared" / "calibration"))
PARTS = ("faster", "agreement", "quality", "regression")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Whatever is wrong with what was given is said before any work."""
    parts = given.only or PARTS
    sets = {name: Path(path) for name, path in named(given.sets, "--sets").items()}
    for path in sets.values():
        open_photographs([path], judged=True)
    if given.crops < 1 or given.side < 16 or given.side % 16:
        raise GraphoptError(f"--crops {given.crops} --side {given.side}: expected 1 or more, and a multiple of 16")
    seen = crops_of(given.data, given.crops, given.side)
    cache, say = given.cache or cache_folder(), lines(15)
    networks = Networks([given.train], (given.resolution[0], given.resolution[1]), cache, partial(say, "quantise"))
    costs = CostCache(cache / "costs")
    goals, rows, missing = [], [], {}
    errors = regression(given.calibration) if "regression" in parts else []
    for case in CASES:
        backend = open_backend(load_target(case.target), costs)
        try:
            backend.key()
        except GraphoptError as error:
            missing[case.target] = str(error)
            continue
        if "faster" in parts:
            goals.append(faster(case, networks, backend))
        if "agreement" in parts and _emulates(backend, missing):
            rows += agreement(case, networks, backend, seen)
    goals += lost_by_integers(rows)
    if "quality" in parts:
        goals += lost_in_all(CASES, networks, sets, list(dict.fromkeys(given.sigmas)), given.jobs, say)
    for target, reason in missing.items():
        print(f"not in reach: {target}: {reason}", file=sys.stderr)
    return {
        "commit": commit(),
        "command": shlex.join(["python", "benchmarks/precision.py", *sys.argv[1:]]),
        "goals": goals + errors,
        "agreement": rows,
        "out_of_reach": missing,
    }


def _emulates(backend: Backend[Any], missing: dict[str, str]) -> bool:
    if backend.own_arithmetic and not backend.runs_here:
        missing[backend.target.name] = backend.elsewhere
    return bool(backend.own_arithmetic) and backend.runs_here


def markdown(found: dict[str, Any]) -> str:
    """The goals, then the emulator beside the CPU."""
    parts = [f"Made at commit `{found['commit']}` by\n\n```\n{found['command']}\n```"]
    parts.append(_table(("figure", "", "goal", "met", ""), [_goal(row) for row in found["goals"]]))
    if found["agreement"]:
        head = ("network", "precision", "onnxruntime's CPU", "emulated NPU", "difference", "largest on one crop", "")
        parts.append(_table(head, [_beside(row) for row in found["agreement"]]))
    return "\n\n".join(parts)


def _goal(row: dict[str, Any]) -> list[str]:
    bounds = f" ({row['low']:.2f} to {row['high']:.2f})" if "low" in row else ""
    also = {"macs_alone": "MACs alone: {:.1%}", "psnr": "{:.3f} dB", "on": "{}"}
    said = [words.format(row[key]) for key, words in also.items() if key in row]
    return [
        row["figure"],
        _value(row["value"], row["unit"]) + bounds,
        f"{'>=' if row['unit'] == 'times' else '<='} {_value(row['goal'], row['unit'])}",
        "yes" if row["met"] else "no",
        ", ".join([row["provenance"], *said]),
    ]


def _value(value: float, unit: str) -> str:
    return {"times": f"{value:.2f}x", "dB": f"{value:.3f} dB", "": f"{value:.1%}"}[unit]


def _beside(row: dict[str, Any]) -> list[str]:
    def db(key: str, form: str) -> str:
        return "" if row[key] is None else f"{row[key]:{form}} dB"

    about = f"measured, {row['crops']} crops of {row['side']}x{row['side']}, {row['made']}"
    return [
        f"`{row['network']}`", row["precision"], db("psnr_cpu", ".3f"), db("psnr_device", ".3f"),
        db("difference", "+.4f"), db("largest", ".4f"), f"refused: {row['why_not']}" if row["why_not"] else about,
    ]  # fmt: skip


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints what int8 gives and costs, beside the goals.")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print tables (default)")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part of the figures; may be repeated")
    parser.add_argument("--data", type=Path, default=IMAGES / "test", help="folder of photographs that crops are of")
    parser.add_argument("--crops", type=int, default=8, help="photographs at most, one crop each")
    parser.add_argument("--side", type=int, default=64, help="of a crop, in pixels; the emulator's time grows with it")
    parser.add_argument("--sets", nargs="+", default=(), metavar="NAME=DIR", help="folders of clean photographs")
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50], help="of the noise on --sets")
    parser.add_argument("--train", type=Path, default=IMAGES / "train", help="photographs that ranges are found on")
    parser.add_argument("--resolution", nargs=2, type=int, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, help="folder of the NPU's calibration files")
    parser.add_argument("--jobs", type=int, default=1, help="evaluations of whole photographs at a time")
    parser.add_argument("--cache", type=Path, help="where figures are kept, in place of graphopt's cache folder")
    finish(parser, measure, markdown)


if __name__ == "__main__":
    main()
