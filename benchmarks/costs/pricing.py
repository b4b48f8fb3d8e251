"""How long it takes to price the whole space of a 36-block NAFNet of width 32 for both phone GPUs, cold and warm.

    python benchmarks/costs/pricing.py

The space holds the candidates of every pass that ships, at 256x256. Cold starts with an empty cache; warm is the same
again with the cache of the first, and nothing else, kept.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.ir.passes import Pass, Stage
from graphopt.ir.space import Space

TARGETS = ("sm8650-adreno750", "exynos2100-mali-g78")
RESOLUTION = (256, 256)


def whole_space(cache: Path) -> tuple[Space, list[Pass]]:
    """The space, and the clean-ups that prices assume."""
    from graphopt.ir.canonical import to_graph
    from graphopt.ir.registry import load_pass, pass_names
    from graphopt.ir.space_building import build_space, prepare
    from networks import nafnet36

    passes = [load_pass(name, {}, Path()) for name in pass_names()]
    image = np.random.default_rng(0).random((1, 3, *RESOLUTION), dtype=np.float32)
    prepared = prepare(to_graph(nafnet36(cache, RESOLUTION)), passes, [image])
    space = build_space(prepared.graph, passes, [image], [], lambda share, words: None)
    return space, [rule for rule in passes if rule.stage is Stage.CLEANUP]


def priced(space: Space, cleanups: list[Pass], folder: Path) -> tuple[float, int]:
    """Seconds that a price for every candidate takes with the cache in `folder`, and how many prices are new."""
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache
    from graphopt.cost.table import build_table
    from graphopt.ir.canonical import to_model

    cache = CostCache(folder)
    started = time.perf_counter()
    backends = {name: open_backend(load_target(name), cache) for name in TARGETS}
    base = {name: backend.price(to_model(space.graph)) for name, backend in backends.items()}
    build_table(space, base, backends, cleanups, lambda share, words: None)
    return time.perf_counter() - started, cache.misses


def pricing_time(cache: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """`cold_minutes` and `warm_seconds`, and what was priced."""
    say("builds the space")
    space, cleanups = whole_space(cache)
    candidates = sum(len(choice.candidates) for choice in space.choices.values())
    with tempfile.TemporaryDirectory() as folder:
        say(f"prices {candidates} candidates")
        cold, new = priced(space, cleanups, Path(folder))
        warm, missed = priced(space, cleanups, Path(folder))
    if missed:
        raise SystemExit(f"{missed} prices were not found again in the cache")
    return {"cold_minutes": cold / 60, "warm_seconds": warm, "candidates": candidates, "prices": new}


if __name__ == "__main__":
    kept = Path(tempfile.gettempdir()) / "graphopt-benchmarks"
    print(json.dumps(pricing_time(kept, print), indent=1))
