"""Every method of search on one cost table, from one supernet, at one budget of training steps.

    python benchmarks/search.py --json

The shipped NAFNet of width 8 is searched for a share of its latency on one target, by each method and seed, with the
settings of the quickstart. Then come, for each: the latency (sum of parts), the PSNR on the photographs of
`examples/images/test` (the chosen network with the weights that the search trained, before fine-tuning), the entropy
when it is decided, the share of sites decided (p > 0.9), and what turning the soft network into the chosen one costs
before any further training (dB, on held-out patches; 0 where a method never has a soft network). `--finetune N` trains
each chosen network for N steps more, as `graphopt run` does, and adds its PSNR then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.bounded_gate import BoundedGate
from graphopt.passes.fold_affine import FoldAffine
from graphopt.passes.partial_depthwise import PartialDepthwise
from graphopt.passes.resize_upsample import ResizeUpsample
from graphopt.passes.skip_block import SkipBlock
from graphopt.passes.skip_feed_forward import SkipFeedForward
from graphopt.passes.static_attention import StaticAttention

from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.config.methods import METHODS, readers
from graphopt.config.search import SearchConfig
from graphopt.config.training import FinetuneConfig
from graphopt.cost.cache import CostCache
from graphopt.cost.table import CostTable, build_table
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.rewriting import apply_selection
from graphopt.ir.space_building import build_space, prepare
from graphopt.ir.space_files import load_space, save_space
from graphopt.models.source import find_model, load_source
from graphopt.nn.module import GraphModule
from graphopt.search.files import FRONT, SELECTION, SENSITIVITY, SPACE
from graphopt.search.problem import Given, teacher_of
from graphopt.search.stage import SearchStage
from graphopt.train.data import PatchSampler, add_noise, list_images, read_image, to_planes
from graphopt.train.finetune import finetune
from graphopt.train.processes import start_fabric

IMAGES = Path(__file__).parents[1] / "examples" / "images"
TARGET = "sm8650-adreno750"
SIGMA = 25.0
SIZE = 256


def crops(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(noisy, clean) middles of photographs, (3, SIZE, SIZE)."""
    found = []
    for number, path in enumerate(list_images([folder])):
        clean = to_planes(read_image(path))
        top, left = ((extent - SIZE) // 2 for extent in clean.shape[1:])
        clean = np.ascontiguousarray(clean[:, top : top + SIZE, left : left + SIZE])
        found.append((add_noise(clean, SIGMA, (7, number)), clean))
    return found


def prepare_space(folder: Path) -> tuple[CostTable, dict[str, Any], Any]:
    """The space in `folder/space`, its prices, and the graph of the original. Prices are cached."""
    cache = Path(tempfile.gettempdir()) / "graphopt-benchmarks"
    model, _ = load_source(find_model("nafnet-width8-sigma25", folder), (SIZE, SIZE), cache)
    images = [noisy[None] for noisy, _ in crops(IMAGES / "train")]
    passes = [
        AffineNorm(), StaticAttention(), PartialDepthwise(), ResizeUpsample(), SkipFeedForward(), SkipBlock(),
    ]  # fmt: skip
    prepared = prepare(to_graph(model), [BoundedGate()], images)
    space = build_space(prepared.graph, passes, images, [], lambda share, words: None)
    save_space(space, folder / SPACE)
    backend = open_backend(load_target(TARGET), CostCache(cache / "costs"))
    original = backend.price(model)
    base = {TARGET: backend.price(to_model(space.graph))}
    table = build_table(space, base, {TARGET: backend}, [FoldAffine()], lambda share, words: None)
    return table, {TARGET: original.to_dict()}, to_graph(model)


def chosen_network(place: Path) -> GraphModule:
    """With the weights that the search has trained."""
    selection = json.loads((place / SELECTION).read_text())["selection"]
    graph = apply_selection(load_space(place / SPACE), selection)
    return GraphModule(graph).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def test_psnr(network: GraphModule) -> float:
    """dB, mean over the test photographs."""
    scores = []
    for noisy, clean in crops(IMAGES / "test"):
        image = torch.from_numpy(noisy[None]).to(memory_format=torch.channels_last)
        restored = network(image)[0].clamp(0, 1).numpy()
        scores.append(-10 * np.log10(np.square(restored - clean).mean()))
    return float(np.mean(scores))


def measure(methods: list[str], seeds: int, settings: dict[str, Any], finetuning: int, folder: Path) -> dict[str, Any]:
    table, original, graph = prepare_space(folder)
    teacher, rows = teacher_of(graph), []
    for method in methods:
        own = {name: value for name, value in settings.items() if method in readers(name)}
        for seed in range(seeds):
            place = folder / f"{method}-{seed}"
            place.mkdir()
            if (first := folder / f"{methods[0]}-{seed}" / SENSITIVITY).exists():  # the same for every method of a seed
                shutil.copy(first, place)
            given = Given(
                SearchConfig(method=method, seed=seed, **own), load_space(folder / SPACE), table, original,
                {TARGET: 1.0}, teacher,
                lambda s, varied: PatchSampler.of_folders([IMAGES / "train"], SIGMA, s, varied),
                start_fabric("auto", "fp32"),
            )  # fmt: skip
            started = time.perf_counter()
            SearchStage(given, place).run(lambda share, words: None)
            seconds = time.perf_counter() - started
            (found,) = json.loads((place / FRONT).read_text())
            network = chosen_network(place)
            rows.append({
                "method": method, "seed": seed, "latency_ms": found["sum_of_parts_ms"][TARGET],
                "psnr": test_psnr(network), "entropy": found["entropy"], "decided": found["decided"],
                "soft_to_chosen_db": found["psnr_soft"] - found["psnr_rounded"],
                "seconds": seconds,
            })  # fmt: skip
            if finetuning:
                tuning = FinetuneConfig(steps=finetuning, patches=settings["patches"], seed=seed)
                sampler = PatchSampler.of_folders([IMAGES / "train"], SIGMA, seed, varied=True)
                finetune(network, teacher, sampler, tuning, place / "finetune.pt", lambda share, words: None)
                rows[-1]["psnr_tuned"] = test_psnr(network)
    keys = [key for key in rows[0] if key not in ("method", "seed")]
    means = {
        method: {key: statistics.mean(row[key] for row in rows if row["method"] == method) for key in keys}
        for method in methods
    }
    return {
        "goal_ms": settings["latency"] * original[TARGET]["latency_ms"],
        "original_ms": original[TARGET]["latency_ms"],
        "budget_steps": settings["steps"],
        "choices": len(table.deltas),
        "mean": means,
        "runs": rows,
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares the methods of search on the shipped NAFNet of width 8.")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--steps", type=int, default=170, help="the budget of every method, in training steps")
    parser.add_argument("--warm-up", type=int, default=10, help="of these, for the methods that have a warm-up")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.55, help="goal, as a share of the original's")
    parser.add_argument("--patches", type=int, nargs=2, default=(8, 64), metavar=("BATCH", "SIZE"))
    parser.add_argument("--spread", type=float, help="of the selections that `entropy` and `halving` try")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--finetune", type=int, default=0, metavar="N", help="steps that then train each network")
    given = parser.parse_args()
    settings = {
        "latency": given.latency, "steps": given.steps, "warm_up_steps": given.warm_up, "patches": given.patches,
    }  # fmt: skip
    if given.spread is not None:
        settings["spread"] = given.spread
    with tempfile.TemporaryDirectory() as folder:
        found = rounded(measure(given.methods, given.seeds, settings, given.finetune, Path(folder)))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"goal {found['goal_ms']} ms of {found['original_ms']} ms, {found['budget_steps']} training steps each")
    for method, row in found["mean"].items():
        print(f"{method:10}", ", ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
