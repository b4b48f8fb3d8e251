"""Times the pattern engine on the 36-block NAFNet of width 32, side by side with onnxscript's rewriter.

    python benchmarks/passes.py --json

Both engines fuse the same channel norms, (x - mean) / sqrt(var + eps) * w + b -> Transpose, LayerNormalization,
Transpose, and both results are run: they must compute what the network computes, as must the file that all exact
passes leave. Each time is the shortest of many runs, of one thread: other processes only ever add to it. What Python
held before (torch, onnxscript) is left out of its garbage collection for both engines; that of the work itself counts.
`load_passes_save_s` reads a file that `onnx.save` wrote, and writes a new one. `growth` holds the time of matching in
graphs of up to 10,000 nodes; `ratio` compares the time for each node in the largest and in the smallest of them. The
export, which takes half a minute, is kept in the system's temporary folder.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from graphopt.passes.fold_affine import FoldAffine
from graphopt.passes.transposed_upsample import TransposedUpsample
from onnx import helper, numpy_helper
from onnxscript.rewriter import MatchResult, RewriteRule

from graphopt import Build, Contract, GraphoptError, GraphView, Pass, Site, Term, op, optional, pattern, per_channel
from graphopt.idioms import channel_layer_norm, conv_of, gate_of, layer_norm_of, pooled
from graphopt.ir.canonical import input_shape, to_graph, to_model
from graphopt.ir.difference import relative_difference
from graphopt.ir.files import load_graph, save_graph
from graphopt.ir.patterns import Pattern
from graphopt.ir.rewriting import rewrite_everywhere, rewrite_once
from graphopt.ir.session import OnnxSession
from networks import nafnet36

RUNS = 25
SECONDS = 0.1  # that a run stands for, at least
SIZES = (1000, 2500, 5000, 10000)
RESOLUTION = (256, 256)
BLOCKS = 36
TOLERANCE = 1e-4  # relative, over the whole network


@pattern
def block(x: Term) -> Term:
    """y = x + beta conv3(SCA(SG(conv2(conv1(LN x))))), y + gamma conv5(SG(conv4(LN y)))."""
    gated = gate_of(conv_of(conv_of(layer_norm_of(x), "1"), "2"))
    attended = op.Mul(gated, conv_of(pooled(gated), "a"))
    y = op.Add(x, optional(lambda t: op.Mul(t, per_channel("beta")), conv_of(attended, "3")))
    fed = conv_of(gate_of(conv_of(layer_norm_of(y), "4")), "5")
    return op.Add(y, optional(lambda t: op.Mul(t, per_channel("gamma")), fed))


@dataclass(frozen=True)
class FuseNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  transpose, LayerNormalization over channels, transpose."""

    name: ClassVar[str] = "fuse-norm"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        rows = build.op("Transpose", [build.input("x")], perm=[0, 2, 3, 1])
        weight, bias = (build.parameter(name, build.values(name).reshape(-1)) for name in ("weight", "bias"))
        epsilon = float(build.values("eps").item())
        normal = build.op("LayerNormalization", [rows, weight, bias], axis=-1, epsilon=epsilon)
        return build.op("Transpose", [normal], perm=[0, 3, 1, 2])


def onnxscript_rule() -> RewriteRule:
    """The same rewrite for onnxscript. It swaps no operands: the network has them in the one order that is written."""

    def target(op: Any, x: Any, axes: Any, axes2: Any, eps: Any, weight: Any, bias: Any) -> Any:
        centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
        variance = op.ReduceMean(op.Pow(centred, 2.0), axes2, keepdims=1)
        return op.Add(op.Mul(op.Div(centred, op.Sqrt(op.Add(variance, eps))), weight), bias)

    def check(context: Any, axes: Any, axes2: Any, eps: Any, weight: Any, bias: Any, **_: Any) -> MatchResult:
        result = MatchResult()
        values = [_values(value) for value in (axes, axes2, eps, weight, bias)]
        if any(value is None for value in values):
            return result.fail("expected constants")
        first, second, epsilon, scale, shift = values
        if not (first.tolist() == second.tolist() == [1] and epsilon.size == 1):
            return result.fail("expected a mean over channels")
        if not all(value.ndim >= 3 and value.shape[-2:] == (1, 1) for value in (scale, shift)):
            return result.fail("expected one value for each channel")
        return result

    def replacement(op: Any, x: Any, eps: Any, weight: Any, bias: Any, **_: Any) -> Any:
        rows = op.Transpose(x, perm=[0, 2, 3, 1])
        scale, shift = (op.Constant(value=ir.tensor(_values(value).reshape(-1))) for value in (weight, bias))
        normal = op.LayerNormalization(rows, scale, shift, axis=-1, epsilon=float(_values(eps).item()))
        return op.Transpose(normal, perm=[0, 3, 1, 2])

    return RewriteRule(target, replacement, check)


def _values(value: Any) -> Any:
    return None if value.const_value is None else value.const_value.numpy()


def shortest_ms(work: Callable[[Any], Any], prepare: Callable[[], Any], runs: int) -> float:
    """Milliseconds of `work(prepare())`, without the preparation: the shortest of `runs`, more where it is brief."""
    times: list[float] = []
    deadline = time.perf_counter() + runs * SECONDS  # a burst of other processes may last longer than brief runs
    while len(times) < runs or time.perf_counter() < deadline:
        prepared = prepare()
        gc.collect()
        started = time.perf_counter()
        work(prepared)
        times.append(time.perf_counter() - started)
    return min(times) * 1e3


def found(graph: Any, rule: Pattern) -> int:
    """Indexes the graph, matches, and counts the sites."""
    return len(GraphView(graph).find(rule))


