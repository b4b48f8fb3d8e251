"""What a soft supernet costs to train, and what the graph executor costs, against the network itself.

    python benchmarks/supernet.py --json

`supernet_time_ratio` and `supernet_memory_ratio`: one step of the weights (forward, backward, AdamW) of the soft
supernet over norm, attention and depthwise sites, over one of the network itself, both run from the same graph.
`executor_forward_ratio` and `executor_step_ratio`: the graph run by graphopt over the hand-written torch NAFNet.
Times are medians of runs that take turns, memory is the largest sum of what torch holds during a step (counted by its
profiler) less what it held before: activations and gradients; optimiser states are there already.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graphopt.passes.affine_norm import AffineNorm
from graphopt.passes.partial_depthwise import PartialDepthwise
from graphopt.passes.static_attention import StaticAttention
from torch import nn
from torch.profiler import ProfilerActivity, profile

from graphopt.ir.canonical import to_graph
from graphopt.ir.space_building import build_space
from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.source import load_source
from graphopt.nn.module import GraphModule
from graphopt.nn.supernet import Supernet

Step = Callable[[], Any]


def training_step(network: nn.Module, image: torch.Tensor, clean: torch.Tensor, weights: list[nn.Parameter]) -> Step:
    """Forward, backward and AdamW. The supernet's probabilities are fixed, as in an update of the weights."""
    trained = [p for p in weights if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 1e-4, fused=True)
    fixed: Mapping[str, Any] = {}
    if isinstance(network, Supernet):
        fixed = {"probabilities": {name: p.detach() for name, p in network.probabilities().items()}}

    def step() -> None:
        loss = (network(image, **fixed) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def seconds(steps: Mapping[str, Step], runs: int) -> dict[str, list[float]]:
    """Times of steps that take turns, so that a busy moment of the machine does not fall on one of them alone."""
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            found[name].append(time.perf_counter() - started)
    return found


def ratio(times: Mapping[str, list[float]], over: str, under: str) -> float:
    """The median of the ratios of neighbouring runs."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def held_bytes(step: Step) -> int:
    """The most that is held at once of what a step allocates; what it frees of earlier steps does not count."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measure(width: int, patches: tuple[int, int], runs: int, cache: Path) -> dict[str, float]:
    """All ratios, for a NAFNet of 36 blocks on `patches` (batch, size)."""
    count, size = patches
    torch.manual_seed(0)
    written = NAFNet(NAFNetConfig(width=width))
    with torch.no_grad():
        for name, parameter in written.named_parameters():
            if name.endswith((".beta", ".gamma")):
                parameter.normal_(0.0, 0.1)
    cache.mkdir(parents=True, exist_ok=True)
    save_checkpoint(written, cache / f"nafnet36-{width}.safetensors")
    model, _ = load_source(cache / f"nafnet36-{width}.safetensors", (size, size), cache)
    random = np.random.default_rng(0)
    images = [random.random((1, 3, size, size), dtype=np.float32)]
    passes = [AffineNorm(), StaticAttention(), PartialDepthwise()]
    space = build_space(to_graph(model), passes, images, [], lambda share, words: None)

    layout: Any = {"memory_format": torch.channels_last}
    graph, supernet, written = (
        GraphModule(to_graph(model)).to(**layout),
        Supernet(space).to(**layout),
        written.to(**layout),
    )
    image = torch.from_numpy(random.random((count, 3, size, size), dtype=np.float32)).to(**layout)
    clean = torch.rand_like(image)
    steps = {
        "graph": training_step(graph, image, clean, list(graph.parameters())),
        "supernet": training_step(supernet, image, clean, supernet.weight_parameters()),
        "written": training_step(written, image, clean, list(written.parameters())),
    }
    forwards = {"graph": lambda: graph(image), "written": lambda: written(image)}
    memory = {name: held_bytes(steps[name]) for name in ("graph", "supernet")}
    times = seconds(steps, runs)
    with torch.no_grad():
        forward = seconds(forwards, runs)
    return {
        "supernet_time_ratio": ratio(times, "supernet", "graph"),
        "supernet_memory_ratio": memory["supernet"] / memory["graph"],
        "executor_forward_ratio": ratio(forward, "graph", "written"),
        "executor_step_ratio": ratio(times, "graph", "written"),
        "graph_step_s": statistics.median(times["graph"]),
        "graph_memory_mb": memory["graph"] / 1e6,
        "choices": len(space.choices),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the supernet and the executor on a NAFNet of 36 blocks.")
    parser.add_argument("--json", action="store_true", help="print JSON, not lines of text")
    parser.add_argument("--steps", type=int, default=9, help="runs of which the median counts")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--patches", type=int, nargs=2, default=(4, 128), metavar=("BATCH", "SIZE"))
    given = parser.parse_args()
    cache = Path(tempfile.gettempdir()) / "graphopt-benchmarks"
    found = {
        key: round(value, 3) for key, value in measure(given.width, tuple(given.patches), given.steps, cache).items()
    }
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{key}: {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
