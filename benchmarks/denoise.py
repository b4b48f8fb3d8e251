"""What networks cost, and how well they denoise: rows of PSNR, SSIM, parameters, MACs, latency and peak memory.

    python benchmarks/denoise.py --json --sets CBSD68=DIR Kodak24=DIR
    python benchmarks/denoise.py --json --networks original=a.safetensors small=c.onnx --sets CBSD68=DIR

It judges networks and trains none: unless told otherwise those that ship, which docs/results.md says how to make. The
first one is what ratios and differences refer to; `noisy` rows are those of the images as they are. PSNR and SSIM are
measured, with the noise of `graphopt evaluate`; prices are those of `graphopt cost`, and say if they are estimated.
What is known is kept in the cache folder, so that a killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from denoising.quality import NOISY, Case, check_names, judge
from denoising.table import markdown
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache, cache_folder
from graphopt.cost.ratio import Ratio
from graphopt.cost.record import NetworkCost
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.models.source import find_model, load_source
from graphopt.progress import Progress
from graphopt.train.data import open_photographs
from graphopt.train.metrics import Quality

NETWORKS = (
    "original=nafnet-width16",
    "host-onnxruntime=nafnet-width16-onnxruntime",
    "sm8650-adreno750=nafnet-width16-adreno750",
    "exynos2100-mali-g78=nafnet-width16-mali-g78",
    "sm8650-hexagon=nafnet-width16-hexagon",
)
TARGETS = ("host-onnxruntime", "sm8650-adreno750", "exynos2100-mali-g78", "sm8650-hexagon")

Prices = dict[str, dict[str, NetworkCost]]  # by network, then by target
Gains = dict[str, dict[str, Ratio]]  # the same: how many times as fast as the first network


def named(given: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=PATH ...` by name, in the order given."""
    found: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not (name and path):
            raise GraphoptError(f"{option} {text}: expected NAME=PATH")
        if name in found:
            raise GraphoptError(f"{option}: '{name}' is given twice; give each a name of its own")
        found[name] = path
    return found


def price(
    networks: dict[str, Path], targets: Sequence[Target], resolution: tuple[int, int], cache: Path, report: Progress
) -> tuple[Prices, Gains]:
    """Each network on each target, at `resolution` (height, width)."""
    costs = CostCache(cache / "costs")
    prices: Prices = {name: {} for name in networks}
    gains: Gains = {name: {} for name in networks}
    first: onnx.ModelProto | None = None
    for number, (name, path) in enumerate(networks.items()):
        report(number / len(networks), name)
        model, _ = load_source(path, resolution, cache / "exports")
        first = model if first is None else first
        for target in targets:

            def heard(share: float, words: str, number: int = number, name: str = name) -> None:
                report(number / len(networks), f"{name}: {words}")

            backend = open_backend(target, costs)
            prices[name][target.name] = backend.price(model, say=heard)
            gains[name][target.name] = backend.compare(first, model, say=heard)
    report(1.0, "every network has its prices")
    return prices, gains


def rows(prices: Prices, gains: Gains, quality: dict[Case, Quality]) -> list[dict[str, Any]]:
    """A row for each network, set and sigma; the first network is the reference."""
    reference = next(iter(prices))
    return [
        {
            "network": case.network,
            "set": case.set,
            "sigma": case.sigma,
            "psnr": found.psnr,
            "ssim": found.ssim,
            "provenance": "measured",
            "psnr_difference": found.psnr - quality[Case(reference, case.set, case.sigma)].psnr,
            "ssim_difference": found.ssim - quality[Case(reference, case.set, case.sigma)].ssim,
            **_priced(prices.get(case.network, {}), prices[reference], gains.get(case.network, {})),
        }
        for case, found in quality.items()
    ]


def _priced(own: dict[str, NetworkCost], reference: dict[str, NetworkCost], gains: dict[str, Ratio]) -> dict[str, Any]:
    """Nothing but None for the noisy images, which no network made."""
    counts = next(iter(own.values()), None)
    first = next(iter(reference.values()))
    return {
        "parameters": counts and counts.parameters,
        "macs": counts and counts.macs,
        "parameters_ratio": counts and counts.parameters / first.parameters,
        "macs_ratio": counts and counts.macs / first.macs,
        "targets": {
            target: {
                "latency_ms": cost.latency_ms,
                "low_ms": cost.low_ms,
                "high_ms": cost.high_ms,
                "peak_memory_bytes": cost.peak_memory_bytes,
                "provenance": cost.provenance,
                "latency_ratio": cost.latency_ms / reference[target].latency_ms,
                "gain": gains[target].to_dict(),
                "peak_memory_ratio": cost.peak_memory_bytes / reference[target].peak_memory_bytes,
            }
            for target, cost in own.items()
        },
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Whatever is wrong with what was given is said before any work."""
    networks = {name: find_model(path, Path()) for name, path in named(given.networks, "--networks").items()}
    check_names(networks)
    sets = {name: Path(path) for name, path in named(given.sets, "--sets").items()}
    for path in sets.values():
        open_photographs([path], judged=True)
    if not all(math.isfinite(sigma) and sigma >= 0 for sigma in given.sigmas):
        raise GraphoptError("--sigmas: expected standard deviations of 0 or more, on the scale 0-255")
    if given.jobs < 1:
        raise GraphoptError(f"--jobs {given.jobs}: expected 1 or more")
    targets = [load_target(name) for name in dict.fromkeys(given.targets)]
    cache, resolution = given.cache or cache_folder(), (given.resolution[0], given.resolution[1])
    report = lines(15)
    prices, gains = price(networks, targets, resolution, cache, partial(report, "price"))
    sigmas = list(dict.fromkeys(given.sigmas))
    quality = judge(networks, sets, sigmas, cache / "quality", given.jobs, partial(report, "judge"))
    return {
        "commit": commit(),
        "command": shlex.join(["python", "benchmarks/denoise.py", *sys.argv[1:]]),
        "resolution": list(resolution),
        "reference": next(iter(networks)),
        "rows": rows(prices, gains, quality),
    }


def lines(seconds: float) -> Callable[[str, float, str], None]:
    """Prints `part: share, words` where errors go, once in so many seconds, and at the end of each part."""
    last = -seconds

    def report(part: str, share: float, words: str) -> None:
        nonlocal last
        if share == 1 or time.monotonic() - last >= seconds:
            last = time.monotonic()
            print(f"{part}: {share:.0%}, {words}", file=sys.stderr)

    return report


def commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def finish(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    markdown: Callable[[dict[str, Any]], str],
) -> None:
    """Measures what the command line asks for, and prints it; a mistake is one line."""
    given = parser.parse_args()
    try:
        found = measure(given)
    except GraphoptError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was finished is kept, and the same command goes on from there")
    print(json.dumps(found, indent=2) if given.json else markdown(found))


def main() -> None:
    parser = argparse.ArgumentParser(description="Judges networks as denoisers, beside the first of them.")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print the tables of docs/results.md (default)")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME=FILE", help="the first: reference")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=DIR", help="folders of clean photographs")
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50], help=f"of the noise; {NOISY} rows too")
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="names, or paths of YAML files")
    parser.add_argument("--resolution", nargs=2, type=int, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--jobs", type=int, default=1, help="evaluations at a time")
    parser.add_argument("--cache", type=Path, help="where figures are kept, in place of graphopt's cache folder")
    finish(parser, measure, markdown)


if __name__ == "__main__":
    main()
