"""How many times as fast each op of a denoiser is in 8 bits as in float, on this machine's CPU, measured turn by turn.

    python benchmarks/costs/integer_ops.py             # a table
    python benchmarks/costs/integer_ops.py --json

An op stands in a short chain that brings its result back to the shape of its input, six times over, so that the
conversions at both ends count little. Where an exact pass respells the op for integers, the chain with that pass in
8 bits is compared with the chain in float, too: `with_pass`. onnxruntime, one thread.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TIMES = 6


class Chain:
    """A float graph that grows by one op after the other; `channels` and `size` are those of the last tensor."""

    def __init__(self, channels: int, size: int):
        self.channels, self.size, self.name = channels, size, "image"
        self.image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, channels, size, size))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def weight(self, values: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), f"weight{len(self.weights)}"))
        return self.weights[-1].name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        self.name = f"tensor{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.name], f"{op}{len(self.nodes)}", **attributes))
        return self.name

    def conv(self, channels: int, kernel: int, stride: int = 1, grouped: bool = False, start: str = "") -> str:
        taken = 1 if grouped else self.channels
        spread = (taken * kernel * kernel) ** -0.5
        kernels = self.weight(self.random.normal(0, spread, (channels, taken, kernel, kernel)).astype(np.float32))
        pads = [(kernel - 1) // 2] * 4
        bias = self.weight(np.zeros(channels, np.float32))
        group = self.channels if grouped else 1
        self.channels, self.size = channels, self.size // stride
        around: dict[str, Any] = {"kernel_shape": [kernel, kernel], "pads": pads, "strides": [stride, stride]}
        return self.add("Conv", start or self.name, kernels, bias, group=group, **around)

    def convs(self, *channels: int, kernel: int, grouped: bool = False) -> None:
        for count in channels:
            self.conv(count, kernel, grouped=grouped)

    def attention(self) -> None:
        whole = self.name
        mean = self.add("ReduceMean", whole, self.weight(np.array([2, 3])), keepdims=1)
        self.add("Mul", whole, self.conv(self.channels, 1, start=mean))

    def shuffle(self) -> None:
        channels = self.channels
        self.conv(4 * channels, 1)
        self.add("DepthToSpace", self.name, blocksize=2, mode="CRD")
        self.channels, self.size = channels, 2 * self.size
        self.conv(channels, 2, stride=2)

    def resize(self, mode: str) -> None:
        scales = self.weight(np.array([1, 1, 2, 2], np.float32))
        pixels = "asymmetric" if mode == "nearest" else "half_pixel"
        self.add(
            "Resize", self.name, "", scales, mode=mode, nearest_mode="floor", coordinate_transformation_mode=pixels
        )
        self.size *= 2
        self.conv(self.channels, 2, stride=2)

    def norm(self) -> None:
        axis, start = self.weight(np.array([1])), self.name
        around = self.add("Sub", start, self.add("ReduceMean", start, axis, keepdims=1))
        squares = self.add("Mul", around, around)
        spread = self.add("Add", self.add("ReduceMean", squares, axis, keepdims=1), self.weight(np.float32(1e-6)))
        flat = self.add("Div", around, self.add("Sqrt", spread))
        gain = self.weight(np.linspace(0.5, 1.5, self.channels, dtype=np.float32).reshape(1, -1, 1, 1))
        shift = self.weight(np.full((1, self.channels, 1, 1), 0.1, np.float32))
        self.add("Add", self.add("Mul", flat, gain), shift)
        self.conv(self.channels, 1)

    def model(self) -> onnx.ModelProto:
        result = helper.make_tensor_value_info(self.name, TensorProto.FLOAT, (1, self.channels, self.size, self.size))
        graph = helper.make_graph(self.nodes, "chain", [self.image], [result], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


# what it is, channels and size, what is added each time, the exact pass for it
OPS: tuple[tuple[str, int, int, Callable[[Chain], Any], str], ...] = (
    ("3x3, 32 -> 32", 32, 128, lambda chain: chain.convs(32, kernel=3), ""),
    ("1x1, 128 -> 256 -> 128", 128, 32, lambda chain: chain.convs(256, 128, kernel=1), ""),
    ("1x1, 16 -> 32 -> 16", 16, 256, lambda chain: chain.convs(32, 16, kernel=1), ""),
    ("depthwise 3x3, 64 channels", 64, 128, lambda chain: chain.convs(64, kernel=3, grouped=True), ""),
    ("depthwise 3x3, 8 channels", 8, 128, lambda chain: chain.convs(8, kernel=3, grouped=True), ""),
    ("3x3, 3 -> 16 -> 3", 3, 256, lambda chain: chain.convs(16, 3, kernel=3), "padded-channels"),
    ("3x3, 3 -> 16 -> 3", 3, 256, lambda chain: chain.convs(16, 3, kernel=3), "blocked-convolution"),
    ("channel attention, 16 channels", 16, 256, Chain.attention, "pooled-mean"),
    ("channel attention, 16 channels", 16, 256, Chain.attention, "scale-rows"),
    ("1x1 to 64, PixelShuffle, 2x2 with stride 2", 16, 128, Chain.shuffle, "channels-last-upsample"),
    ("nearest to twice the size, 2x2 with stride 2", 32, 128, lambda chain: chain.resize("nearest"), ""),
    ("bilinear to twice the size, 2x2 with stride 2", 32, 128, lambda chain: chain.resize("linear"), ""),
    ("channel LayerNorm, 1x1", 32, 128, Chain.norm, "fused-layer-norm"),
)


def chain(channels: int, size: int, step: Callable[[Chain], Any]) -> onnx.ModelProto:
    """The op, `TIMES` over."""
    made = Chain(channels, size)
    for _ in range(TIMES):
        step(made)
    return made.model()


def measure(ops: tuple[Any, ...], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each: how many times as fast 8 bits are, alone and with the pass, each with its interval."""
    from graphopt.backends.precision import InPrecision
    from graphopt.backends.registry import open_backend
    from graphopt.backends.targets import in_precision, load_target
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.ir.canonical import canonical, to_graph, to_model
    from graphopt.ir.registry import load_pass
    from graphopt.ir.rewriting import rewrite_once

    target, cache = load_target("host-onnxruntime"), CostCache(cache_folder() / "costs")
    backend = open_backend(target, cache)
    form = InPrecision(open_backend(in_precision(target, "w8a8", "benchmark"), cache)).form
    known = {}
    rows: list[dict[str, Any]] = []
    for name, channels, size, step, rule in ops:
        say(f"{name} {rule}")
        model = canonical(chain(channels, size, step), None, name)
        if name not in known:
            known[name] = backend.compare(model, form(model)).to_dict()
        row = {"op": name, "size": size, "pass": rule, "w8a8": known[name], "sites": 0, "with_pass": None}
        if rule:
            graph = to_graph(model)
            row["sites"] = rewrite_once(graph, load_pass(rule, {}, Path()))
            row["with_pass"] = backend.compare(model, form(to_model(graph))).to_dict() if row["sites"] else None
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    from graphopt.cost.ratio import Ratio

    lines = ["| op | 8 bits against fp32 | with this pass | |", "|---|---|---|---|"]
    for row in rows:
        alone, respelt = (str(Ratio.from_dict(row[key])) if row[key] else "" for key in ("w8a8", "with_pass"))
        lines.append(f"| {row['op']}, {row['size']}x{row['size']} | {alone} | {respelt} | `{row['pass']}` |")
    return "\n".join(lines).replace("|  | `` |", "| | |")


if __name__ == "__main__":
    found = measure(OPS, partial(print, file=sys.stderr))
    print(json.dumps(found, indent=1) if "--json" in sys.argv[1:] else markdown(found))
