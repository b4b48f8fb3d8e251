"""Every network that ships on every runtime that this machine reaches: how fast, how near to the graph, and how large.

    python benchmarks/runtimes.py --json
    python benchmarks/runtimes.py --markdown --targets host-onnxruntime host-mnn

Runtimes are found as targets are: those whose artefacts run here, and whose libraries are installed. Where this
machine is the target, the first network's latency is measured, and how many times faster the others are, turn by turn.
Where it is not, an artefact is run for its numbers alone, on a smaller image: one target of each kind, unless targets
are named.

The difference is the PSNR of what the artefact restores, beside what onnxruntime computes of the graph, for a noisy
crop of a photograph (peak 1, so that 80 dB is an error of 0.0001); none where both are equal. What is known is kept in
the cache folder, so that a killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from denoise import commit, finish, lines, named

from graphopt.backends.base import Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import list_targets, load_target
from graphopt.cost.cache import CostCache, cache_folder
from graphopt.cost.keys import hash_of
from graphopt.cost.ratio import Ratio
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import input_shape
from graphopt.ir.session import OnnxSession
from graphopt.models.shipped import SHIPPED
from graphopt.models.source import find_model, load_source
from graphopt.train.data.images import list_images, read_image, to_planes
from graphopt.train.data.noise import add_noise

ORIGINAL = "nafnet-width16"
PHOTOGRAPHS = Path(__file__).parents[1] / "examples" / "images" / "test"
SIGMA = 25
Size = tuple[int, int]


@dataclass(frozen=True)
class Reached:
    """A target whose artefacts run here. `timed`: it is this machine, so that the clock prices it."""

    backend: Backend[Any]
    timed: bool

    @property
    def name(self) -> str:
        return str(self.backend.target.name)


@dataclass(frozen=True)
class Checked:
    """What an artefact computes: the PSNR beside the graph in dB, None where both are equal; its files in bytes. Or why
    there is none.
    """

    difference_db: float | None = None
    file_bytes: int | None = None
    refusal: str = ""


def reached(names: Sequence[str], cache: CostCache) -> tuple[list[Reached], dict[str, str]]:
    """The targets that run here, and why others do not. Of those that are not timed, one of each kind without names."""
    found: list[Reached] = []
    out_of_reach: dict[str, str] = {}
    kinds = set()
    for target in [load_target(name) for name in names] if names else list_targets():
        backend = open_backend(target, cache)
        try:
            backend.key()
        except GraphoptError as error:
            out_of_reach[target.name] = str(error)
            continue
        timed = backend.runs_here and backend.provenance == "measured" and not backend.unpriced
        if not backend.runs_here:
            out_of_reach[target.name] = backend.elsewhere
        elif timed or names or target.kind not in kinds:
            found.append(Reached(backend, timed))
            kinds |= set() if timed else {target.kind}
        else:
            out_of_reach[target.name] = "another target of its kind is run; name it with --targets"
    return found, out_of_reach


def checked(backend: Backend[Any], model: onnx.ModelProto) -> Checked:
    """Builds the artefact, runs it on the noisy crop, and compares it with the graph."""
    image = noisy_crop(input_shape(model))
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        try:
            artefact = backend.build(model, Path(folder))
            if not artefact.files:
                return Checked(refusal=artefact.refusal)
            made = backend.run(artefact, [image])[0]
        except GraphoptError as error:
            return Checked(refusal=str(error))
        size = sum(path.stat().st_size for path in artefact.files)
    error = np.mean(np.square(made.astype(np.float64) - OnnxSession(model, threads=1).run(image)))
    return Checked(-10 * math.log10(error) if error else None, size)


def noisy_crop(shape: Sequence[int]) -> np.ndarray:
    """The middle of the first test photograph, with noise of sigma 25, not clipped."""
    _, channels, height, width = shape
    photograph = to_planes(read_image(list_images([PHOTOGRAPHS])[0]))
    top, left = (photograph.shape[1] - height) // 2, (photograph.shape[2] - width) // 2
    if min(top, left) < 0:
        raise GraphoptError(f"--resolution {height} {width}: the photograph has {photograph.shape[1:]}; take less")
    clean = photograph[:channels, top : top + height, left : left + width]
    return add_noise(clean, SIGMA, [0])[None].astype(np.float32)


class Benchmark:
    """All rows. Figures are kept in `cache`."""

    def __init__(self, networks: dict[str, Path], cache: Path, sizes: tuple[Size, Size], trials: int):
        self.networks, self.trials, self.folder = networks, trials, cache / "exports"
        self.timed, self.untimed = sizes
        self.cache = CostCache(cache / "costs")

    def row(self, name: str, place: Reached) -> dict[str, Any]:
        size = self.timed if place.timed else self.untimed
        model, first = (load_source(self.networks[n], size, self.folder)[0] for n in (name, next(iter(self.networks))))
        found = self._checked(place, model)
        refused = bool(found.refusal)
        ratio = self._ratio(place, first, model) if place.timed and not refused and model != first else None
        price = place.backend.price(first, self.trials) if place.timed and not refused else None
        faster = ratio or Ratio(1.0, 1.0, 1.0, "measured")  # a time of another hour than the first's would mislead
        return {
            "network": name,
            "target": place.name,
            "title": place.backend.target.title,
            "size": list(size),
            "ms": price and price.latency_ms / faster.value,
            "low_ms": price and price.low_ms / faster.high,
            "high_ms": price and price.high_ms / faster.low,
            "ratio": ratio and ratio.to_dict(),
            **asdict(found),
            "provenance": "measured",
        }

    def _checked(self, place: Reached, model: onnx.ModelProto) -> Checked:
        key = f"runtimes-checked:{hash_of([_digest(model), place.backend.key(), SIGMA])}"
        kept = self.cache.get(key)
        if kept is None:
            kept = asdict(checked(place.backend, model))
            self.cache.put(key, kept)
        return Checked(**kept)

    def _ratio(self, place: Reached, before: onnx.ModelProto, after: onnx.ModelProto) -> Ratio:
        keys = [place.backend.price_key(model, self.trials) for model in (before, after)]
        key = f"runtimes-ratio:{hash_of(keys)}"
        kept = self.cache.get(key)
        if kept is None:
            kept = place.backend.compare(before, after, self.trials).to_dict()
            self.cache.put(key, kept)
        return Ratio.from_dict(kept)


def _digest(model: onnx.ModelProto) -> str:
    return hash_of(model.SerializeToString(deterministic=True).hex())


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Whatever is wrong with what was given is said before any work."""
    others = [name for name, one in SHIPPED.items() if name != ORIGINAL and one.precision == "fp32"]
    networks = named(given.networks or [f"{name}={name}" for name in (ORIGINAL, *others)], "--networks")
    paths = {name: find_model(path, Path()) for name, path in networks.items()}
    for size in (given.resolution, given.untimed):
        noisy_crop((1, 3, *size))
    sizes = (given.resolution[0], given.resolution[1]), (given.untimed[0], given.untimed[1])
    benchmark = Benchmark(paths, given.cache or cache_folder(), sizes, given.trials)
    places, out_of_reach = reached(given.targets, benchmark.cache)
    for target, reason in out_of_reach.items():
        print(f"not in reach: {target}: {reason}", file=sys.stderr)
    if not places:
        raise GraphoptError("no runtime of these is in reach of this machine")
    report, rows = lines(15), []
    for number, (place, name) in enumerate((place, name) for place in places for name in paths):
        report("runtimes", number / (len(places) * len(paths)), f"{place.name}: {name}")
        rows.append(benchmark.row(name, place))
    report("runtimes", 1, "every network has run everywhere")
    return {"commit": commit(), "reference": next(iter(paths)), "rows": rows, "out_of_reach": out_of_reach}


