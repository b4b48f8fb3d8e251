"""The tools that runtimes publish for phones: what each needs there, how it is called, and what its output says."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.devices import parsers
from graphopt.devices.inputs import input_shapes
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle
    from graphopt.devices.base import Request

TEMPORARY = "/data/local/tmp"


@dataclass(frozen=True)
class Tool:
    """A tool in `folder` on the phone, with the files that it `needs` there (a `*` stands for a version).

    `identity`: the one whose hash says which build it is. `source`: where its project publishes it.
    """

    name: str
    folder: str
    needs: tuple[str, ...]
    identity: str
    source: str


@dataclass(frozen=True)
class Call:
    """What the phone's shell runs in a folder that holds the bundle's files and `extra`, and how to read its output."""

    tool: Tool
    command: str
    read: Callable[[str], parsers.Parsed]
    extra: Mapping[str, bytes] = field(default_factory=dict)
    threads: int | None = None


LITERT = Tool(
    "benchmark_model", TEMPORARY, ("benchmark_model",), "benchmark_model",
    "android_aarch64_benchmark_model of https://ai.google.dev/edge/litert/models/measurement",
)  # fmt: skip
ONNXRUNTIME = Tool(
    "onnxruntime_perf_test", TEMPORARY, ("onnxruntime_perf_test",), "onnxruntime_perf_test",
    "a build of https://onnxruntime.ai/docs/build/android.html makes it, with libonnxruntime.so beside it",
)  # fmt: skip
QNN = Tool(
    "qnn-net-run", f"{TEMPORARY}/qnn",
    (
        "qnn-net-run", "qnn-profile-viewer", "libQnnHtp.so", "libQnnSystem.so", "libQnnHtpV*Stub.so",
        "libQnnHtpV*Skel.so",
    ),
    "libQnnHtp.so",
    "bin/aarch64-android, lib/aarch64-android and lib/hexagon-v*/unsigned of Qualcomm's AI Runtime SDK, "
    "https://www.qualcomm.com/developer/software/qualcomm-ai-engine-direct-sdk",
)  # fmt: skip
MNN = Tool(
    "MNNV2Basic.out", f"{TEMPORARY}/MNN", ("MNNV2Basic.out", "libMNN.so", "libMNN_Express.so"), "libMNN.so",
    "project/android/build_64.sh of https://github.com/alibaba/MNN makes them",
)  # fmt: skip


def tool_call(bundle: Bundle, request: Request) -> Call:
    """How the tool that a bundle needs is called.

    Raises:
        GraphoptError: no tool measures bundles of that format.
    """
    form = bundle.manifest.format
    if form not in CALLS:
        raise GraphoptError(f"no tool measures a bundle of the format {form} on a phone; known: {', '.join(CALLS)}")
    return CALLS[form](bundle, request)


def _litert(bundle: Bundle, request: Request) -> Call:
    delegate = bundle.manifest.delegate
    options = {
        "graph": _first(bundle), "num_threads": request.threads, "num_runs": request.runs, "min_secs": 0,
        "max_secs": int(request.limit_s), "warmup_runs": 3, "warmup_min_secs": 0.5,
    }  # fmt: skip
    if delegate == "gpu":
        options |= {"use_gpu": "true", "gpu_precision_loss_allowed": _true(bundle.manifest.precision == "fp16")}
    line = " ".join(f"--{key}={value}" for key, value in options.items())
    command = f"{LITERT.folder}/{LITERT.name} {line}"
    threads = None if delegate == "gpu" else request.threads
    return Call(LITERT, command, partial(parsers.benchmark_model, delegate=delegate), threads=threads)


def _onnxruntime(bundle: Bundle, request: Request) -> Call:
    provider = bundle.manifest.delegate or "cpu"
    free = "".join(f" -f {name}:{length}" for name, length in _free_dimensions(bundle).items())
    command = (
        f"LD_LIBRARY_PATH={ONNXRUNTIME.folder} {ONNXRUNTIME.folder}/{ONNXRUNTIME.name} -e {provider} -m times "
        f"-r {request.runs} -x {request.threads} -y 1 -I -S 1{free} {_first(bundle)} runs.csv && cat runs.csv"
    )
    return Call(ONNXRUNTIME, command, parsers.perf_test, threads=request.threads)


def _qnn(bundle: Bundle, request: Request) -> Call:
    """The context binary alone: the ONNX file around it is for onnxruntime."""
    context = next((file.name for file in bundle.manifest.files if file.name.endswith(".bin")), None)
    if context is None:
        raise GraphoptError(f"{bundle.folder}: no context binary (.bin) among its files, which qnn-net-run loads")
    given = input_shapes(bundle.manifest)
    line = " ".join(f"{one.name}:={number}.raw" for number, (one, _) in enumerate(given))
    extra = {f"{number}.raw": _noise(shape) for number, (_, shape) in enumerate(given)}
    command = (
        f"export LD_LIBRARY_PATH={QNN.folder}:/vendor/lib64 ADSP_LIBRARY_PATH='{QNN.folder};/vendor/dsp/cdsp'; "
        f"{QNN.folder}/qnn-net-run --backend {QNN.folder}/libQnnHtp.so --retrieve_context {_word(context)} "
        f"--input_list inputs.txt --output_dir out --num_inferences {request.runs} --keep_num_outputs 1 "
        "--profiling_level basic --perf_profile burst "
        f"&& {QNN.folder}/qnn-profile-viewer --input_log out/qnn-profiling-data_0.log"
    )
    read = partial(parsers.profile_viewer, runs=request.runs)
    return Call(QNN, command, read, {**extra, "inputs.txt": f"{line}\n".encode()})


def _mnn(bundle: Bundle, request: Request) -> Call:
    on_gpu = bundle.manifest.delegate == "gpu"
    kind, mode = (3, 4) if on_gpu else (0, request.threads)  # OpenCL, tuned widely; or the CPU, with threads
    precision = 2 if bundle.manifest.precision == "fp16" else 1
    _, shape = input_shapes(bundle.manifest)[0]
    command = (
        f"mkdir -p output; LD_LIBRARY_PATH={MNN.folder}:/vendor/lib64 {MNN.folder}/{MNN.name} {_first(bundle)} "
        f"{request.runs} 0 {kind} {mode} {'x'.join(map(str, shape))} {precision}"
    )
    read = partial(parsers.mnn_basic, runs=request.runs)
    return Call(MNN, command, read, threads=None if on_gpu else request.threads)


CALLS: dict[str, Callable[[Bundle, Request], Call]] = {
    "tflite": _litert, "onnx": _onnxruntime, "qnn-context": _qnn, "mnn": _mnn,
}  # fmt: skip


def _first(bundle: Bundle) -> str:
    return _word(bundle.manifest.files[0].name)


def _word(name: str) -> str:
    return shlex.quote(Path(name).as_posix())


def _true(yes: bool) -> str:
    return "true" if yes else "false"


def _noise(shape: list[int]) -> bytes:
    """Uniform noise in [0, 1) as float32, which qnn-net-run converts to what the network takes."""
    import numpy as np

    return np.random.default_rng(0).random(shape, np.float32).tobytes()


def _free_dimensions(bundle: Bundle) -> dict[str, int]:
    """An ONNX file's free dimensions by name, and what they are when it is measured: the tool would take 1."""
    import onnx

    model = onnx.load(str(bundle.folder / bundle.manifest.files[0].name), load_external_data=False)
    named = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    return {
        dim.dim_param: length
        for one, shape in input_shapes(bundle.manifest)
        for dim, length in zip(named[one.name], shape, strict=True)
        if dim.dim_param
    }
