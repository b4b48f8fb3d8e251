"""Qualcomm AI Hub, `aihub:NAME`: a real phone of that name, over the user's own account, by the `qai-hub` client."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any

from graphopt.backends.measuring import median_interval
from graphopt.cost.measured import Reading
from graphopt.devices.base import Device, Request
from graphopt.devices.inputs import input_shapes
from graphopt.errors import GraphoptError, did_you_mean
from graphopt.progress import Progress

if TYPE_CHECKING:
    from graphopt.bundle.bundle import Bundle

ENDINGS = {"tflite": ".tflite", "onnx": ".onnx", "qnn-context": ".bin"}  # of the file that AI Hub takes
UNITS = {"tflite": {"gpu": "gpu"}, "onnx": {}, "qnn-context": {"htp": "npu"}}  # what is not the CPU, by delegate
ASK_S = 5.0  # between two questions of how far a job is
_ACCOUNT = (
    "no account of AI Hub is configured; get one at https://aihub.qualcomm.com, and give the client its token: "
    "qai-hub configure --api_token TOKEN"
)


class Hub(Device):
    """`address` is the name of a device, as `qai-hub list-devices` prints it."""

    def __init__(self, address: str):
        if not address.strip():
            raise GraphoptError("--device 'aihub:': expected aihub:NAME, e.g. 'aihub:Samsung Galaxy S24'")
        self.name = f"aihub:{address}"
        self._wanted = address.strip()

    def measure(self, bundle: Bundle, request: Request, say: Progress) -> Reading:
        form = bundle.manifest.format
        names = [file.name for file in bundle.manifest.files if file.name.endswith(ENDINGS.get(form, "\0"))]
        if not names:
            raise GraphoptError(
                f"device {self.name}: AI Hub takes {', '.join(ENDINGS)}, and this bundle holds {form}; build for a "
                "target of that kind"
            )
        client, errors = self._client()
        try:
            say(0.0, "asks AI Hub for the device")
            device = self._device(client)
            model: Any = str(bundle.folder / names[0])
            if any(None in one.shape for one in bundle.manifest.inputs):
                model = self._compiled(client, model, bundle, device, request, say)
            unit = UNITS[form].get(bundle.manifest.delegate, "cpu")
            job = client.submit_inference_job(
                model=model, device=device, name=bundle.manifest.target, profile=True,
                options=f"--compute_unit {unit} --max_profiler_iterations {request.runs}",
            )  # fmt: skip
            self._wait(job, "profiles", request, say)
            profile = job.download_profile()
        except errors as error:
            raise GraphoptError(f"device {self.name}: {_words(error)}") from error
        runtime = f"{bundle.manifest.runtime.name} on AI Hub, qai-hub {metadata.version('qai-hub')}"
        return reading(profile, f"{device.name} (OS {device.os})", runtime)

    def _client(self) -> tuple[Any, tuple[type[Exception], ...]]:
        """The client, and what it raises. It asks for no answer yet."""
        try:
            import qai_hub
            import requests
        except ImportError as error:
            raise GraphoptError(
                f"device {self.name} needs AI Hub's client: pip install 'graphopt[aihub]' ({error})"
            ) from error
        return qai_hub.Client(), (qai_hub.Error, requests.exceptions.RequestException, OSError)

    def _device(self, client: Any) -> Any:
        found = client.get_devices(name=self._wanted)
        if found:
            return found[-1]  # of the latest system
        names = {device.name for device in client.get_devices()}
        raise GraphoptError(f"device {self.name}: AI Hub has no such device; {did_you_mean(self._wanted, names)}")

    def _compiled(
        self, client: Any, model: str, bundle: Bundle, device: Any, request: Request, say: Progress
    ) -> Any:  # fmt: skip
        """For the size of the tile: AI Hub runs no network whose size is free."""
        specs = {one.name: (tuple(shape), one.dtype) for one, shape in input_shapes(bundle.manifest)}
        job = client.submit_compile_job(
            model=model, device=device, name=bundle.manifest.target, input_specs=specs,
            options=f"--target_runtime {bundle.manifest.format}",
        )  # fmt: skip
        self._wait(job, "compiles", request, say)
        return job.get_target_model()

    def _wait(self, job: Any, doing: str, request: Request, say: Progress) -> None:
        """Until the job is done.

        Raises:
            GraphoptError: it failed, or is not done in time. It then goes on, and its page shows what it finds.
        """
        until = time.monotonic() + request.limit_s
        while not (status := job.get_status()).finished:
            if time.monotonic() > until:
                raise GraphoptError(
                    f"device {self.name}: not done within {request.limit_s:g} s; raise --limit (the job goes on: "
                    f"{job.url})"
                )
            say(0.3, f"{doing}: {status.code.lower().replace('_', ' ')}, {job.url}")
            time.sleep(ASK_S)
        if not status.success:
            raise GraphoptError(
                f"device {self.name}: the job failed: {status.message or 'no reason given'} ({job.url})"
            )


def reading(profile: Mapping[str, Any], device: str, runtime: str) -> Reading:
    """What a profile of AI Hub says: its single runs (microseconds) where it holds them, one estimate otherwise.

    Memory is the most that inference adds to the process, where the profile says so.
    """
    summary, layers = profile.get("execution_summary", {}), profile.get("execution_detail", [])
    estimate, times = summary.get("estimated_inference_time"), summary.get("all_inference_times") or []
    if not estimate:
        raise GraphoptError(f"AI Hub's profile on {device} holds no time; see the job's page")
    runs = [one / 1e3 for one in times] or [estimate / 1e3]
    low, high = median_interval(runs)
    increase = summary.get("inference_memory_increase_range")
    units = Counter(str(layer["compute_unit"]) for layer in layers)
    return Reading(
        median(runs), low, high, "median", len(runs), device, runtime,
        peak_memory_bytes=int(increase[1]) if isinstance(increase, tuple | list) else None,
        units={unit: count / len(layers) for unit, count in units.most_common()},
    )  # fmt: skip


def _words(error: Exception) -> str:
    """One line of what the client says, which draws boxes around its own."""
    said = " ".join("".join(c for c in str(error) if c not in "┌┐└┘─|").split())
    return _ACCOUNT if "client.ini" in said or "client configuration" in said else f"AI Hub: {said[:300]}"
