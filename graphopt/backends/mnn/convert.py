"""An ONNX model -> a `.mnn` file, and what that file computes: in a child process, and beside onnxruntime."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.atomic import replacing
from graphopt.backends.children import ended_child
from graphopt.backends.mnn.blame import first_wrong
from graphopt.backends.mnn.spelling import respelled
from graphopt.cost.counts import static_shapes
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.difference import relative_difference

Array = NDArray[Any]
INSTALL = "pip install 'graphopt[mnn]'"
# What the file may differ by from the graph, relative to the largest value: MNN sums in another order and approximates
# erf and exp; half precision keeps 11 bits.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
_TIME_LIMIT_S = 900
_MODEL, _FILE, _IMAGES, _RESULTS = "model.onnx", "model.mnn", "images.npz", "results.npz"
_REASON = re.compile(r"not support|only support|failed|error|unknown", re.IGNORECASE)
_STAMP = re.compile(r"^\[[\d:]+\] (\S*:\d+: )?")


def mnn_version(target: Target) -> str:
    """The version that is installed.

    Raises:
        GraphoptError: there is none.
    """
    try:
        return metadata.version("MNN")
    except metadata.PackageNotFoundError as error:
        raise GraphoptError(f"target {target.name} needs MNN, which is not installed: {INSTALL}") from error


def convert(model: onnx.ModelProto, dtype: str, file: Path) -> str:
    """Writes `file`, whose results are those of the model. Where MNN does not carry the model, writes nothing, and says
    in words what is wrong, and from which node on.

    Raises:
        GraphoptError: the converter was killed, or took too long.
    """
    if not model.graph.node:
        return "there is nothing to convert: the network has no nodes"
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            return f"{value.name} is no float32 image, and here MNN takes and gives those alone"
    model = respelled(model)
    with tempfile.TemporaryDirectory(prefix="graphopt-mnn-") as folder:
        problem = _problem(model, dtype, Path(folder))
        if not problem:
            with replacing(file) as temporary:
                shutil.copyfile(Path(folder) / _FILE, temporary)
            return ""
    node = first_wrong(model, lambda part: bool(_problem_of_part(part, dtype)))
    return f"MNN {metadata.version('MNN')} {problem}, from {node.op_type} ({node.name or node.output[0]}) on"


def _problem_of_part(part: onnx.ModelProto, dtype: str) -> str:
    with tempfile.TemporaryDirectory(prefix="graphopt-mnn-") as folder:
        return _problem(part, dtype, Path(folder))


def _problem(model: onnx.ModelProto, dtype: str, folder: Path) -> str:
    """What is wrong with the file that MNN makes of the model, in `folder`; empty where nothing is."""
    shapes, generator = static_shapes(model), np.random.default_rng(0)
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    images = [generator.random(shapes[name], dtype=np.float32) for name in names]
    onnx.save(model, folder / _MODEL)
    np.savez(folder / _IMAGES, *images)
    problem = _run_child(folder, dtype, names, [value.name for value in model.graph.output])
    if problem:
        return problem
    from graphopt.ir.session import OnnxSession

    session = OnnxSession(model, threads=1)
    wanted = session.run_named(dict(zip(names, images, strict=True)), session.outputs)
    with np.load(folder / _RESULTS) as found:
        return next(filter(None, (_differs(found[f"arr_{i}"], array, dtype) for i, array in enumerate(wanted))), "")


def _differs(found: Array, wanted: Array, dtype: str) -> str:
    if found.shape != wanted.shape:
        return f"gives {'x'.join(map(str, found.shape))} where {'x'.join(map(str, wanted.shape))} is right"
    off = relative_difference(found, wanted)
    if not np.isfinite(off):
        return "computes values that are not finite"
    return "" if off <= TOLERANCES[dtype] else f"computes something else (by {off:.2g} of the largest value)"


def _run_child(folder: Path, dtype: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """What the converter or the runtime says of the model in `folder`; empty where there are results."""
    log = folder / "log"
    status = ended_child(
        "graphopt.backends.mnn.child",
        [_MODEL, _FILE, _IMAGES, _RESULTS, dtype, json.dumps(inputs), json.dumps(outputs)],
        folder, log, _TIME_LIMIT_S, "MNN over a network", lambda: "convert it for a smaller image",
    )  # fmt: skip
    if status == 0:
        return ""
    if status == -signal.SIGKILL:
        raise GraphoptError("MNN was killed over a network, as the system does where memory runs out; free some")
    if status < 0:
        return f"crashes with {signal.Signals(-status).name}"
    lines = [_STAMP.sub("", line).strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if _REASON.search(line) and not line.startswith("Converted Failed")]
    return f"refuses it ({'; '.join(dict.fromkeys(said))[:300] or 'for no reason that it says'})"