def markdown(found: dict[str, Any]) -> str:
    """A table, runtime by runtime."""
    head = ("runtime", "network", "ms", f"faster than `{found['reference']}`", "beside the graph", "file", "")
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        if row["refusal"]:
            cells = ["", "", "", "", f"refused: {row['refusal']}"]
        else:
            height, width = row["size"]
            cells = [
                "" if row["ms"] is None else f"{row['ms']:.4g}",
                "" if row["ratio"] is None else str(Ratio.from_dict(row["ratio"])),
                "equal" if row["difference_db"] is None else f"{row['difference_db']:.1f} dB",
                f"{row['file_bytes'] / 2**20:.2f} MiB",
                f"measured at {height}x{width}" + ("" if row["ms"] else ", not timed: the device is another one"),
            ]
        table.append("| " + " | ".join([f"`{row['target']}`", f"`{row['network']}`", *cells]) + " |")
    return "\n".join(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs networks on every runtime that this machine reaches.")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print a table (default)")
    parser.add_argument("--networks", nargs="+", metavar="NAME=FILE", help="the first: reference (default: what ships)")
    parser.add_argument("--targets", nargs="+", default=(), help="names, or paths of YAML files (default: in reach)")
    parser.add_argument("--resolution", nargs=2, type=int, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--untimed", nargs=2, type=int, default=(64, 64), metavar=("HEIGHT", "WIDTH"),
                        help="of the image where artefacts run for their numbers alone")  # fmt: skip
    parser.add_argument("--trials", type=int, default=0, help="for targets that tune")
    parser.add_argument("--cache", type=Path, help="where figures are kept, in place of graphopt's cache folder")
    finish(parser, measure, markdown)


if __name__ == "__main__":
    main()
