"""How well the sum of parts, and what whole networks made of it, foretold each whole network of a run on an NPU.

    python benchmarks/costs/wholes.py runs/NAME

Reads what `graphopt run` has left; nothing is priced. Each network is foretold by the model that those before it had
corrected, once there were `FIRST` of them. Prints JSON: medians of |foretold / priced - 1|.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from graphopt.cost.record import Cost
from graphopt.cost.table import CostTable
from graphopt.ir.space_files import load_space
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.wholes import Aim, Whole

FIRST = 10


def foretold(run: Path) -> dict[str, Any]:
    """By target: how many networks, and the medians of the errors for latency and memory."""

    def read(name: str) -> Any:
        return json.loads((run / name).read_text())

    space, table = load_space(run / "cost" / "space"), CostTable.from_dict(read("cost/table.json"))
    seen = [
        Whole(row["selection"], {name: Cost.from_dict(cost) for name, cost in row["costs"].items()})
        for row in read("search/wholes.json")
    ]
    original = {name: Cost.from_dict(read("cost/original.json")[name]) for name in seen[0].costs}
    goals = Goals(read("search/selection.json")["goals_ms"])
    hardware = Hardware(space, table, None, goals)
    found = {}
    for target in original:
        errors: dict[str, list[float]] = {"sum_of_parts": [], "corrected": [], "memory_corrected": []}
        for number in range(FIRST, len(seen)):
            selection, cost = seen[number].selection, seen[number].costs[target]
            learnt = Aim(hardware, None, original, seen[:number]).hardware
            parts = table.expected_ms(space, selection, target)
            errors["sum_of_parts"].append(abs(parts / cost.latency_ms - 1))
            errors["corrected"].append(abs(learnt.latency[target].of(selection) / cost.latency_ms - 1))
            errors["memory_corrected"].append(abs(learnt.memory[target].of(selection) / cost.peak_memory_bytes - 1))
        medians = {f"{name}_median_error": round(statistics.median(each), 4) for name, each in errors.items()}
        found[target] = {"networks": len(seen), **medians}
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER")
    print(json.dumps(foretold(Path(sys.argv[1])), indent=1))
