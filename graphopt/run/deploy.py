"""Deploy: ONNX files in fp32 and fp16, verified with onnxruntime; weights; price; compiled artefacts by target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save

from graphopt.atomic import replacing
from graphopt.backends.base import Backend
from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.exactness import check_sites
from graphopt.ir.passes import Pass
from graphopt.ir.rewriting import rewrite_everywhere
from graphopt.ir.session import OnnxSession
from graphopt.ir.verification import check_cleanups
from graphopt.progress import Progress

Array = NDArray[np.float32]
HOST_TOLERANCE = 1e-4  # an artefact that runs here against onnxruntime, relative
FP16_TOLERANCE = 2e-2  # relative, largest pixel; half precision keeps 11 bits


def deploy(
    model: onnx.ModelProto,
    backends: Sequence[Backend[Any]],
    trials: int,
    image: Array,
    results: Path,
    place: Path,
    say: Progress,
) -> dict[str, Any]:
    """Writes model.onnx, model.fp16.onnx and model.safetensors into `results`, compiled artefacts into its `compiled`.

    `image` (1, C, H, W) is what the files are verified on. Returns costs by target, files, and the differences found.
    """
    say(0.0, "writes and verifies model.onnx and model.fp16.onnx")
    onnx.checker.check_model(model, full_check=True)
    _save(model, results / "model.onnx")
    save_weights(model, results / "model.safetensors", "model.onnx")
    half = to_fp16(model)
    _save(half, results / "model.fp16.onnx")
    expected = OnnxSession(model).run(image)
    scale = float(np.abs(expected).max())
    halved = OnnxSession(half).run(image.astype(np.float32))
    differences = {"model.fp16.onnx": _difference(halved, expected, scale, FP16_TOLERANCE, "model.fp16.onnx")}
    costs, files = {}, ["model.onnx", "model.fp16.onnx", "model.safetensors"]
    folder = results / "compiled"
    folder.mkdir(exist_ok=True)
    for done, backend in enumerate(backends):
        name = backend.target.name
        say((done + 0.2) / (len(backends) + 1), f"{name}: price of the whole network")
        costs[name] = Cost.from_dict(backend.price(model, trials).to_dict()).to_dict()
        say((done + 0.6) / (len(backends) + 1), f"{name}: compiles")
        artefact = backend.build(model, folder)
        made = [str(path.relative_to(results)) for path in artefact.files]
        files += made
        if made and backend.runs_here:
            found = backend.run(artefact, [image])[0]
            differences[made[0]] = _difference(found, expected, scale, HOST_TOLERANCE, made[0])
    return {"costs": costs, "files": files, "differences": differences}


def fold(tuned: onnx.ModelProto, cleanups: Sequence[Pass], images: Sequence[Array]) -> tuple[onnx.ModelProto, Any]:
    """The exact clean-ups; returns the folded model, and what they changed.

    They come after the fine-tuning: an affine that is folded into a convolution scales its weights channel by channel,
    and Adam's steps, which do not scale along, then disturb it.
    """
    graph = to_graph(tuned)
    check_sites(graph, cleanups)
    edits = rewrite_everywhere(graph, cleanups)
    model = to_model(graph)
    difference = check_cleanups(tuned, model, list(images), list(edits))
    counts = {"nodes_before": len(tuned.graph.node), "nodes_after": len(model.graph.node)}
    return model, {"edits": edits, "difference": difference, **counts}


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with fp16 weights and arithmetic; its input and output stay fp32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    half = to_graph(convert_float_to_float16(copied, keep_io_types=True))
    half.toposort()  # the converter appends the casts of the input at the end
    sorted_model = to_model(half)
    onnx.checker.check_model(sorted_model, full_check=True)
    return sorted_model


def save_weights(model: onnx.ModelProto, path: Path, beside: str) -> None:
    """The initialisers of a model under their names, as safetensors that say whose they are."""
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights, {"format": "pt", "weights_of": beside}))  # save_file hides it from others


def _difference(found: Array, expected: Array, scale: float, tolerance: float, label: str) -> float:
    difference = float(np.abs(found.astype(np.float32) - expected).max()) / max(scale, 1e-12)
    if not difference <= tolerance:
        raise GraphoptError(f"{label} differs from model.onnx by {difference:.2e} relative (allowed {tolerance:g})")
    return difference


def _save(model: onnx.ModelProto, path: Path) -> None:
    with replacing(path) as temporary:
        onnx.save(model, temporary)
