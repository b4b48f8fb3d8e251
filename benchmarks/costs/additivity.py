"""Do prices of parts add up? Sums of priced parts beside the compiled whole, for the shipped network and changed ones.

    python benchmarks/costs/additivity.py [TARGET ...]

Original: the sum of its blocks, each compiled alone. Optimised: the network with one pass everywhere, and with random
candidates everywhere (seeds 0 to 2), folded and compiled as a whole, beside the cost table's sum for that selection.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TARGETS = ("sm8650-adreno750", "exynos2100-mali-g78")
PASSES = (
    "affine-norm", "static-attention", "strided-attention", "partial-depthwise", "low-rank-pointwise",
    "narrow-feed-forward", "skip-feed-forward", "skip-block", "resize-upsample", "average-downsample", "fold-affine",
)  # fmt: skip
RESOLUTION = (256, 256)


def additivity(names: tuple[str, ...], cache: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """`additivity`: by target, the largest |sum of parts / whole - 1| as a fraction; `additivity_rows` has each."""
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache
    from graphopt.cost.table import build_table
    from graphopt.ir.canonical import to_graph, to_model
    from graphopt.ir.passes import Stage
    from graphopt.ir.registry import load_pass
    from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
    from graphopt.ir.space import KEEP, Selection
    from graphopt.ir.space_building import build_space
    from graphopt.models.source import find_model, load_source

    prices = CostCache(cache / "costs")
    model, _ = load_source(find_model("nafnet-width8-sigma25", Path()), RESOLUTION, cache / "exports")
    passes = [load_pass(name, {}, Path()) for name in PASSES]
    cleanups = [rule for rule in passes if rule.stage is Stage.CLEANUP]
    image = np.random.default_rng(0).random((1, 3, *RESOLUTION), dtype=np.float32)
    space = build_space(to_graph(model), passes, [image], [], lambda share, words: None)
    backends = {name: open_backend(load_target(name), prices) for name in names}
    kept = apply_selection(space, {})
    rewrite_everywhere(kept, cleanups)
    base = {name: backend.price(to_model(kept)) for name, backend in backends.items()}
    say("prices the space")
    table = build_table(space, base, backends, cleanups, lambda share, words: None)
    rows: dict[str, dict[str, float]] = {name: {} for name in backends}
    for name, backend in backends.items():
        parts = backend.break_down(backend.price(model), model)
        if parts is not None and parts.additivity is not None:
            rows[name]["original, block by block"] = parts.additivity
    everywhere: dict[str, Selection] = {
        rule.name: {n: rule.name for n, choice in space.choices.items() if rule.name in choice.candidates}
        for rule in passes
    }
    for seed in range(3):
        random = np.random.default_rng(seed)
        everywhere[f"random {seed}"] = {n: str(random.choice(c.options)) for n, c in space.choices.items()}
    for label, selection in everywhere.items():
        say(label)
        whole = apply_selection(space, {name: selection.get(name, KEEP) for name in space.choices})
        rewrite_everywhere(whole, cleanups)
        for name, backend in backends.items():
            expected = table.expected_ms(space, selection, name)
            found = backend.price(to_model(whole)).latency_ms
            rows[name][label] = expected / found - 1
    largest = {name: max(abs(error) for error in errors.values()) for name, errors in rows.items()}
    return {"additivity": largest, "additivity_rows": rows}


if __name__ == "__main__":
    from graphopt.cost.cache import cache_folder

    print(json.dumps(additivity(tuple(sys.argv[1:]) or TARGETS, cache_folder(), print), indent=1))
