"""A network that TVM compiled, on a phone: `tvm_rpc` serves there for as long as it takes, over the cable."""

from __future__ import annotations

import secrets
from statistics import median
from typing import TYPE_CHECKING

from graphopt.backends.measuring import median_interval
from graphopt.cost.measured import Reading
from graphopt.devices.adb_client import Adb, Facts
from graphopt.devices.inputs import input_shapes
from graphopt.devices.phone_tools import TEMPORARY, Tool
from graphopt.errors import GraphoptError
from graphopt.progress import Progress
from graphopt.tuning.whole import NoServerError, time_whole

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle
    from graphopt.devices.base import Request

START_S = 20.0  # until tvm_rpc answers
FORMATS = ("opencl", "tvm")  # the phone's GPU runs the one, its CPU the other
TVM_RPC = Tool(
    "tvm_rpc", f"{TEMPORARY}/tvm", ("tvm_rpc", "libtvm_runtime*.so"), "tvm_rpc",
    "docs/phones.md builds it of https://github.com/apache/tvm, the version that is installed here",
)  # fmt: skip


def measure(adb: Adb, facts: Facts, folder: str, bundle: Bundle, request: Request, say: Progress) -> Reading:
    """Single runs by the device's own clock, with the data there already. Memory is not told.

    Raises:
        GraphoptError: no library for the phone in the bundle, `tvm_rpc` does not start, or the phone is gone.
    """
    library = next((bundle.folder / file.name for file in bundle.manifest.files if file.name.endswith(".so")), None)
    if library is None:
        raise GraphoptError(
            f"{bundle.folder}: its library is not linked; set TVM_NDK_CC to the NDK's clang++ (docs/phones.md), and "
            "run the pipeline again"
        )
    port = 9400 + secrets.randbelow(500)
    serve = (  # a shell heeds a signal while it waits, not while a command runs in its foreground
        f"cd {folder} || exit; trap 'kill $served; rm -rf {folder}' EXIT HUP TERM; "
        f"LD_LIBRARY_PATH={TVM_RPC.folder}:/vendor/lib64 {TVM_RPC.folder}/tvm_rpc server --host=127.0.0.1 "
        f"--port={port} --port-end={port + 1} & served=$!; wait $served"
    )
    kind = "cpu" if bundle.manifest.format == "tvm" else "opencl"
    inputs = [(tuple(shape), one.dtype) for one, shape in input_shapes(bundle.manifest)]
    with adb.running(serve), adb.forwarded(port) as here:
        say(0.2, f"tvm_rpc runs it {request.runs} times on {kind}")
        try:
            times = time_whole(library, kind, inputs, ("127.0.0.1", here), request.runs, request.limit_s, START_S)
        except NoServerError as error:
            raise GraphoptError(
                f"device {adb.name}: tvm_rpc does not start on the phone; try it by hand: adb shell "
                f"LD_LIBRARY_PATH={TVM_RPC.folder} {TVM_RPC.folder}/tvm_rpc server"
            ) from error
        except GraphoptError as error:
            raise GraphoptError(f"device {adb.name}: {error}") from error
    version = bundle.manifest.runtime.version
    return Reading(
        median(times), *median_interval(times), "median", len(times), facts.phone,
        f"TVM {version}, tvm_rpc {facts.build}",
    )  # fmt: skip
