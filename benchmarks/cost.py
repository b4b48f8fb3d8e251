"""How far the prices can be believed: figures of each source of evidence, held out where something was fitted.

    python benchmarks/cost.py --json
    python benchmarks/cost.py --only operators
    python benchmarks/cost.py --parameters
    python benchmarks/cost.py --coverage --json
    python benchmarks/cost.py --doubt

`--parameters` prints the kernel model's parameters instead, fitted to all rows, as `targets/` holds them. `--coverage`
says how often the 90 % interval of a ratio holds, `--doubt` writes what the fits leave open into `graphopt/`. Each
source is a module in `costs/`; errors are fractions. `GRAPHOPT_CALIBRATION` may name the folder of the calibration
files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import graphopt
from costs import (
    additivity,
    coverage,
    gpu_operators,
    host,
    kernel_doubt,
    memory,
    npu,
    npu_doubt,
    npu_int8,
    npu_int8_doubt,
    pricing,
    static_trials,
)
from graphopt.atomic import replacing
from graphopt.cost.cache import cache_folder
from graphopt.errors import GraphoptError

PACKAGE = Path(graphopt.__file__).parent
CALIBRATION = Path(os.environ.get("GRAPHOPT_CALIBRATION", Path(__file__).parents[2] / "shared" / "calibration"))


def npu_figures(calibration: Path) -> dict[str, Any]:
    return npu.measure(npu_file(calibration))


def npu_file(calibration: Path) -> Path:
    path = calibration / "sm8650_npu_fp16_compiled_vs_measured.csv"
    if not path.exists():
        raise GraphoptError(f"{path} does not exist; give the folder of the calibration files with --calibration")
    return path


def coverage_figures(calibration: Path) -> dict[str, Any]:
    """By device: pairs of operators, bundles of them, operators under carried parameters, pairs of networks."""
    networks = npu_file(calibration)
    hexagon = {**coverage.networks(networks), **coverage.quantised_networks(calibration, networks)}
    return {**coverage.operators(calibration, _quietly), "hexagon": hexagon}


def write_doubt(calibration: Path) -> dict[str, Any]:
    """Writes the files that the prices' ratios are drawn from; returns their paths."""
    made: dict[Path, Any] = {PACKAGE / "backends/qnn/doubt.json": npu_doubt.shipped(npu_file(calibration))}
    for device, found in kernel_doubt.shipped(calibration).items():
        made[PACKAGE / f"kernels/doubt_{device}.json"] = found
    by_precision = npu_int8_doubt.shipped(calibration)
    texts = {path: _lines(asdict(found)) for path, found in made.items()}
    texts[PACKAGE / "backends/qnn/doubt_quantised.json"] = _lines({key: asdict(f) for key, f in by_precision.items()})
    for path, text in texts.items():
        with replacing(path) as temporary:
            temporary.write_text(text)
    return {"written": [str(path) for path in texts]}


def _lines(content: dict[str, Any]) -> str:
    """JSON with a line for each key."""
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()) + "\n}\n"


def memory_figures(_: Path) -> dict[str, Any]:
    return memory.memory_error(["nafnet-width8-sigma25"], cache_folder() / "exports")


def additivity_figures(_: Path) -> dict[str, Any]:
    return additivity.additivity(additivity.TARGETS, cache_folder(), _quietly)


def pricing_figures(_: Path) -> dict[str, Any]:
    return pricing.pricing_time(Path(tempfile.gettempdir()) / "graphopt-benchmarks", _quietly)


def _quietly(words: str) -> None:
    print(words, file=sys.stderr)


FIGURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "operators": gpu_operators.figures,
    "npu": npu_figures,
    "npu-int8": npu_int8.measure,
    "memory": memory_figures,
    "additivity": additivity_figures,
    "pricing": pricing_figures,
    "host": lambda _: host.host_prediction_error(cache_folder(), _quietly),
    "static": lambda _: static_trials.static_trials(),
}


def measure(calibration: Path, sources: Iterable[str]) -> dict[str, Any]:
    """The figures of `sources` by name. `calibration` is the folder of files that others measured."""
    return {key: value for source in sources for key, value in FIGURES[source](calibration).items()}


def rounded(value: Any) -> Any:
    """`value` with four significant digits throughout."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def lines(value: Any, name: str = "") -> list[str]:
    """One line of text for each figure."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in lines(item, f"{name}.{key}" if name else key)]
    return [f"{name}: {value}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints how far the prices of graphopt can be believed.")
    parser.add_argument("--json", action="store_true", help="print JSON, not lines of text")
    parser.add_argument("--parameters", action="store_true", help="print the fitted parameters of the kernel model")
    parser.add_argument("--coverage", action="store_true", help="print how often the interval of a ratio holds")
    parser.add_argument("--doubt", action="store_true", help="write what the fits leave open into graphopt/")
    parser.add_argument("--only", action="append", choices=FIGURES, help="one source of figures; may be repeated")
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, help="folder of the calibration files")
    arguments = parser.parse_args()
    if not arguments.calibration.is_dir():
        sys.exit(f"{arguments.calibration} is no folder; give that of the calibration files with --calibration")
    try:
        if arguments.doubt:
            made: dict[str, Any] = write_doubt(arguments.calibration)
        elif arguments.coverage:
            made = coverage_figures(arguments.calibration)
        elif arguments.parameters:
            made = gpu_operators.parameters(arguments.calibration)
        else:
            made = measure(arguments.calibration, arguments.only or FIGURES)
    except GraphoptError as error:
        sys.exit(str(error))
    print(json.dumps(rounded(made), indent=2) if arguments.json else "\n".join(lines(rounded(made))))


if __name__ == "__main__":
    main()
