"""Converts networks for LiteRT, each once: the .tflite stays in the cache folder, under all that decides it."""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
from pathlib import Path

import onnx

from graphopt.atomic import replacing
from graphopt.backends.children import last_words, run_child
from graphopt.backends.litert.target import LiteRtTarget
from graphopt.backends.litert.versions import CONVERTER, RUNTIME, version
from graphopt.cost.keys import hash_of
from graphopt.errors import GraphoptError
from graphopt.ir.quantised import is_quantised
from graphopt.ir.registry import pass_class
from graphopt.progress import Progress

# Of the .tflite against onnxruntime, relative; fp16 of weights alone. Of integers in the mean: five steps of 255
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "integers": 2e-2}
_TIME_LIMIT_S = 1800


def conversion_key(target: LiteRtTarget) -> str:
    """What decides a .tflite beside the network: versions, the precision of its weights, and the passes' own code.

    Raises:
        GraphoptError: the converter or the runtime is not installed.
    """
    files = [Path(inspect.getfile(pass_class(name))) for name in target.prepare]
    files += sorted(Path(__file__).parent.glob("*.py"))
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    versions = [version(package, target.name) for package in (CONVERTER, RUNTIME)]
    return hash_of([versions, target.dtype, target.prepare, code])


def convert(model: onnx.ModelProto, target: LiteRtTarget, cache: Path, say: Progress) -> Path:
    """The .tflite of a network, run by XNNPACK and compared with onnxruntime.

    Raises:
        GraphoptError: the converter or the runtime is not installed; the converter fails; the file computes something
            else than the network.
    """
    content = model.SerializeToString(deterministic=True)
    key = hash_of([hashlib.sha256(content).hexdigest(), conversion_key(target)])
    path = cache / "litert" / f"{key}.tflite"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        say(0.1, f"{target.name}: converts, which takes half a minute")
        with replacing(path) as temporary:
            _run_child(content, target, "integers" if is_quantised(model) else target.dtype, temporary)
    return path


def _run_child(content: bytes, target: LiteRtTarget, numbers: str, output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="graphopt-litert-") as folder:
        place = Path(folder)
        (place / "model.onnx").write_bytes(content)
        request = {
            "model": str(place / "model.onnx"),
            "output": str(output.absolute()),
            "result": str(place / "result.json"),
            "prepare": list(target.prepare),
            "half": numbers == "float16",
        }
        (place / "request.json").write_text(json.dumps(request))
        log, doing = place / "log", f"target {target.name}: converting"
        status = run_child(
            "graphopt.backends.litert.child", [str(place / "request.json")], place, log, _TIME_LIMIT_S, doing,
            lambda: "deploy at a smaller resolution",
        )  # fmt: skip
        if status:
            raise GraphoptError(f"{doing} failed: {last_words(log)}")
        result = json.loads((place / "result.json").read_text())
    if "error" in result:
        raise GraphoptError(f"target {target.name}: {result['error']}")
    if not result["difference"] <= TOLERANCE[numbers]:
        raise GraphoptError(
            f"target {target.name}: the .tflite differs by {result['difference']:.2e} relative from the network "
            f"(allowed {TOLERANCE[numbers]:g}); leave out the passes of 'prepare' in its file, one after the other"
        )