def exact_passes(source: Path, target: Path) -> dict[str, int]:
    """load -> all exact passes -> save; counts the rewrites."""
    graph = load_graph(source)
    upsample = TransposedUpsample()
    edits = {upsample.name: rewrite_once(graph, upsample), **rewrite_everywhere(graph, [FoldAffine()])}
    save_graph(graph, target)
    return edits


def chain(nodes: int) -> onnx.ModelProto:
    """Norms with 1x1 convolutions and skips between them, 11 nodes each, until there are `nodes`."""
    constants = {"axes": np.array([1]), "two": np.float32(2), "eps": np.float32(1e-6)}
    constants |= {name: np.ones((1, 4, 1, 1), np.float32) for name in ("scale", "shift")}
    constants["weight"] = np.ones((4, 4, 1, 1), np.float32)
    made = []
    while len(made) + 11 <= nodes:
        x, y = f"t{len(made)}", f"t{len(made) + 11}"
        for kind, inputs, output in (
            ("ReduceMean", (x, "axes"), "mean"), ("Sub", (x, f"{y}.mean"), "c"), ("Pow", (f"{y}.c", "two"), "sq"),
            ("ReduceMean", (f"{y}.sq", "axes"), "var"), ("Add", (f"{y}.var", "eps"), "ve"),
            ("Sqrt", (f"{y}.ve",), "sd"), ("Div", (f"{y}.c", f"{y}.sd"), "n"), ("Mul", (f"{y}.n", "scale"), "s"),
            ("Add", (f"{y}.s", "shift"), "b"), ("Conv", (f"{y}.b", "weight"), "v"), ("Add", (x, f"{y}.v"), ""),
        ):  # fmt: skip
            name = f"blocks.{len(made) // 11}/{kind.lower()}_{len(made) % 11}"
            made.append(helper.make_node(kind, inputs, [f"{y}.{output}" if output else y], name))
    first, last = (helper.make_tensor_value_info(name, 1, [1, 4, 8, 8]) for name in ("t0", f"t{len(made)}"))
    initialisers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(made, "chain", [first], [last], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return onnx.shape_inference.infer_shapes(model)


def growth(sizes: Iterable[int], runs: int) -> dict[str, Any]:
    rows = []
    for size in sizes:
        model = chain(size)
        graph, nodes = to_graph(model), len(model.graph.node)
        if found(graph, channel_layer_norm) != nodes // 11:
            raise GraphoptError(f"expected {nodes // 11} norms in a chain of {nodes} nodes")
        milliseconds = shortest_ms(lambda g: found(g, channel_layer_norm), lambda g=graph: g, runs)  # type: ignore[misc]
        rows.append({"nodes": nodes, "match_ms": round(milliseconds, 3)})
    per_node = [row["match_ms"] / row["nodes"] for row in rows]
    return {"sizes": rows, "ratio": round(per_node[-1] / per_node[0], 3)}


def measure(model: onnx.ModelProto, blocks: int, runs: int = RUNS, sizes: Iterable[int] = SIZES) -> dict[str, Any]:
    """All figures for a canonical NAFNet of `blocks` blocks. GraphoptError where the engines do not do the same."""
    graph, rule, theirs = to_graph(model), FuseNorm(), onnxscript_rule()
    norms, whole = found(graph, channel_layer_norm), found(graph, block)

    ours = to_graph(model)
    rewritten = {"graphopt": rewrite_once(ours, rule)}
    other = ir.from_proto(model)
    rewritten["onnxscript"] = theirs.apply_to_model(other)
    if (norms, whole) != (2 * blocks, blocks) or set(rewritten.values()) != {norms}:
        raise GraphoptError(
            f"expected {2 * blocks} norms and {blocks} blocks, found {norms} and {whole}; rewritten: {rewritten}"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        onnx.save(model, source)
        edits = exact_passes(source, target)
        cleaned = onnx.load(target)
        seconds = (
            shortest_ms(lambda _: exact_passes(source, target), lambda: target.unlink(missing_ok=True), runs) / 1e3
        )
    image = np.random.default_rng(0).standard_normal(input_shape(model), dtype=np.float32)
    expected = OnnxSession(model, threads=1).run(image)
    results = {"graphopt": to_model(ours), "onnxscript": ir.to_proto(other), "all exact passes": cleaned}
    for engine, result in results.items():
        difference = relative_difference(OnnxSession(result, threads=1).run(image), expected)
        if not difference <= TOLERANCE:
            raise GraphoptError(f"{engine}: the rewritten network differs by {difference:.2e} (allowed {TOLERANCE:g})")
    return {
        "nodes": len(model.graph.node),
        "layernorms": norms,
        "blocks": whole,
        "exact_rewrites": edits,
        "match_layernorm_ms": shortest_ms(lambda g: found(g, channel_layer_norm), lambda: graph, runs),
        "match_block_ms": shortest_ms(lambda g: found(g, block), lambda: graph, runs),
        "rewrite_layernorm_ms": shortest_ms(lambda g: rewrite_once(g, rule), lambda: to_graph(model), runs),
        "onnxscript_rewrite_layernorm_ms": shortest_ms(theirs.apply_to_model, lambda: ir.from_proto(model), runs),
        "load_passes_save_s": seconds,
        "growth": growth(sizes, runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the pattern engine on the 36-block NAFNet of width 32.")
    parser.add_argument("--json", action="store_true", help="print JSON, not lines of text")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of which the shortest counts")
    arguments = parser.parse_args()
    model = nafnet36(Path(tempfile.gettempdir()) / "graphopt-benchmarks", RESOLUTION)
    gc.freeze()
    figures = measure(model, BLOCKS, arguments.runs)
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps(rounded, indent=2) if arguments.json else "\n".join(f"{k}: {v}" for k, v in rounded.items()))


if __name__ == "__main__":
    main()
