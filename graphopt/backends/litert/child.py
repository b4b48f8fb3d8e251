"""Converts one ONNX file to a .tflite, in a process of its own, and runs what it has written.

    python -m graphopt.backends.litert.child REQUEST.json

The converter brings JAX, logs to the process's own outputs, and keeps hundreds of megabytes. What is told to the parent
goes to the file `result` of the request.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(path: Path) -> None:
    """Writes the .tflite, then by how much it differs from the ONNX file run by onnxruntime (relative)."""
    request = json.loads(path.read_text())
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    import onnx

    from graphopt.errors import GraphoptError

    model = onnx.load(request["model"])
    result: dict[str, Any] = {}
    try:
        content = convert(model, request["prepare"], half=request["half"])
        Path(request["output"]).write_bytes(content)
        result["difference"] = difference(model, Path(request["output"]))
    except GraphoptError as error:
        result["error"] = str(error)
    Path(request["result"]).write_text(json.dumps(result))


def convert(model: Any, prepare: list[str], *, half: bool) -> bytes:
    """The .tflite of a canonical model, rewritten by the exact passes `prepare`. `half`: its weights in fp16.

    Raises:
        GraphoptError: an op that torch cannot run, integers that LiteRT does not compute with.
    """
    import litert_torch
    import torch

    from graphopt.backends.litert.flatbuffer import read, rename, with_float_ends, without_needless_transposes, write
    from graphopt.backends.litert.network import ConvertedNetwork, node_number
    from graphopt.ir.canonical import to_graph
    from graphopt.ir.quantised import is_quantised
    from graphopt.ir.registry import load_pass
    from graphopt.ir.rewriting import rewrite_everywhere
    from graphopt.nn.module import graph_inputs

    graph = to_graph(model)
    rewrite_everywhere(graph, [load_pass(name, {}, Path()) for name in prepare])
    images = tuple(torch.zeros([int(size) for size in tensor.shape]) for tensor in graph_inputs(graph))
    images = tuple(x.permute(0, 2, 3, 1).contiguous() if x.dim() == 4 else x for x in images)
    options = {"quant_config": _integers()} if is_quantised(model) else {}
    content = litert_torch.convert(ConvertedNetwork(graph).eval(), images, **options).model_content()

    def name_of(tensor: str) -> str | None:
        number = node_number(tensor)
        return None if number is None else str(graph.nodes[number].name)

    made = read(in_half(content) if half else content)
    without_needless_transposes(made)
    with_float_ends(made)
    rename(made, name_of, [t.name for t in graph_inputs(graph)], [t.name for t in graph.outputs])
    return write(made)


def _integers() -> Any:
    """Of the converter: what is quantised on both sides becomes an operator on integers."""
    from litert_torch.quantize import pt2e_quantizer, quant_config

    static = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    return quant_config.QuantConfig(pt2e_quantizer.PT2EQuantizer().set_global(static))


def in_half(content: bytes) -> bytes:
    """The same network with the weights of its convolutions in fp16, which the runtime widens where it must."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe_manager

    recipe = recipe_manager.RecipeManager()
    casting = algorithm_manager.AlgorithmName.FLOAT_CASTING
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, 16, algorithm_key=casting)
    made = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe())
    return bytes(made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def difference(model: Any, path: Path) -> float:
    """By how much the .tflite under XNNPACK differs from the model under onnxruntime, on random images: the largest
    difference, relative to the largest value. Of integers, which two runtimes round to either side, the root of the
    mean square: one step aside here and there is no fault, and all of them aside is one.
    """
    from graphopt.backends.litert.runtime import open_interpreter
    from graphopt.cost.counts import static_shapes
    from graphopt.ir.difference import relative_difference
    from graphopt.ir.quantised import is_quantised
    from graphopt.ir.session import OnnxSession

    session, shapes = OnnxSession(model, threads=1), static_shapes(model)
    generator = np.random.default_rng(0)
    images = [generator.random(shapes[name], np.float32) for name in session.inputs]
    expected = session.run_named(dict(zip(session.inputs, images, strict=True)), session.outputs)
    found = open_interpreter(path, 1, session.inputs, session.outputs)(images)
    apart = mean_difference if is_quantised(model) else relative_difference
    return max(apart(f, e) for f, e in zip(found, expected, strict=True))


def mean_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The root of the mean square of a difference, relative to the largest value."""
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.sqrt(np.mean(np.square(found - expected, dtype=np.float64)))) / largest


if __name__ == "__main__":
    main(Path(sys.argv[1]))
