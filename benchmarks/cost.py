"""How far the prices can be believed: figures of each source of evidence, held out where something was fitted.

    python benchmarks/cost.py --json
    python benchmarks/cost.py --parameters

`--parameters` prints the kernel model's parameters instead, fitted to all rows, as `targets/` holds them. Each figure
comes from a module in `costs/`; errors are fractions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from costs import gpu_operators
from graphopt.errors import GraphoptError

CALIBRATION = Path(__file__).parents[2] / "shared" / "calibration"
FIGURES: tuple[Callable[[Path], dict[str, Any]], ...] = (gpu_operators.figures,)


def measure(calibration: Path) -> dict[str, Any]:
    """All figures by name. `calibration` is the folder of files that others measured."""
    return {key: value for figures in FIGURES for key, value in figures(calibration).items()}


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
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, help="folder of the calibration files")
    arguments = parser.parse_args()
    if not arguments.calibration.is_dir():
        sys.exit(f"{arguments.calibration} is no folder; give that of the calibration files with --calibration")
    try:
        made = (gpu_operators.parameters if arguments.parameters else measure)(arguments.calibration)
    except GraphoptError as error:
        sys.exit(str(error))
    print(json.dumps(rounded(made), indent=2) if arguments.json else "\n".join(lines(rounded(made))))


if __name__ == "__main__":
    main()
