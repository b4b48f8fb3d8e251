"""What a candidate is worth in float and in integers: the prices that a search sees of the same sites.

    python benchmarks/costs/in_integers.py [TARGET [PRECISION]]

`nafnet-width8-sigma25` at 256x256; of each pass the first site of the space. What each adds to the whole network, in
ms and as a share of the whole, in the target's own precision and in another one. On a busy machine, measure again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PASSES = ("affine-norm", "resize-upsample", "transposed-upsample", "static-attention", "bounded-gate")
RESOLUTION = (256, 256)


def in_integers(target: str, precision: str, cache: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """`whole_ms` by precision, and `rows`: by pass and precision, the ms that it adds and their share of the whole."""
    from graphopt.backends.precision import InPrecision
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import in_precision, load_target
    from graphopt.cost.cache import CostCache
    from graphopt.cost.contexts import candidate_contexts
    from graphopt.ir.canonical import to_graph
    from graphopt.ir.registry import load_pass
    from graphopt.ir.space import KEEP
    from graphopt.ir.space_building import build_space
    from graphopt.models.source import find_model, load_source

    prices, plain = CostCache(cache / "costs"), load_target(target)
    model, _ = load_source(find_model("nafnet-width8-sigma25", Path()), RESOLUTION, cache / "exports")
    passes = [load_pass(name, {}, Path()) for name in PASSES]
    image = np.random.default_rng(0).random((1, 3, *RESOLUTION), dtype=np.float32)
    space = build_space(to_graph(model), passes, [image], [], lambda share, words: None)
    pricers = [InPrecision(open_backend(t, prices)) for t in (plain, in_precision(plain, precision, "benchmark"))]
    wholes = {p.backend.target.precision: (p, p.price_beside(model, model)) for p in pricers}
    rows: dict[str, dict[str, dict[str, float]]] = {}
    kept = None
    for context in candidate_contexts(space, [load_pass("fold-affine", {}, Path())]):
        if context.option == KEEP:
            kept = context.model
        elif context.option not in rows and kept is not None:
            say(f"{context.option} at {context.choice}")
            rows[context.option] = {}
            for name, (pricer, whole) in wholes.items():
                before, after = pricer.price_part(kept), pricer.price_part(context.model, kept)
                added = pricer.exchanged(whole, before, after)
                rows[context.option][name] = {"ms": added, "share": added / whole.latency_ms}
    whole_ms = {name: whole.latency_ms for name, (_, whole) in wholes.items()}
    return {"target": target, "provenance": pricers[0].backend.provenance, "whole_ms": whole_ms, "rows": rows}


if __name__ == "__main__":
    from graphopt.cost.cache import cache_folder

    asked = sys.argv[1:] or ["host-onnxruntime"]
    found = in_integers(asked[0], asked[1] if len(asked) > 1 else "w8a8", cache_folder(), print)
    print(json.dumps(found, indent=1))
