"""How far the prices can be believed: figures of each source of evidence, held out where something was fitted.

    python benchmarks/cost.py --json
    python benchmarks/cost.py --only operators
    python benchmarks/cost.py --parameters

`--parameters` prints the kernel model's parameters instead, fitted to all rows, as `targets/` holds them. Each source
is a module in `costs/`; errors are fractions. `GRAPHOPT_CALIBRATION` may name the folder of the calibration files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from costs import additivity, gpu_operators, host, memory, npu, pricing, static_trials
from graphopt.cost.cache import cache_folder
from graphopt.errors import GraphoptError

CALIBRATION = Path(os.environ.get("GRAPHOPT_CALIBRATION", Path(__file__).parents[2] / "shared" / "calibration"))


def npu_figures(calibration: Path) -> dict[str, Any]:
    path = calibration / "sm8650_npu_fp16_compiled_vs_measured.csv"
    if not path.exists():
        raise GraphoptError(f"{path} does not exist; give the folder of the calibration files with --calibration")
    return npu.measure(path)


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
    parser.add_argument("--only", action="append", choices=FIGURES, help="one source of figures; may be repeated")
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, help="folder of the calibration files")
    arguments = parser.parse_args()
    if not arguments.calibration.is_dir():
        sys.exit(f"{arguments.calibration} is no folder; give that of the calibration files with --calibration")
    try:
        if arguments.parameters:
            made: dict[str, Any] = gpu_operators.parameters(arguments.calibration)
        else:
            made = measure(arguments.calibration, arguments.only or FIGURES)
    except GraphoptError as error:
        sys.exit(str(error))
    print(json.dumps(rounded(made), indent=2) if arguments.json else "\n".join(lines(rounded(made))))


if __name__ == "__main__":
    main()
