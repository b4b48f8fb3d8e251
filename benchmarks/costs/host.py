"""The measured host: what the sum of measured blocks predicts for the whole, beside the whole as measured.

    python benchmarks/costs/host.py

The shipped network and one with affines for norms, under TVM's default schedules, one thread; each block of another
shape is compiled and timed alone. Times on a busy machine say little.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESOLUTION = (256, 256)


def host_prediction_error(cache: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """`host_prediction_error`: the larger |predicted / measured - 1| of both networks, and the milliseconds of each."""
    from graphopt.backends.breakdown import block_models
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache
    from graphopt.ir.canonical import to_graph, to_model
    from graphopt.ir.registry import load_pass
    from graphopt.ir.rewriting import apply_selection, rewrite_everywhere
    from graphopt.ir.space_building import build_space
    from graphopt.models.source import find_model, load_source

    target = load_target("host-tvm")
    original, _ = load_source(find_model("nafnet-width8-sigma25", Path()), RESOLUTION, cache / "exports")
    image = np.random.default_rng(0).random((1, 3, *RESOLUTION), dtype=np.float32)
    rule = load_pass("affine-norm", {}, Path())
    space = build_space(to_graph(original), [rule], [image], [], lambda share, words: None)
    changed = apply_selection(space, dict.fromkeys(space.choices, rule.name))
    rewrite_everywhere(changed, [load_pass("fold-affine", {}, Path())])
    rows = {}
    with tempfile.TemporaryDirectory() as folder:  # measured now, not in an earlier run
        prices = CostCache(Path(folder))
        for name, model in (("original", original), ("affine norms", to_model(changed))):
            say(f"measures {name}")
            backend = open_backend(target, prices)
            measured = backend.price(model).latency_ms
            predicted = sum(backend.price(block).latency_ms for _, block in block_models(model))
            rows[name] = {"predicted_ms": predicted, "measured_ms": measured, "error": predicted / measured - 1}
    largest = max(abs(row["error"]) for row in rows.values())
    return {"host_prediction_error": largest, "host_rows": rows}


if __name__ == "__main__":
    from graphopt.cost.cache import cache_folder

    print(json.dumps(host_prediction_error(cache_folder(), print), indent=1))
