"""What each exact pass is worth on each shipped network: how many times faster, with its interval.

    python benchmarks/exact_passes.py --json
    python benchmarks/exact_passes.py --target sm8650-adreno750 --target exynos2100-mali-g78
    python benchmarks/exact_passes.py --precision w8a8

A pass stands at all its sites, and the network with it is compared with the one without it, both after the clean-ups.
Without a target, both are run here by onnxruntime on one thread, turn by turn: the ratio is measured. With targets,
each target compares them. `together` takes the passes one after the other, the best first, keeps each one that gains
beyond its interval, and compares the result with the network as it ships. `difference` is that of the outputs on one
random image, relative to the largest value.

With `--precision w8a8` both are compared quantised, with ranges of one photograph: what is compared is their time.
`original` is then how many times faster that network is than nafnet-width16 in float. `difference` stays that in float.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from graphopt import Contract, GraphoptError, Pass, Stage
from graphopt.backends.measuring import Limits, busy, pinned, time_ratio
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache, cache_folder
from graphopt.cost.ratio import Ratio
from graphopt.ir.canonical import input_shape, to_graph, to_model
from graphopt.ir.difference import relative_difference
from graphopt.ir.registry import load_pass, pass_names
from graphopt.ir.rewriting import rewrite_everywhere, rewrite_once
from graphopt.ir.session import OnnxSession
from graphopt.models.source import find_model, load_source
from graphopt.quantise.histograms import histograms
from graphopt.quantise.methods import METHODS
from graphopt.quantise.qdq import prepared, to_qdq
from graphopt.quantise.rules import find_rules
from graphopt.train.data.images import read_image, to_planes
from graphopt.train.data.noise import add_noise

NETWORKS = ("nafnet-width16", "nafnet-width16-adreno750", "nafnet-width16-mali-g78", "nafnet-width16-hexagon")
OPTIONS: dict[str, dict[str, Any]] = {"merge-depthwise": {"border": "plane"}}
HERE = "onnxruntime here"
ORIGINAL = "nafnet-width16"
PHOTOGRAPH = Path(__file__).parents[1] / "examples" / "images" / "test" / "coffee.png"
Compare = Callable[[onnx.ModelProto, onnx.ModelProto], Ratio]


def exact_passes() -> dict[str, Pass]:
    """Those that offer candidates, by name."""
    rules = [load_pass(name, OPTIONS.get(name, {}), Path()) for name in pass_names()]
    return {rule.name: rule for rule in rules if rule.stage is Stage.SEARCH and rule.contract is Contract.EXACT}


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = to_graph(model)
    rewrite_everywhere(graph, [load_pass("fold-affine", {}, Path())])
    return to_model(graph)


def rewritten(model: onnx.ModelProto, rule: Pass) -> tuple[onnx.ModelProto, int]:
    """The model with the pass at all its sites, cleaned, and their number."""
    graph = to_graph(model)
    sites = rewrite_once(graph, rule)
    return cleaned(to_model(graph)), sites


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """In 8 bits for a CPU, with the ranges of a part of one noisy photograph."""
    rules, precision = find_rules("cpu", "w8a8")
    height, width = input_shape(model)[2:]
    clean = to_planes(read_image(PHOTOGRAPH))[:, :height, :width]
    ready = prepared(model, rules, precision)
    seen = histograms(ready, [add_noise(clean, 25, [0])[None].astype(np.float32)])
    ranges = {name: METHODS["min-max"](values, precision.steps) for name, values in seen.items()}
    return to_qdq(ready, ranges, rules, precision).model


def in_integers(compare: Compare) -> Compare:
    return lambda before, after: compare(quantised(before), quantised(after))


def here(seconds: float) -> Compare:
    """Measures on this machine, for at most so long."""

    def compare(before: onnx.ModelProto, after: onnx.ModelProto) -> Ratio:
        image = _image(before)
        with pinned(1):
            first, second = OnnxSession(before, threads=1), OnnxSession(after, threads=1)
            return time_ratio(lambda: first.run(image), lambda: second.run(image), Limits(seconds=seconds))[2]

    return compare


def on_target(name: str) -> Compare:
    backend = open_backend(load_target(name), CostCache(cache_folder() / "costs"))
    return lambda before, after: backend.compare(before, after)


def measure(
    model: onnx.ModelProto, rules: dict[str, Pass], compare: Compare, say: Callable[[str], None]
) -> tuple[dict[str, Any], onnx.ModelProto]:
    """A row for each pass that has a site in the model, and one for those that gain, together; the model with those."""
    plain, rows = cleaned(model), {}
    for name, rule in rules.items():
        after, sites = rewritten(plain, rule)
        if sites:
            ratio = compare(plain, after)
            rows[name] = {"sites": sites, **ratio.to_dict(), "difference": difference(plain, after)}
            say(f"  {name}: {ratio}")
    kept, best = [], plain
    for name in sorted((name for name in rows if rows[name]["low"] > 1), key=lambda name: -rows[name]["value"]):
        after, sites = rewritten(best, rules[name])
        if sites and compare(best, after).low > 1:
            kept, best = [*kept, name], after
    together = compare(model, best)
    say(f"  together: {together} ({', '.join(kept)})")
    rows["together"] = {"passes": kept, **together.to_dict(), "difference": difference(model, best)}
    return rows, best


def difference(before: onnx.ModelProto, after: onnx.ModelProto) -> float:
    image = _image(before)
    expected, found = (OnnxSession(model, threads=1).run(image) for model in (before, after))
    return relative_difference(found, expected)


def _image(model: onnx.ModelProto) -> np.ndarray:
    return np.random.default_rng(0).random(input_shape(model), dtype=np.float32)


def figures(
    networks: Sequence[str],
    targets: Sequence[str],
    passes: Sequence[str],
    size: tuple[int, int],
    seconds: float,
    integers: bool = False,
) -> dict[str, Any]:
    """By where it was compared, by network, by pass."""
    comparisons = {name: on_target(name) for name in targets} or {HERE: here(seconds)}
    rules, found = {name: rule for name, rule in exact_passes().items() if name in passes or not passes}, {}
    for place, compare in comparisons.items():
        found[place] = {}
        for network in networks:
            print(f"{network}, {place}", file=sys.stderr)
            model = _load(network, size)
            alike = in_integers(compare) if integers else compare
            rows, best = measure(model, rules, alike, lambda text: print(text, file=sys.stderr))
            if integers:
                rows["original"] = compare(_load(ORIGINAL, size), quantised(best)).to_dict()
            found[place][network] = rows
    return found


def _load(network: str, size: tuple[int, int]) -> onnx.ModelProto:
    return load_source(find_model(network, Path()), size, cache_folder() / "exports")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="What each exact pass is worth on each shipped network.")
    parser.add_argument("--json", action="store_true", help="print JSON, not lines of text")
    parser.add_argument("--network", action="append", help="a network that ships, or a file; may be repeated")
    parser.add_argument("--target", action="append", help="a target that compares; may be repeated")
    parser.add_argument("--pass", action="append", dest="passes", help="one of the exact passes; may be repeated")
    parser.add_argument("--precision", choices=("fp32", "w8a8"), default="fp32", help="what both are compared in")
    parser.add_argument("--size", type=int, default=256, help="height and width of the image")
    parser.add_argument("--seconds", type=float, default=15.0, help="the longest that one ratio is measured here")
    arguments = parser.parse_args()
    if arguments.precision == "w8a8" and arguments.target:
        parser.error("--precision w8a8 compares what onnxruntime runs here; leave --target out")
    if warning := busy():
        print(warning, file=sys.stderr)
    size, networks = (arguments.size, arguments.size), arguments.network or NETWORKS
    try:
        chosen = networks, arguments.target or (), arguments.passes or ()
        found = figures(*chosen, size, arguments.seconds, arguments.precision == "w8a8")
    except GraphoptError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for place, networks_there in found.items():
        for network, rows in networks_there.items():
            for name, row in rows.items():
                interval = Ratio(row["value"], row["low"], row["high"], row["provenance"])
                print(f"{place}  {network:26} {name:26} {interval}, {row['provenance']}")


if __name__ == "__main__":
    main()
